"""`dart doctor`, on this machine: profile, variables, proxies, state directory, disk, Pythons for agents, SSH hosts."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from dart.cli.doctor_findings import Finding, fault, fine, warning
from dart.cli.profile import profile_file, read_profile
from dart.errors import ConfigError
from dart.limits import Limits
from dart.private_files import check_private_files

MIB = 1024 * 1024
SSH_SECONDS = 5.0
PYTHON_SECONDS = 30.0
PYTHON_LEAST = (3, 9)
_VARIABLES = {
    "DART_URL", "DART_KEY", "DART_KEY_FILE", "DART_FINGERPRINT", "DART_CA", "DART_STATE_DIR", "DART_OUTPUT",
    "DART_PROFILE", "DART_PYTHON", "DART_JOIN_TOKEN", "DART_LOG_LEVEL",
}  # fmt: skip
_BEGINNINGS = ("DART_LIMIT_", "DART_SERVER_", "DART_AGENT_")
_PROBE = """
import sys
found = ["%d.%d.%d" % sys.version_info[:3]]
try:
    import msgpack, zmq
    found += [zmq.__version__, zmq.zmq_version(), "curve" if zmq.has("curve") else "no curve"]
except ImportError as error:
    found += [str(error)]
print("|".join(found))
"""


def profile() -> Iterator[Finding]:
    """The user's settings."""
    try:
        found = read_profile(profile_file())
    except ConfigError as error:
        yield fault("profile", error.message, f"Mend or remove {profile_file()}.")
        return
    yield fine("profile", f"{profile_file()} has {len(found)} settings." if found else "There is none, none is needed.")


def variables(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Names that nobody reads are mistyped, most of the time."""
    unknown = [
        name
        for name in sorted(environment)
        if name.startswith("DART_") and name not in _VARIABLES and not name.startswith(_BEGINNINGS)
    ]
    if unknown:
        yield warning(
            "variables",
            f"Nothing reads {', '.join(unknown)}.",
            f"If it is mistyped: there are {', '.join(sorted(_VARIABLES))}. Otherwise unset it.",
        )
    elif environment.get("DART_URL") and environment.get("DART_STATE_DIR"):
        yield warning(
            "variables",
            f"DART_URL ({environment['DART_URL']}) and DART_STATE_DIR ({environment['DART_STATE_DIR']}) are both set; "
            "commands go to the URL.",
            "Unset the one that is not meant.",
        )
    else:
        yield fine("variables", "All variables DART_... are known ones.")


def proxies(environment: Mapping[str, str], url: str) -> Iterator[Finding]:
    """DART connects directly; programs of others ask these variables."""
    names = ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
    found = [name for name in names if environment.get(name)]
    host = urlsplit(url).hostname or ""
    left_out = (environment.get("no_proxy") or environment.get("NO_PROXY") or "").replace(" ", "").split(",")
    spared = not host or any(part and (part == "*" or f".{host}".endswith("." + part.lstrip("."))) for part in left_out)
    if not found or spared:
        yield fine("proxies", "No proxy is in the way of other programs.")
        return
    yield warning(
        "proxies",
        f"{found[0]} is set: dart and dart_client connect directly, but curl and programs with requests would send "
        f"what is for {host} to that proxy.",
        f"Set NO_PROXY={','.join([*filter(None, left_out), host])} for them.",
    )


def state_directory(path: Path) -> Iterator[Finding]:
    """The local server's files: who may read them, and whether its process is there."""
    if not path.is_dir():
        return
    found = path.stat()
    if found.st_uid != os.geteuid():
        yield fault(
            "state-directory",
            f"{path} belongs to another user (uid {found.st_uid}).",
            f"Run this as that user, or name another one with --state-dir; or: chown -R {os.geteuid()} {path}",
        )
        return
    problem = f"{path} is open to other users (mode {found.st_mode & 0o777:04o})." if found.st_mode & 0o077 else ""
    try:
        check_private_files(path, lambda _name: True)
    except ConfigError as error:
        problem = error.message
    if problem:
        remedy = f"See what others may have done; then chmod 700 {path} and chmod 600 its files. A start refuses it."
        yield fault("state-directory", problem, remedy)
    else:
        yield fine("state-directory", f"{path} is for its owner alone.")
    yield from disk(path)


def disk(path: Path) -> Iterator[Finding]:
    """Room for the store."""
    found = shutil.disk_usage(path)
    free = f"{found.free // MIB:,} MiB of {found.total // MIB:,} are free where {path} lies."
    spare = Limits().store_spare_bytes
    remedy = "Make room there, or move the directory; results that are kept can be purged: dart job purge --stopped"
    if found.free <= spare:
        yield fault("disk", f"Only {free} The server takes no new work below {spare // MIB} MiB.", remedy)
    elif found.free < 10 * spare and found.free < found.total // 10:
        yield warning("disk", f"Only {free}", remedy)
    else:
        yield fine("disk", free)


def python(program: str) -> Iterator[Finding]:
    """Whether an agent can run in this Python."""
    check = "python"
    try:
        done = subprocess.run(
            [program, "-c", _PROBE], capture_output=True, check=False, text=True, timeout=PYTHON_SECONDS
        )
        version, *rest = done.stdout.strip().split("|")
        numbers = tuple(int(part) for part in version.split(".")[:2])
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        yield fault(check, f"{program} does not run as a Python: {error}.", "Name the path of a Python >= 3.9.")
        return
    if numbers < PYTHON_LEAST:
        yield fault(
            check,
            f"{program} is Python {version}; an agent needs {PYTHON_LEAST[0]}.{PYTHON_LEAST[1]} or later.",
            "Install a later one beside it; tasks may still run in the old one: python_home of worker.json.",
        )
    elif len(rest) == 1:
        yield fault(
            check,
            f"{program} lacks what an agent needs ({rest[0]}).",
            f"{program} -m pip install dart-runtime, or apt install python3-zmq python3-msgpack, or `dart bundle`.",
        )
    elif rest[2] != "curve":
        yield fault(
            check,
            f"The libzmq {rest[1]} of {program} was built without CURVE: its connections could not be encrypted.",
            "apt install python3-zmq, or pip install pyzmq with its own libzmq (a wheel).",
        )
    else:
        yield fine(check, f"{program} is Python {version} with pyzmq {rest[0]} and libzmq {rest[1]}.")


def ssh_host(text: str) -> Iterator[Finding]:
    """Whether something that speaks SSH answers at [USER@]HOST[:PORT]."""
    check = "ssh"
    host, colon, port = text.rpartition("@")[2].partition(":")
    number = int(port) if colon and port.isdigit() else 22
    try:
        with socket.create_connection((host, number), SSH_SECONDS) as connection:
            connection.settimeout(SSH_SECONDS)
            said = connection.recv(64)
    except socket.gaierror:
        yield fault(check, f"No machine is called {host}.", "Mind the spelling, or give its address.")
        return
    except OSError as error:
        yield fault(
            check,
            f"{host} does not answer at port {number} ({error.strerror or error}).",
            "Is it on, does sshd run there (apt install openssh-server) at that port, or is a firewall in between?",
        )
        return
    if said.startswith(b"SSH-"):
        yield fine(check, f"{host} speaks SSH at port {number}.")
    else:
        yield fault(check, f"What answers at {host}:{number} is no SSH.", "Give the port of its sshd: HOST:PORT.")
