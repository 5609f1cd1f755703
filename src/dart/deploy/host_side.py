"""What is done on a host: sent there over SSH, run by its Python, told and telling by its pipes alone.

Nothing of dart is there yet, so it needs the standard library only. A request is one line of JSON on stdin, what
follows it is an archive; the answer is one line of JSON on stdout. Secrets come by stdin, and are on no command line.

All of one server lies in one folder: `bundles/NAME/` (complete, or not there) and `agents/ID/` (homes). What begins
with a dot is half done, and is swept away when its maker is gone.
"""

import hashlib
import importlib
import importlib.util
import io
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from dart.deploy import host_units

START = "dart-agent"
_LOG_TAIL_BYTES = 4096
_PAUSE_SECONDS = 0.02
_REACH_SECONDS = 4.0
_OUTPUT = "agent.out"
_START = "start.json"
_RUN = "run.json"
_CONFIGS = (".config/dart/worker.json", "worker.json")
"""Below the user's home: where an owner says how workers that are started over SSH are set up."""


def root(server: str) -> Path:
    """The folder of this server's agents on this host, whoever shares the account."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "dart" / "ssh" / server


def look(request: dict[str, Any], _: BinaryIO) -> dict[str, Any]:
    """What this host is, has, and reaches."""
    folder = root(request["server"])
    _sweep(folder)
    return {
        "host": socket.gethostname(),
        "machine": os.uname().machine,
        "word_bits": 64 if sys.maxsize > 2**32 else 32,
        "libc": platform.libc_ver()[0] or "other",
        "python": list(sys.version_info[:2]),
        "pyzmq": _pyzmq(),
        "folder": str(folder),
        "free_bytes": _free_bytes(folder),
        "time": time.time(),
        "reach": _reach(request["address"], request["port"]) if request["port"] else "",
        "bundles": [path.name for path in _entries(folder / "bundles") if is_whole(path)],
        "agents": [_agent(home) for home in _entries(folder / "agents")],
    }


def install(request: dict[str, Any], archive: BinaryIO) -> dict[str, Any]:
    """Unpack a bundle beside its place, then give it its name: it is there as a whole or not at all."""
    data = archive.read(request["bytes"])
    if hashlib.sha256(data).hexdigest() != request["sha256"]:
        raise OSError(f"of the bundle's {request['bytes']} bytes {len(data)} came, or others")
    bundles = root(request["server"]) / "bundles"
    bundles.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = bundles / f".{os.getpid()}-{os.urandom(4).hex()}"
    try:
        _unpack(data, draft)
        whole = bundles / request["bundle"]
        if whole.exists():  # damaged: somebody changed it
            shutil.rmtree(whole)
        (draft / request["bundle"]).rename(whole)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return {}


def start(request: dict[str, Any], _: BinaryIO) -> dict[str, Any]:
    """Make the homes of new agents, start these and those that are there, and see how they begin."""
    agents = root(request["server"]) / "agents"
    agents.mkdir(mode=0o700, parents=True, exist_ok=True)
    started = []
    manages, note = host_units.find_manager()
    for one in request["agents"]:
        home = agents / one["id"]
        if "files" in one:
            _make_home(home, one["files"])
        began = _size(home / _OUTPUT)
        started.append(
            (
                one["id"],
                home,
                began,
                host_units.start(home, _command(home), home / _OUTPUT) if manages else _spawn(home),
            )
        )
    end = time.monotonic() + request["seconds"]
    told = []
    for agent_id, home, began, exit_code in started:
        while (code := exit_code()) is None and not _joined(home, began) and time.monotonic() < end:
            time.sleep(_PAUSE_SECONDS)
        told.append({"id": agent_id, "died": code is not None, "code": code or 0, "log": _log(home, began)})
    return {"agents": told, "note": note}


def stop(request: dict[str, Any], _: BinaryIO) -> dict[str, Any]:
    """End agents, by asking first, and remove their homes; with the last one goes all that there is of the server."""
    folder = root(request["server"])
    wanted = request["ids"]
    homes = [home for home in _entries(folder / "agents") if wanted is None or home.name in wanted]
    running = {home: _pid(home) for home in homes}
    for home, pid in running.items():
        if host_units.is_there(home):  # asked by its manager, who would start it again otherwise
            host_units.stop(home)
        elif pid:
            _signal(pid, signal.SIGTERM)
    end = time.monotonic() + request["seconds"]
    while any(pid and _alive(pid) for pid in running.values()) and time.monotonic() < end:
        time.sleep(_PAUSE_SECONDS)
    killed = []
    for home, pid in running.items():
        if pid and _alive(pid):
            killed.append(home.name)
        for member in _session(pid) if pid else ():
            _signal(member, signal.SIGKILL)
        host_units.remove(home)
        _remove(home)
    _sweep(folder)
    if request["is_last"] and not _entries(folder / "agents"):
        _remove(folder)
    return {"ids": [home.name for home in homes], "killed": killed}


ACTIONS = {"look": look, "install": install, "start": start, "stop": stop}


def is_whole(bundle: Path) -> bool:
    """Whether every file of a bundle is as its manifest says."""
    try:
        listed = json.loads((bundle / "manifest.json").read_bytes())["files"]
        return all(
            hashlib.sha256((bundle / path).read_bytes()).hexdigest() == entry["sha256"]
            for path, entry in listed.items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


# ---- files ----


def _unpack(data: bytes, draft: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for member in archive:
            path = draft / member.name
            content = archive.extractfile(member)
            if content is None or ".." in path.parts:
                raise OSError(f"{member.name} is no plain file")
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Not synced: after a power cut a bundle that is not whole is found out and replaced.
            path.write_bytes(content.read())
            path.chmod(0o700 if path.name == START else 0o600)


def _make_home(home: Path, files: dict[str, str]) -> None:
    draft = home.parent / f".{os.getpid()}-{home.name}"
    try:
        draft.mkdir(mode=0o700)
        for name, text in files.items():
            descriptor = os.open(draft / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        draft.rename(home)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def _sweep(folder: Path) -> None:
    """Remove what was begun by processes that are gone."""
    for part in ("bundles", "agents"):
        place = folder / part
        for path in place.glob(".*") if place.is_dir() else ():
            maker = path.name[1:].partition("-")[0]
            if not maker.isdigit() or not _alive(int(maker)):
                _remove(path)


def _remove(path: Path) -> None:
    """Out of the way at once, so that nothing half removed is taken for whole; then bit by bit."""
    grave = path.parent / f".0-{os.urandom(4).hex()}"
    try:
        path.rename(grave)
    except FileNotFoundError:
        return
    shutil.rmtree(grave, ignore_errors=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _free_bytes(folder: Path) -> int:
    place = folder
    while not place.exists():
        place = place.parent
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize


# ---- the host ----


def _pyzmq() -> str:
    """The version of this Python's pyzmq that can encrypt; empty: there is none."""
    try:
        zmq = importlib.import_module("zmq")
        return str(zmq.__version__) if zmq.has("curve") else ""
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it cannot be used
        return ""


def _reach(address: str, port: int) -> str:
    """Why the broker cannot be reached from here; empty: it can."""
    try:
        socket.create_connection((address, port), _REACH_SECONDS).close()
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
    return ""


# ---- processes ----


def _command(home: Path) -> list[str]:
    """What starts the agent of a home."""
    wanted = json.loads((home / _START).read_text(encoding="utf-8"))
    bundle = home.parent.parent / "bundles" / wanted["bundle"]
    arguments = [str(bundle / START), "--home", str(home), *wanted["arguments"]]
    config = wanted["config"] or next((path for path in _CONFIGS if (Path.home() / path).is_file()), "")
    if config:
        arguments += ["--config", str(Path.home() / Path(config).expanduser())]
    return arguments


def _spawn(home: Path) -> Callable[[], int | None]:
    """Start the agent of a home, detached from this connection; tells its exit code."""
    if host_units.is_there(home):  # of a time when its user might linger
        host_units.stop(home)
        host_units.remove(home)
    environment = {name: text for name, text in os.environ.items() if not name.startswith("SSH_")}
    environment["DART_PYTHON"] = sys.executable
    descriptor = os.open(home / _OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        process = subprocess.Popen(
            _command(home),
            cwd=Path.home(),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    (home / _RUN).write_text(json.dumps({"pid": process.pid, "began": _stat(process.pid)[1]}), encoding="utf-8")
    return lambda: _exit_code(process)


def _exit_code(process: "subprocess.Popen[bytes]") -> int | None:
    process.returncode = None  # of the last time
    code = process.poll()
    process.returncode = 0 if code is None else code  # it goes on, and is not ours to wait for
    return code


def _agent(home: Path) -> dict[str, Any]:
    try:
        wanted = json.loads((home / _START).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        wanted = {}
    return {"id": home.name, "running": bool(_pid(home)), "start": wanted}


def _pid(home: Path) -> int:
    """Process id of a home's agent; 0: it does not run. A number alone may be another's by now."""
    if host_units.is_there(home):
        return host_units.pid(home)
    try:
        found = json.loads((home / _RUN).read_text(encoding="utf-8"))
        pid, began = int(found["pid"]), str(found["began"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    return pid if _alive(pid) and _stat(pid)[1] == began else 0


def _stat(pid: int) -> tuple[str, str, int]:
    """State, when it began, and session of a process."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return words[0], words[19], int(words[3])
    except (OSError, IndexError, ValueError):
        return "X", "", 0


def _alive(pid: int) -> bool:
    return _stat(pid)[0] not in "ZX"


def _session(leader: int) -> list[int]:
    """Live processes of the session that an agent began: itself and its runners."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if _stat(pid)[2] == leader and _alive(pid)]


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _joined(home: Path, began: int) -> bool:
    return "\njoined " in f"\n{_log(home, began)}"


def _log(home: Path, began: int) -> str:
    """The last that this run of the agent said."""
    try:
        with (home / _OUTPUT).open("rb") as file:
            file.seek(max(began, os.fstat(file.fileno()).st_size - _LOG_TAIL_BYTES))
            return file.read(_LOG_TAIL_BYTES).decode(errors="replace")
    except OSError:
        return ""


def main() -> int:
    """Do what the request says. Exit code 0, whatever the answer: another one is not ours."""
    source = sys.stdin.buffer
    request = json.loads(source.readline())
    os.umask(0o077)
    try:
        answer = ACTIONS[request["action"]](request, source)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        answer = {"fault": f"{error.strerror or error}{where}"}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
