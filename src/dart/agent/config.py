"""What an agent was told: its arguments merged with the worker's configuration file (`worker.json` or `.toml`).

The arguments are those of `dart agent start`; they win over the file. The parser is small and our own, since an agent
loads neither click nor argparse.
"""

import hashlib
import json
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dart.agent.core.state import SpoolMode
from dart.agent.token_option import JoinToken, find_token, name_by_token
from dart.errors import ConfigError
from dart.limits import Limits

USAGE = """\
usage: python -m dart.agent --name NAME [options]
       DART_JOIN_TOKEN=TOKEN python -m dart.agent [options]

  --name NAME               the worker's name: what tasks name as their location
  --slots K                 tasks at the same time (1)
  --capability C            what this worker can do; may be repeated
  --server URL              where agents connect (tcp://HOST:PORT); known from enrolment if left out
  --token-file FILE         a join token, to enrol with a server elsewhere; or the variable DART_JOIN_TOKEN
  --token TOKEN             the same; other users of this machine see it for a moment
  --state-dir DIR           state directory of a server on this machine, to enrol with
  --home DIR                key, spool and logs of this agent
  --config FILE             worker.json or worker.toml: python_home, module_prefix, output_directory, host, name
  --policy FILE             what may run here; else policy.json or policy.toml beside worker.json or in the home
  --python-home DIR         the Python that runs the tasks is DIR/bin/python3
  --library NAME            a package whose version is told as a fact, if the tasks' Python has it; may be repeated
  --probe MODULE            a module below the prefix whose probe() returns further facts; may be repeated
  --module-prefix DIR       where the modules of the tasks lie
  --output-directory DIR    where log_NAME.txt is written (/var/tmp)
  --host HOST               how this machine is called in results
  --spool MODE              eager, lazy or before_send: when results go to disk (eager)
  --shm-size BYTES          memory shared by the tasks of this agent (0)
  --stop-grace SECONDS      how long tasks may go on when the agent is stopped (5); inf: to their end
  --end-with-stdin          stop in good order when stdin ends, as it does when whoever started this is gone

example: python -m dart.agent --name edge-1 --slots 4 --state-dir ~/.local/state/dart/server
"""
_OPTIONS = {
    "name",
    "slots",
    "capability",
    "server",
    "token",
    "token-file",
    "state-dir",
    "home",
    "config",
    "policy",
    "python-home",
    "library",
    "probe",
    "module-prefix",
    "output-directory",
    "host",
    "spool",
    "shm-size",
    "stop-grace",
}
_FLAGS = {"end-with-stdin"}
_FILE_MEMBERS = ("python_home", "module_prefix", "output_directory", "host", "name")
_FILE_LISTS = ("libraries", "probes")
_CONFIG_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """Everything that an owner decides about an agent. Paths are absolute."""

    name: str
    slots: int
    capabilities: tuple[str, ...]
    """Declared ones, sorted, each once."""
    home: Path
    server: str
    """`tcp://...` or `ipc://...`; empty: as enrolment says."""
    token: JoinToken | None
    """To enrol by, if that is not done yet."""
    state_directory: Path | None
    """Of a server on this machine; None: the user's default one."""
    python_home: Path | None
    """None: the agent's own Python runs the tasks."""
    module_prefix: Path
    libraries: tuple[str, ...]
    """Packages whose versions are told as facts."""
    probes: tuple[str, ...]
    """Modules below the prefix that tell further facts."""
    output_directory: Path
    host: str
    spool_mode: SpoolMode
    shm_bytes: int
    stop_grace_seconds: float
    end_with_stdin: bool
    policy_file: Path | None
    """Named by the owner; None: whatever lies in one of the folders."""
    policy_folders: tuple[Path, ...]
    """Where the owner's policy is looked for: the configuration file's folder and the home."""
    warnings: tuple[str, ...]


def read_config(
    arguments: Sequence[str], limits: Limits, environment: Mapping[str, str] = os.environ, *, cwd: Path | None = None
) -> AgentConfig:
    """Merge arguments and configuration file.

    Raises:
        ConfigError: An option or member is unknown, missing or not usable; the message names it.
    """
    folder = Path.cwd() if cwd is None else cwd
    options = _parse(arguments)
    single = {name: values[-1] for name, values in options.items()}
    members: dict[str, str] = {}
    lists: dict[str, tuple[str, ...]] = {}
    warnings: tuple[str, ...] = ()
    config_folder = folder
    if "config" in single:
        path = folder / Path(single["config"]).expanduser()
        members, lists, warnings = _read_file(path)
        config_folder = path.parent

    def chosen_path(option: str) -> Path | None:
        member = option.replace("-", "_")
        if option in single:
            return (folder / Path(single[option]).expanduser()).resolve()
        if members.get(member):
            return (config_folder / Path(members[member]).expanduser()).resolve()
        return None

    token, complaint = find_token(single.get("token", ""), chosen_path("token-file"), environment)
    name = name_by_token(single.get("name", members.get("name", "")), token)
    _check_name("--name", name, limits)
    home = chosen_path("home") or default_home(name, environment)
    state_directory = chosen_path("state-dir")
    python_home = chosen_path("python-home")
    if python_home is not None and not os.access(python_home / "bin" / "python3", os.X_OK):
        raise ConfigError(f"python_home: {python_home / 'bin' / 'python3'} is no program; name the prefix of a Python.")
    module_prefix = chosen_path("module-prefix") or config_folder.resolve()
    if not module_prefix.is_dir():
        raise ConfigError(f"module_prefix: {module_prefix} is no folder; name the one where the tasks' modules lie.")
    return AgentConfig(
        name=name,
        slots=_whole(single, "slots", 1, 1, limits.slots_max),
        capabilities=_capabilities(options.get("capability", []), limits),
        home=home,
        server=_server(single.get("server", "")),
        token=token,
        state_directory=state_directory,
        python_home=python_home,
        module_prefix=module_prefix,
        libraries=(*lists.get("libraries", ()), *options.get("library", ())),
        probes=(*lists.get("probes", ()), *options.get("probe", ())),
        output_directory=chosen_path("output-directory") or Path("/var/tmp"),  # noqa: S108 - where old workers log
        host=single.get("host") or members.get("host") or socket.gethostname(),
        spool_mode=_spool_mode(single.get("spool", "eager")),
        shm_bytes=_whole(single, "shm-size", 0, 0, 2**40),
        stop_grace_seconds=_seconds(single.get("stop-grace", "5")),
        end_with_stdin="end-with-stdin" in single,
        # Not resolved: a link is refused when it is read.
        policy_file=folder / Path(single["policy"]).expanduser() if "policy" in single else None,
        policy_folders=(config_folder, home) if "config" in single else (home,),
        warnings=warnings + complaint,
    )


def state_root(environment: Mapping[str, str]) -> Path:
    """The user's state directory for this program."""
    base = environment.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "dart"


def default_home(name: str, environment: Mapping[str, str]) -> Path:
    """Where an agent of this name keeps its things: readable, and unmistakable however odd the name is."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:40].lstrip(".") or "agent"
    return state_root(environment) / "agents" / f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _parse(arguments: Sequence[str]) -> dict[str, list[str]]:
    options: dict[str, list[str]] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and word[2:] in _FLAGS:
            options[name] = [""]
            continue
        if not word.startswith("--") or name not in _OPTIONS:
            raise ConfigError(f"{word!r} is no option of an agent; `python -m dart.agent --help` lists them.")
        if not equals:
            if not rest:
                raise ConfigError(f"--{name} needs a value.")
            value = rest.pop(0)
        options.setdefault(name, []).append(value)
    return options


def _read_file(path: Path) -> tuple[dict[str, str], dict[str, tuple[str, ...]], tuple[str, ...]]:
    try:
        with path.open("rb") as file:
            data = file.read(_CONFIG_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"The configuration {path} cannot be read: {error.strerror}.") from None
    if len(data) > _CONFIG_BYTES_MAX:
        raise ConfigError(f"The configuration {path} is larger than {_CONFIG_BYTES_MAX} bytes: is it the right file?")
    try:
        content = read_toml(path, data) if path.suffix == ".toml" else json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"The configuration {path} cannot be understood: {error}.") from None
    if not isinstance(content, dict):
        raise ConfigError(f"The configuration {path} must be an object with members such as module_prefix.")
    members: dict[str, str] = {}
    for member in _FILE_MEMBERS:
        value = content.get(member)
        if value is None:
            continue
        if not isinstance(value, str):
            raise ConfigError(f"The member {member} of {path} must be text, it is {type(value).__name__}.")
        members[member] = value
    lists = {member: _texts(path, member, content.get(member)) for member in _FILE_LISTS}
    unknown = sorted(set(content).difference(_FILE_MEMBERS, _FILE_LISTS))
    if not unknown:
        return members, lists, ()
    return members, lists, (f"{path}: these members mean nothing to an agent: {', '.join(unknown)}",)


def _texts(path: Path, member: str, value: object) -> tuple[str, ...]:
    found = [] if value is None else value
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise ConfigError(f"The member {member} of {path} must be a list of texts.")
    return tuple(found)


def read_toml(path: Path, data: bytes) -> object:
    """What a TOML file says.

    Raises:
        ConfigError: This Python cannot read TOML.
        ValueError: It is no TOML.
    """
    try:
        import tomllib  # noqa: PLC0415 - only where it is asked for
    except ModuleNotFoundError:
        raise ConfigError(f"This Python cannot read TOML; write {path.with_suffix('.json')} instead.") from None
    return tomllib.loads(data.decode("utf-8"))


def _check_name(where: str, name: str, limits: Limits) -> None:
    if not name:
        raise ConfigError(f"{where} is missing: how tasks name this worker.")
    if len(name) > limits.name_chars_max:
        raise ConfigError(f"{where} has {len(name)} characters, more than {limits.name_chars_max} (name_chars_max).")
    if "/" in name or not name.isprintable():
        raise ConfigError(f"{where} {name!r} must be printable text without '/'.")


def _capabilities(values: list[str], limits: Limits) -> tuple[str, ...]:
    declared = sorted({value for value in values if value})
    for value in declared:
        _check_name("--capability", value, limits)
    if len(declared) > limits.capabilities_max:
        raise ConfigError(f"{len(declared)} capabilities are more than {limits.capabilities_max} (capabilities_max).")
    return tuple(declared)


def _whole(single: dict[str, str], name: str, default: int, least: int, most: int) -> int:
    text = single.get(name, str(default))
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise ConfigError(f"--{name} {text!r} must be a whole number from {least} to {most}.")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise ConfigError(f"--stop-grace {text!r} must be a number of seconds, or inf.")
    return seconds


def _spool_mode(text: str) -> SpoolMode:
    try:
        return SpoolMode(text)
    except ValueError:
        modes = ", ".join(mode.value for mode in SpoolMode)
        raise ConfigError(f"--spool {text!r} must be one of {modes}.") from None


def _server(text: str) -> str:
    if text and not text.startswith(("tcp://", "ipc://", "https://", "http://")):
        raise ConfigError(f"--server {text!r} must be the URL of a server: tcp://HOST:PORT (or its https:// address).")
    return text
