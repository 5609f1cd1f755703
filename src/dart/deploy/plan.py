"""What is to be done on each host, decided from what its preflight told; and how failures are told. Pure."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dart.deploy.platforms import NAMES, PYTHON_LEAST, Target
from dart.errors import DartError, InvalidRequestError

_PYZMQ_LEAST = (24, 0, 1)
_SKEW_SECONDS_MAX = 60.0
_UNPACKED_FACTOR = 6
"""What a bundle takes unpacked and written beside its archive, at most, in its own size."""
_STDERR_CHARS_MAX = 2000
_NARROW = {"x86_64": "i686", "aarch64": "armv7l", "armv8l": "armv7l"}
"""What a 32-bit Python runs on where the kernel has 64."""


class Host(NamedTuple):
    """Where an agent is to run, as a person writes it: `[USER@]HOST[:PORT]`."""

    text: str
    username: str
    name: str
    port: int
    """0: as options or `~/.ssh/config` say."""


class HostFaultError(DartError):
    """One host's failure: what was tried, and why it did not work."""

    code = 70
    category = "host unreachable"

    def __init__(self, step: str, reason: str, stderr: str = "") -> None:
        super().__init__(reason)
        self.step = step
        self.reason = reason
        self.stderr = stderr.strip()[-_STDERR_CHARS_MAX:]


class Failed(NamedTuple):
    """A host where nothing came up, or not all of it."""

    host: str
    step: str
    reason: str
    stderr: str

    def __str__(self) -> str:
        said = f" (it said: {self.stderr})" if self.stderr and self.stderr not in self.reason else ""
        return f"{self.host}: {self.step}: {self.reason}{said}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An agent as it is to be on each host."""

    name: str
    slots: int = 1
    capabilities: tuple[str, ...] = ()
    shm_bytes: int = 0
    config: str = ""
    """Path of a worker.json on the host; empty: one of its user's, if there is one."""
    via_ssh: bool = False

    def arguments(self) -> list[str]:
        """For the agent's command line: nothing secret."""
        words = [f"--name={self.name}", f"--slots={self.slots}"]
        words += [f"--capability={one}" for one in self.capabilities]
        return words + ([f"--shm-size={self.shm_bytes}"] if self.shm_bytes else [])


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a host's preflight found."""

    host: str
    machine: str
    word_bits: int
    libc: str
    python: tuple[int, int]
    pyzmq: str
    folder: str
    free_bytes: int
    time: float
    reach: str
    """Why the broker is out of its reach; empty: it is not."""
    bundles: frozenset[str]
    agents: "tuple[AgentThere, ...]"

    @property
    def has_pyzmq(self) -> bool:
        """Whether its own will do."""
        digits = re.findall(r"\d+", self.pyzmq)[:3]
        return tuple(map(int, digits)) >= _PYZMQ_LEAST

    def target(self) -> Target:
        """What its bundle is made for, or `HostFaultError`."""
        machine = _NARROW.get(self.machine, self.machine) if self.word_bits == 32 else self.machine
        platform = f"{'linux' if self.libc == 'glibc' else 'musllinux'}_{machine}"
        if platform not in NAMES:
            raise HostFaultError("platform", f"there is no bundle for {platform}; start the agent there by hand")
        return Target(platform, self.python)


class AgentThere(NamedTuple):
    """An agent of this server that a host has already."""

    id: str
    running: bool
    start: dict[str, Any]


class Steps(NamedTuple):
    """What is to be done on a host."""

    revive: tuple[str, ...]
    """Agents that were started so before, are known to the broker and do not run."""
    stop: tuple[str, ...]
    """Left over from attempts that failed: the broker does not know them."""
    warnings: tuple[str, ...]


def parse_host(text: str) -> Host:
    """From `[USER@]HOST[:PORT]`; an IPv6 address with a port stands in brackets.

    Raises:
        InvalidRequestError: It is none.
    """
    username, _, place = text.rpartition("@")
    match = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\[\]]+)|([^\[\]]*:[^\[\]]*:[^\[\]]*))(?::(\d{1,5}))?", place)
    if match is None or (match[3] and match[4]):
        raise _no_host(text)
    name = match[1] or match[2] or match[3]
    port = int(match[4] or 0)
    # A name that begins so would be an option to any program that it is given to.
    bad = any(part.startswith("-") or not re.fullmatch(r"[^\s/\\\x00-\x1f\x7f]*", part) for part in (username, name))
    if bad or port > 65_535 or (match[4] and not port) or text.startswith("@"):
        raise _no_host(text)
    return Host(text, username, name, port)


def read_facts(told: dict[str, Any]) -> Facts:
    """From a host's answer, which may be anything. Raises `HostFaultError`."""
    try:
        major, minor = told["python"]
        return Facts(
            host=str(told["host"])[:255],
            machine=str(told["machine"])[:64],
            word_bits=int(told["word_bits"]),
            libc=str(told["libc"])[:64],
            python=(int(major), int(minor)),
            pyzmq=str(told["pyzmq"])[:64],
            folder=str(told["folder"])[:4096],
            free_bytes=int(told["free_bytes"]),
            time=float(told["time"]),
            reach=str(told["reach"])[:1000],
            bundles=frozenset(map(str, told["bundles"])),
            agents=tuple(
                AgentThere(str(one["id"]), bool(one["running"]), dict(one["start"])) for one in told["agents"]
            ),
        )
    except (KeyError, TypeError, ValueError):
        raise HostFaultError("preflight", "what it told of itself cannot be understood") from None


def plan(facts: Facts, wanted: Wanted, *, address: str, known: Collection[str], now: float) -> Steps:
    """Decide for one host.

    Args:
        facts: What it is.
        wanted: What it is to run.
        address: `HOST:PORT` of the broker, for messages.
        known: Ids of agents whose keys count.
        now: The server's time, in seconds.

    Raises:
        HostFaultError: It cannot be done there.
    """
    if facts.python < PYTHON_LEAST:
        version = ".".join(map(str, facts.python))
        raise HostFaultError("Python", f"it has Python {version}; the agent needs 3.11 or later")
    if facts.reach and not wanted.via_ssh:
        raise HostFaultError(
            "port",
            f"it cannot reach the broker at {address}: {facts.reach}. Open that port, start the server with another "
            "--advertise, or add the host with --via-ssh",
        )
    same = [one for one in facts.agents if _is_same(one.start, wanted)]
    revive = tuple(one.id for one in same if not one.running and one.id in known)
    stop = tuple(one.id for one in facts.agents if one.id not in known)
    warnings: tuple[str, ...] = ()
    skew = facts.time - now
    if abs(skew) > _SKEW_SECONDS_MAX:
        warnings = (f"its clock is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}",)
    return Steps(revive[:1], stop, warnings)


def check_space(facts: Facts, bundle_bytes: int) -> None:
    """Raise `HostFaultError` where a bundle of this size does not fit."""
    needed = bundle_bytes * _UNPACKED_FACTOR
    if facts.free_bytes < needed:
        raise HostFaultError(
            "space",
            f"{facts.folder} has {facts.free_bytes // 1024} KiB left, the agent needs {needed // 1024} KiB",
        )


def report(failed: Sequence[Failed], up: Sequence[str], *, done: str) -> str:
    """One sentence for all hosts: each failed one with its reason, then those that came up."""
    told = "; ".join(map(str, failed))
    return f"{len(failed)} of {len(failed) + len(up)} hosts failed. {told}. {done}: {', '.join(up) or 'none'}."


def _is_same(start: dict[str, Any], wanted: Wanted) -> bool:
    return (
        start.get("arguments") == wanted.arguments()
        and start.get("config") == wanted.config
        and bool(start.get("via_ssh")) is wanted.via_ssh
    )


def _no_host(text: str) -> InvalidRequestError:
    return InvalidRequestError(f"{text[:300]!r} is no host; write HOST, USER@HOST or USER@HOST:PORT.", field="hosts")
