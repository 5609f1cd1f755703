"""Wheels for another platform: fetched by the user's own pip, or taken from a folder; and what is in them."""

import importlib.metadata
import importlib.util
import io
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dart.deploy.platforms import Target
from dart.errors import ConfigError, DamagedFileError, HostUnreachableError

LEAST = {"pyzmq": "24.0.1", "msgpack": "1.0.3"}
"""The oldest versions that the agent runs with: those of Debian 12."""
_NOT_THERE = "No matching distribution found"
_SECONDS = 600
_KNOWN = Target("linux_x86_64", (3, 11))
"""A platform that every index has wheels for."""
_BYTES_MAX = 64 * 1024 * 1024
"""Of one wheel, unpacked; pyzmq's have 5 MB."""


class Package(NamedTuple):
    """One package that goes into a bundle."""

    name: str
    version: str
    origin: str
    """The wheel's file, or where else it comes from."""
    files: dict[str, bytes]
    """By path below a folder on `sys.path`."""


def fetch(name: str, target: Target, wheelhouse: Path | None) -> Package | None:
    """The newest wheel of this package for this platform; None if there is none.

    Args:
        name: A key of `LEAST`.
        target: Where it is to run.
        wheelhouse: A folder with wheels, taken instead of what pip is configured for.

    Raises:
        HostUnreachableError: pip failed otherwise, or is not there.
        DamagedFileError: The wheel cannot be used.
    """
    if wheelhouse is not None and not wheelhouse.is_dir():
        raise ConfigError(f"--wheelhouse {wheelhouse} is no folder.")
    with tempfile.TemporaryDirectory(prefix="dart-bundle-") as folder:
        told = _pip("download", "--dest", folder, name=name, target=target, wheelhouse=wheelhouse)
        wheels = sorted(Path(folder).glob("*.whl"))
        if told is None and wheels:
            return read_wheel(name, wheels[0].name, wheels[0].read_bytes())
    if told is None or _NOT_THERE not in told:
        raise HostUnreachableError(f"pip could not fetch {name}: {told or 'it brought no wheel'}")
    # pip says the same of a package that has no such wheel and of an index that it does not reach.
    if wheelhouse is None and target != _KNOWN:
        with tempfile.TemporaryDirectory(prefix="dart-bundle-") as folder:
            reached = _pip("install", "--dry-run", "--ignore-installed", "--target", folder, name=name, target=_KNOWN)
        if reached is not None:
            raise HostUnreachableError(
                f"pip cannot fetch {name} from where it is configured to look: {reached} "
                "Set pip up for this machine, or give the wheels with --wheelhouse DIR."
            )
    return None


def installed_msgpack() -> Package:
    """The pure-Python form of msgpack, which runs anywhere, as it is installed here."""
    spec = importlib.util.find_spec("msgpack")
    if spec is None or spec.origin is None:
        raise ConfigError("msgpack is not installed in this Python, and there is no wheel of it either.")
    folder = Path(spec.origin).parent
    files = {f"msgpack/{path.name}": path.read_bytes() for path in sorted(folder.glob("*.py"))}
    distribution = importlib.metadata.distribution("msgpack")
    for path in distribution.files or ():
        if path.name in {"COPYING", "LICENSE"}:
            files[f"msgpack-{distribution.version}.dist-info/{path.name}"] = path.read_binary()
    return Package("msgpack", distribution.version, "pure Python", files)


def read_wheel(name: str, file: str, data: bytes) -> Package:
    """What a wheel puts beside each other on `sys.path`.

    Raises:
        DamagedFileError: It is none of this package, or has files for other places.
    """
    named = re.match(r"([A-Za-z0-9_.]+)-([A-Za-z0-9_.!+]+)-.*\.whl\Z", file)
    if named is None or named[1].lower() != name:
        raise DamagedFileError(f"{file} is no wheel of {name}.")
    files: dict[str, bytes] = {}
    room = _BYTES_MAX
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                if member.is_dir():
                    continue
                path = PurePosixPath(member.filename)
                if path.is_absolute() or ".." in path.parts or path.parts[0].endswith(".data"):
                    raise DamagedFileError(f"{file} has a file for another place: {member.filename!r:.200}.")
                room -= member.file_size
                if room < 0:
                    raise DamagedFileError(f"{file} holds more than {_BYTES_MAX} bytes.")
                files[str(path)] = archive.read(member)
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        raise DamagedFileError(f"{file} cannot be read: {error}.") from None
    return Package(name, named[2], file, files)


def runs_from(package: Package) -> tuple[tuple[int, int], bool] | None:
    """Which CPython a wheel is for, and whether no later one; None: any."""
    tag = re.search(r"-cp3(\d+)-(abi3|cp3\d+)-[^-]+\.whl\Z", package.origin)
    if tag is None or not any(".so" in PurePosixPath(path).suffixes for path in package.files):
        return None
    return (3, int(tag[1])), tag[2] != "abi3"


def _pip(verb: str, *words: str, name: str, target: Target, wheelhouse: Path | None = None) -> str | None:
    """Run pip for one package without what it depends on; None if it did it, else its complaint."""
    # A wheelhouse is all there is: what pip is configured for would make a bundle depend on this machine.
    source = ["--isolated", "--no-index", "--find-links", str(wheelhouse.resolve())] if wheelhouse else []
    tags = [word for tag in target.tags for word in ("--platform", tag)]
    command = [
        sys.executable, "-m", "pip", *source[:1], verb, "--quiet", "--no-input", "--disable-pip-version-check",
        "--no-deps", "--only-binary", ":all:", *source[1:], *words, "--implementation", "cp",
        "--python-version", target.python_text, *tags, f"{name}>={LEAST[name]}",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return f"it was not done after {_SECONDS} s."
    if done.returncode == 0:
        return None
    if "No module named pip" in done.stderr:
        return f"{sys.executable} has no pip; install it, or run dart where there is one."
    complaints = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
    return (complaints or [done.stderr.strip() or f"exit code {done.returncode}"])[-1].rstrip(".") + "."
