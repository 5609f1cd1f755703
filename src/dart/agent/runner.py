"""A runner process: runs tasks, one after the other, in the Python that the worker's owner names (3.9 or later).

Nothing is installed there: this file is started by its path with `name=value` arguments, loads its siblings,
`values.py` and msgpack from their very files under private names, and leaves nothing of DART on `sys.path`. So a module
folder may hold a `json.py`, `values.py` or `msgpack.py` of its own. Whatever is imported here costs each runner memory.
"""

from __future__ import annotations

import _socket
import fcntl
import importlib
import importlib.util
import os
import sys
import termios

TYPE_CHECKING = False  # importing `typing` would cost every runner memory
if TYPE_CHECKING:
    from typing import Any

_HERE = os.path.dirname(os.path.realpath(__file__))
_SIGKILL = 9
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4


def load_private(name: str, path: str, *, package: bool = False) -> Any:
    """Load a module from its file and keep it as `name`.

    With `package`, the file is a package's `__init__.py` and its relative imports work; an extension in it that was
    built for another Python is not even looked at, since its file's suffix differs.
    """
    places = [os.path.dirname(path)] if package else None
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=places)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def load_msgpack(path: str, *, pure: bool) -> None:
    """Load the agent's msgpack as `_dart_msgpack`; with `pure` without its compiled part.

    Where the owner's Python has this very package, it is imported by its own name and shared: a compiled module
    exists once in a process, and would otherwise bring our classes into the owner's `msgpack`.
    """
    found = None if pure else importlib.util.find_spec("msgpack")
    if found is not None and found.origin is not None and os.path.realpath(found.origin) == os.path.realpath(path):
        sys.modules["_dart_msgpack"] = importlib.import_module("msgpack")
        return
    if pure:
        os.environ["MSGPACK_PUREPYTHON"] = "1"
    load_private("_dart_msgpack", path, package=True)
    if pure:
        del os.environ["MSGPACK_PUREPYTHON"]
    # The compiled module also enters itself by the name that it was built under.
    sys.modules.pop("msgpack._cmsgpack", None)


def die_with_agent(lifeline: int) -> None:
    """Have the kernel kill this whole process group when the agent's end of the pipe `lifeline` closes.

    That needs no thread and takes children along, whatever they are doing. Where the kernel (or an emulator) refuses,
    at least this process dies with its parent.
    """
    os.set_blocking(lifeline, False)
    try:
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, _SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    except (AttributeError, OSError):
        import ctypes  # noqa: PLC0415 - a megabyte, needed here only

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    try:
        if not os.read(lifeline, 1):
            os._exit(0)  # the agent was gone before the signal was asked for
    except BlockingIOError:
        pass


def limit_resources(arguments: dict[str, str]) -> Any:
    """Take on the limits of the agent's owner, before anything of the owner's is loaded.

    Memory is what this process may write to and shares with nobody (RLIMIT_DATA). Address space (RLIMIT_AS) would also
    count what is only reserved or mapped from files, as threads, allocators and libraries do by the gigabyte.

    Returns:
        What gives each task its processor time; None: there is no limit of that.
    """
    wanted = {name: int(arguments[name]) for name in ("memory", "processes", "open_files", "file_bytes")}
    cpu_seconds = int(arguments["cpu_seconds"])
    if not cpu_seconds and not any(wanted.values()):
        return None
    import resource  # noqa: PLC0415 - most owners set no limits

    numbers = (resource.RLIMIT_DATA, resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE)
    for number, limit in zip(numbers, wanted.values()):
        if limit:
            hard = resource.getrlimit(number)[1]
            most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
            resource.setrlimit(number, (most, most))

    def allow_cpu() -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        soon = int(used.ru_utime + used.ru_stime) + 1 + cpu_seconds
        resource.setrlimit(resource.RLIMIT_CPU, (soon, resource.getrlimit(resource.RLIMIT_CPU)[1]))

    return allow_cpu if cpu_seconds else None


def keep_apart() -> None:
    """Let no other process of this user look into this one, where the kernel has no better means."""
    import ctypes  # noqa: PLC0415 - a megabyte, needed on such kernels only

    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def main(arguments: dict[str, str]) -> None:
    """Serve until the agent closes the task socket."""
    die_with_agent(int(arguments["lifeline"]))
    if arguments["apart"] == "1":
        keep_apart()
    allow_cpu = limit_resources(arguments)
    for name in ("tasks", "answers", "lifeline", "shared"):
        if int(arguments[name]) >= 0:
            os.set_inheritable(int(arguments[name]), False)
    load_msgpack(os.path.join(arguments["msgpack"], "__init__.py"), pure=arguments["pure"] == "1")
    values = load_private("_dart_values", arguments["values"])
    wire = load_private("_dart_format", os.path.join(_HERE, "runner_format.py"))
    modules = load_private("_dart_modules", os.path.join(_HERE, "runner_modules.py"))
    files = load_private("_dart_files", os.path.join(_HERE, "runner_files.py"))
    task = load_private("dart_task", os.path.join(_HERE, "runner_task.py"))
    loop = load_private("_dart_loop", os.path.join(_HERE, "runner_loop.py"))

    loop.open_output()
    channel = task.Channel(_socket.socket(fileno=int(arguments["answers"])), wire)
    task.bind(
        channel,
        worker=arguments["worker"],
        host=arguments["host"],
        shared=int(arguments["shared"]),
        shared_bytes=int(arguments["shared_bytes"]),
        text_chars_max=int(arguments["text_chars_max"]),
        values=values,
    )
    loop.Loop(
        tasks=_socket.socket(fileno=int(arguments["tasks"])),
        channel=channel,
        wire=wire,
        values=values,
        modules=modules.Modules(arguments["prefix"], files, by_rules=arguments["by_rules"] == "1"),
        task=task,
        value_bytes_max=int(arguments["value_bytes_max"]),
        value_depth_max=int(arguments["value_depth_max"]),
        pickle_allowed=arguments["accept_pickle"] == "1",
        error_chars_max=int(arguments["error_chars_max"]),
        mark=bytes.fromhex(arguments["mark"]),
        unread=termios.FIONREAD,
        allow_cpu=allow_cpu,
    ).run()


if __name__ == "__main__":
    if sys.path and os.path.realpath(sys.path[0]) == _HERE:
        del sys.path[0]
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    # A module that reads the command line is to find none.
    del sys.argv[1:]
    main(given)
