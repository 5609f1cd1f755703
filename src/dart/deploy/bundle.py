"""Bundles: the agent and what it needs in one archive, for hosts that have nothing but Python."""

import hashlib
import importlib.metadata
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dart import __version__
from dart.deploy.agent_files import agent_files
from dart.deploy.bundle_archive import MANIFEST, START, pack, unpack
from dart.deploy.platforms import PYTHON_LEAST, Target
from dart.deploy.wheels import LEAST, Package, fetch, installed_msgpack, runs_from
from dart.errors import ConfigError, DamagedFileError
from dart.limits import Limits

_HERE = Path(__file__).parent
_FACTS = ("version", "platform", "python_least", "python_exact", "of_host", "packages")


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleInfo:
    """What is in a bundle, as its manifest says."""

    file: str
    sha256: str
    """Of the whole archive."""
    bytes: int
    folder: str
    """Where it unpacks to."""
    version: str
    """Of dart."""
    platform: str
    python: str
    """The Python it runs on; `3.11+`: any from there on."""
    needs: str
    """What the host must have beside Python; empty: nothing."""

    def as_row(self) -> dict[str, Any]:
        """For printing."""
        return asdict(self)


def default_name(target: Target) -> str:
    """What the archive is called unless a person names it."""
    return f"{_stem(target)}.tar.gz"


def build(target: Target, file: Path, limits: Limits, *, wheelhouse: Path | None, host_pyzmq: bool) -> BundleInfo:
    """Make a bundle in `file`, and `file`.sha256 beside it; the same bytes for the same wheels.

    Args:
        target: What it is made for.
        file: Replaced as a whole.
        limits: All bounds.
        wheelhouse: A folder with wheels, in place of what pip is configured for.
        host_pyzmq: Leave pyzmq out: the host's own is used. Without it that is done where there is no wheel of it.

    Raises:
        ConfigError: The wheelhouse has no pyzmq for this target.
        HostUnreachableError: pip failed.
    """
    pyzmq = None if host_pyzmq else fetch("pyzmq", target, wheelhouse)
    if pyzmq is None and not host_pyzmq and wheelhouse is not None:
        raise ConfigError(
            f"{wheelhouse} has no wheel of pyzmq {LEAST['pyzmq']} or later for {target.platform} and Python "
            f"{target.python_text}; put one there, or install the host's own (python3-zmq), which dart bundle takes "
            "with --host-pyzmq."
        )
    msgpack = (None if pyzmq is None else fetch("msgpack", target, wheelhouse)) or installed_msgpack()
    packages = [package for package in (pyzmq, msgpack) if package is not None]
    data = pack(_stem(target), _files(packages), _facts(target, packages))
    info = read(data, file, limits)
    _write(file, data)
    _write(_digest_file(file), f"{info.sha256}  {file.name}\n".encode())
    return info


def verify(file: Path, limits: Limits, *, sha256: str = "") -> tuple[BundleInfo, bool]:
    """Check a bundle: its digest against the one given or the one beside it, then every file in it.

    Returns:
        What it is, and whether there was a digest to compare with.

    Raises:
        DamagedFileError: It differs from what it was made as.
    """
    data = _read(file, limits)
    digest = hashlib.sha256(data).hexdigest()
    wanted = (sha256 or _digest_beside(file)).lower()
    if wanted and not secrets.compare_digest(wanted.encode(), digest.encode()):
        raise DamagedFileError(
            f"{file} has the SHA-256 {digest}, not {wanted:.64}: it is damaged or another one. Build or copy it again."
        )
    return read(data, file, limits), bool(wanted)


def read(data: bytes, file: Path, limits: Limits) -> BundleInfo:
    """What an archive is, once all of it was checked."""
    try:
        folder, _, manifest = unpack(data, limits)
    except DamagedFileError as error:
        raise DamagedFileError(f"{file} is not as dart bundle makes it. {error.message}") from None
    try:
        version, platform, least, exact, of_host, _ = (manifest[member] for member in _FACTS)
        python = ".".join(map(str, least)) + ("" if exact else "+")
        needs = ", ".join(f"{name} >= {oldest}" for name, oldest in sorted(of_host.items()))
    except (KeyError, TypeError, AttributeError, ValueError):
        raise DamagedFileError(f"The {MANIFEST} of {file} cannot be understood.") from None
    return BundleInfo(
        file=str(file),
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        folder=folder,
        version=str(version),
        platform=str(platform),
        python=python,
        needs=needs,
    )


def _stem(target: Target) -> str:
    return f"{START}-{__version__}-{target.platform}-python{target.python_text}"


def _files(packages: list[Package]) -> dict[str, bytes]:
    files = {f"lib/{path}": data for path, data in agent_files().items()}
    for package in packages:
        files.update({f"lib/{path}": data for path, data in package.files.items()})
    files[START] = (_HERE / "bundle_start.sh").read_bytes()
    files.update(_license())
    files["check.py"] = (_HERE / "bundle_check.py").read_bytes()
    return files


def _license() -> dict[str, bytes]:
    paths = importlib.metadata.files("dart-runtime") or ()
    return next(({"LICENSE": path.read_binary()} for path in paths if path.name == "LICENSE"), {})


def _facts(target: Target, packages: list[Package]) -> dict[str, Any]:
    least, exact = PYTHON_LEAST, False
    for package in packages:
        # msgpack's compiled part may fit or not: it has one in Python beside it.
        needed = runs_from(package) if package.name == "pyzmq" else None
        if needed is not None:
            least, exact = max(least, needed[0]), needed[1]
    of_host = LEAST.keys() - {package.name for package in packages}
    return {
        "version": __version__,
        "platform": target.platform,
        "python_least": list(least),
        "python_exact": exact,
        "of_host": {name: LEAST[name] for name in of_host},
        "packages": {package.name: {"version": package.version, "origin": package.origin} for package in packages},
    }


def _read(file: Path, limits: Limits) -> bytes:
    try:
        with file.open("rb") as source:
            data = source.read(limits.bundle_bytes_max + 1)
    except OSError as error:
        raise ConfigError(f"The bundle {file} cannot be read: {error.strerror}.") from None
    if len(data) > limits.bundle_bytes_max:
        raise DamagedFileError(
            f"{file} is larger than {limits.bundle_bytes_max} bytes (bundle_bytes_max): no bundle is."
        )
    return data


def _digest_file(file: Path) -> Path:
    return file.with_name(f"{file.name}.sha256")


def _digest_beside(file: Path) -> str:
    """The first word of the file beside it; empty if there is none."""
    try:
        with _digest_file(file).open("rb") as source:
            words = source.read(4096).split()
    except OSError:
        return ""
    return words[0].decode("ascii", "replace") if words else "nothing"


def _write(file: Path, data: bytes) -> None:
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        with draft.open("xb") as sink:
            sink.write(data)
            sink.flush()
            os.fsync(sink.fileno())
        draft.replace(file)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}.") from None
    finally:
        draft.unlink(missing_ok=True)
