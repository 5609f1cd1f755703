"""Agents as services of their user's systemd, where a host has that: sent there together with `host_side`.

A unit is named after its agent's home, so that it is found however far a call came. What is started stands in a script
in that home: a unit has nothing to quote but its path.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

_SCRIPT = "start.sh"
_SYSTEMCTL_SECONDS = 15
_UNIT = """\
[Unit]
Description=DART agent {name}
[Service]
Type=exec
ExecStart=/bin/sh "{script}"
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=2 4
KillMode=mixed
OOMPolicy=continue
TasksMax=8192
[Install]
WantedBy=default.target
"""


def find_manager() -> tuple[bool, str]:
    """Whether this user's systemd starts agents, also after a reboot; and why not, where one is there."""
    if not _systemctl("show", "--property=Version")[0]:
        return False, ""
    user = str(os.getuid())
    ask = ("loginctl", "show-user", user, "--property=Linger", "--value")
    # Without lingering it would end its units with the last login.
    if _run(*ask)[1] != "yes" and (not _run("loginctl", "enable-linger", user)[0] or _run(*ask)[1] != "yes"):
        why = "its user may not linger (sudo loginctl enable-linger USER, and add it again)"
        return False, f"the agent does not come back after a reboot: {why}"
    return True, ""


def start(home: Path, command: list[str], output_file: Path) -> Callable[[], int | None]:
    """Have the agent of a home started by systemd, now and at each start of the machine; tells its exit code."""
    kept = ("PATH", "DART_", "LANG", "LC_", "XDG_STATE_HOME")
    variables = {name: text for name, text in os.environ.items() if name.startswith(kept) and name.isidentifier()}
    variables["DART_PYTHON"] = sys.executable
    script = home / _SCRIPT
    lines = [f"export {name}={shlex.quote(text)}" for name, text in sorted(variables.items())]
    output = shlex.quote(str(output_file))
    script.write_text("\n".join(["umask 077", *lines, f"exec {shlex.join(command)} >> {output} 2>&1", ""]))
    unit = _unit(home)
    unit.parent.mkdir(parents=True, exist_ok=True)
    place = str(script).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    unit.write_text(_UNIT.format(name=home.name[:12], script=place), encoding="utf-8")
    for words in (("daemon-reload",), ("enable", unit.name), ("restart", unit.name)):
        is_done, said = _systemctl(*words)
        if not is_done:
            raise OSError(f"systemctl --user {' '.join(words)}: {said}")

    def exit_code() -> int | None:
        return None if _shown(home, "MainPID") not in {"", "0"} else int(_shown(home, "ExecMainStatus") or 1)

    return exit_code


def is_there(home: Path) -> bool:
    """Whether systemd has this agent."""
    return _unit(home).exists()


def pid(home: Path) -> int:
    """Its process; 0: it does not run."""
    said = _shown(home, "MainPID")
    return int(said) if said.isdigit() else 0


def stop(home: Path) -> None:
    """Ask it to stop, and have it started no more; does not wait."""
    _systemctl("disable", _unit(home).name)
    _systemctl("stop", "--no-block", _unit(home).name)


def remove(home: Path) -> None:
    """Forget it, if it is there."""
    if is_there(home):
        _unit(home).unlink()
        _systemctl("daemon-reload")


def _unit(home: Path) -> Path:
    return Path.home() / ".config" / "systemd" / "user" / f"dart-ssh-{home.name[:32]}.service"


def _shown(home: Path, what: str) -> str:
    return _systemctl("show", f"--property={what}", "--value", _unit(home).name)[1]


def _systemctl(*words: str) -> tuple[bool, str]:
    os.environ.setdefault("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    return _run("systemctl", "--user", *words)


def _run(*words: str) -> tuple[bool, str]:
    """Whether it went well, and what it said."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_SYSTEMCTL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
    return done.returncode == 0, (done.stdout if done.returncode == 0 else done.stderr).strip()
