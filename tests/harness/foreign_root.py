"""Makes stock Debian 12 Pythons of other architectures that run on this machine, and keeps them in the user's cache.

Nothing of the machine is changed, and nothing needs root: apt works on lists and archives of its own, packages are
unpacked and never installed, and qemu-user is started by name (no binfmt_misc). Each Python has the distribution's
pyzmq 24.0.1 and msgpack 1.0.3; numpy lies beside it, for an owner's Python that has it.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Self

EMULATORS = {"armhf": "arm", "arm64": "aarch64", "s390x": "s390x", "i386": ""}
"""Debian's name of an architecture, and qemu's; empty: x86_64 runs it as it is, and shows true 32-bit figures."""
PACKAGES = ("python3-minimal", "python3-zmq", "python3-msgpack", "python3-numpy")
VERSION = "python3.11"
_SUITE = "bookworm"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_SECONDS = 600
_RECIPE = "1"
"""To be raised when what is made here changes: it names the folder in the cache."""


class UnavailableError(Exception):
    """This machine cannot have such a Python; the message says why."""


def made(architecture: str) -> Path:
    """The root of this architecture, from the cache or made now (about 10 s and 40 MB of packages).

    Raises:
        UnavailableError: Its packages cannot be had here.
    """
    missing = [program for program in ("apt-get", "dpkg-deb", "dpkg") if shutil.which(program) is None]
    if missing:
        raise UnavailableError(f"foreign Pythons are made of Debian's packages, and there is no {missing[0]} here")
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test runs side by side share it
        root = cache / architecture
        if not root.exists():
            _make(architecture, root)
    return root


def begin(architectures: tuple[str, ...]) -> None:
    """Have them made beside what else is done; whoever asks for one waits for it, and is told what failed."""
    subprocess.Popen(
        ["nice", "-n", "19", sys.executable, __file__, *architectures],  # noqa: S607
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    ).returncode = 0  # it ends by itself, and is not ours to wait for  # fmt: skip


def copied(root: Path, destination: Path, *, without: tuple[str, ...]) -> Path:
    """A root like another one, less some packages: what a host may not have."""
    gone = {*without, "numpy"}

    def left_out(folder: str, names: list[str]) -> set[str]:
        return gone.intersection(names) if Path(folder).name in {"dist-packages", root.name} else set()

    shutil.copytree(root, destination, symlinks=True, copy_function=_link, ignore=left_out)
    python = destination / "usr/bin" / VERSION
    launch = python.read_text().replace(str(root), str(destination))
    python.unlink()
    python.write_text(launch)
    python.chmod(0o755)
    return destination


def _link(source: str, destination: str) -> None:
    try:
        os.link(source, destination)
    except OSError:  # on another file system
        shutil.copy2(source, destination)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("DART_FOREIGN_PYTHONS") or Path(base) / "dart-foreign-pythons") / _RECIPE


def _make(architecture: str, root: Path) -> None:
    draft = root.with_name(f"{architecture}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "usr").mkdir(parents=True)
    try:
        with _Apt(draft / "apt", architecture) as apt:
            apt.unpack(PACKAGES, draft)
        _finish(architecture, draft, root)
    except subprocess.CalledProcessError as error:
        said = (error.stderr or "").strip().rpartition("\n")[2]
        raise UnavailableError(f"{' '.join(error.cmd[:2])} for {architecture} failed: {said}") from None
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"{error.cmd[0]} for {architecture} took longer than {_SECONDS} s") from None
    draft.rename(root)
    try:
        subprocess.run(
            [root / "usr/bin/python3", "-c", "import zmq"], check=True, capture_output=True, timeout=_SECONDS
        )
    except (OSError, subprocess.CalledProcessError):
        shutil.rmtree(root)
        raise UnavailableError(f"this machine runs no programs of {architecture}") from None


def _finish(architecture: str, draft: Path, root: Path) -> None:
    """What the packages' own scripts would have done, as far as Python needs it; and the emulator in front of it."""
    for library in draft.glob("usr/lib/*/*/lib*.so.3"):
        # BLAS and LAPACK are chosen by links that Debian's alternatives make.
        if library.parent.name in {"blas", "lapack"}:
            (library.parent.parent / library.name).symlink_to(library.relative_to(library.parent.parent))
    apart = draft / "numpy"
    apart.mkdir()
    (draft / "usr/lib/python3/dist-packages/numpy").rename(apart / "numpy")
    if sys.version_info[:2] == (3, 11):
        # Byte code is the same everywhere; compiled here, an emulated Python starts in a third of the time.
        folders = [str(draft / "usr/lib" / VERSION), str(draft / "usr/lib/python3/dist-packages"), str(apart)]
        subprocess.run(
            [sys.executable, "-m", "compileall", "-q", "-s", str(draft), "-p", str(root), *folders],
            env={name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
            stdout=subprocess.DEVNULL, check=False, timeout=_SECONDS,
        )  # fmt: skip
    if EMULATORS[architecture]:
        emulator = f"{_qemu(root.parent)}/qemu-{EMULATORS[architecture]}-static"
        launch = f"{emulator} -L {root} -0 {root}/usr/bin/{VERSION} {root}/usr/bin/{VERSION}.elf"
        python = draft / "usr/bin" / VERSION
        python.rename(python.with_name(f"{VERSION}.elf"))
        _script(python, f'exec {launch} "$@"')
    else:
        loader = next(path.relative_to(draft) for path in draft.glob("lib/ld-linux*"))
        python = draft / "usr/bin" / VERSION
        python.rename(python.with_name(f"{VERSION}.elf"))
        libraries = ":".join(str(root / path.relative_to(draft)) for path in draft.glob("*lib/*-linux-gnu*"))
        libraries += ":" + ":".join(str(root / path.relative_to(draft)) for path in draft.glob("usr/lib/*-linux-gnu*"))
        launch = f"{root}/{loader} --library-path {libraries} --argv0 {root}/usr/bin/{VERSION}"
        _script(python, f'exec {launch} {root}/usr/bin/{VERSION}.elf "$@"')
    (draft / "usr/bin/python3").unlink(missing_ok=True)
    (draft / "usr/bin/python3").symlink_to(VERSION)
    owner = apart / "bin" / "python3"
    owner.parent.mkdir()
    _script(owner, f'PYTHONPATH={root}/numpy exec {root}/usr/bin/{VERSION} "$@"')


def _script(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def _qemu(cache: Path) -> Path:
    """The folder with the emulators of this machine's own architecture."""
    folder = cache / "qemu"
    if not folder.exists():
        draft = cache / "qemu.draft"
        shutil.rmtree(draft, ignore_errors=True)
        native = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, check=True, text=True)  # noqa: S607
        with _Apt(draft / "apt", native.stdout.strip()) as apt:
            apt.unpack(("qemu-user-static",), draft)
        for path in (draft / "usr/bin").iterdir():
            if path.name.removeprefix("qemu-").removesuffix("-static") not in EMULATORS.values():
                path.unlink()
        draft.rename(folder)
    return folder / "usr/bin"


class _Apt:
    """apt with lists, archives and state of its own, for one architecture; gone at the end."""

    def __init__(self, folder: Path, architecture: str) -> None:
        self._folder = folder
        self._architecture = architecture

    def __enter__(self) -> Self:
        self._mirrors = _mirrors()
        for name in ("parts", "preferences", "sources", "lists/partial", "archives/partial", "log"):
            (self._folder / name).mkdir(parents=True)
        (self._folder / "status").touch()
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder)

    def unpack(self, packages: tuple[str, ...], root: Path) -> None:
        """Fetch packages and all that they depend on, and unpack them into a root."""
        failed: list[subprocess.CalledProcessError] = []
        for mirror in self._mirrors:
            try:
                self._download(mirror, packages)
                break
            except subprocess.CalledProcessError as error:
                failed.append(error)
        else:
            raise failed[0]
        for archive in sorted((self._folder / "archives").glob("*.deb")):
            subprocess.run(
                ["dpkg-deb", "-x", archive, root],  # noqa: S607
                check=True, capture_output=True, text=True, timeout=_SECONDS,
            )  # fmt: skip

    def _download(self, mirror: str, packages: tuple[str, ...]) -> None:
        signed = f"[signed-by={_KEYRING}] " if _KEYRING.exists() else ""
        (self._folder / "sources.list").write_text(f"deb {signed}{mirror} {_SUITE} main\n")
        (self._folder / "apt.conf").write_text(self._configuration())
        self._run("update")
        # Against an empty status apt's own resolver names everything that is needed.
        self._run("install", "-y", "--download-only", *packages)

    def _run(self, *words: str) -> None:
        subprocess.run(
            ["apt-get", "-qq", "-o", "Debug::NoLocking=1", *words],  # noqa: S607
            check=True, capture_output=True, text=True, timeout=_SECONDS,
            env={**os.environ, "APT_CONFIG": str(self._folder / "apt.conf"), "LC_ALL": "C"},
        )  # fmt: skip

    def _configuration(self) -> str:
        own = {
            "Dir::Etc::sourcelist": "sources.list", "Dir::Etc::sourceparts": "sources",
            "Dir::Etc::preferences": "none", "Dir::Etc::preferencesparts": "preferences",
            "Dir::State": "", "Dir::State::lists": "lists", "Dir::State::status": "status",
            "Dir::Cache": "", "Dir::Cache::archives": "archives", "Dir::Log": "log",
        }  # fmt: skip
        lines = [f'{name} "{self._folder / path}";' for name, path in own.items()]
        lines += ['Dir::Cache::pkgcache "";', 'Dir::Cache::srcpkgcache "";']
        lines += [f'APT::Architecture "{self._architecture}";', f'APT::Architectures {{ "{self._architecture}"; }};']
        lines += ['APT::Install-Recommends "false";', 'APT::Sandbox::User "root";', 'Acquire::Languages "none";']
        lines += ['Acquire::Check-Valid-Until "false";', 'Acquire::PDiffs "false";', 'Acquire::Retries "2";']
        return "\n".join(lines) + "\n"


def _mirrors() -> list[str]:
    """Where this machine fetches packages from, by its own configuration; the likely ones first. Nothing is fetched."""
    told = subprocess.run(
        ["apt-get", "update", "--print-uris"],  # noqa: S607
        capture_output=True, check=True, text=True, timeout=_SECONDS,
    ).stdout  # fmt: skip
    bases = dict.fromkeys(re.findall(r"^'(\S+?/)dists/[^/']+/(?:In)?Release'", told, re.MULTILINE))
    mirrors = sorted((base for base in bases if "security" not in base), key=lambda base: not base.endswith("/debian/"))
    if not mirrors:
        raise UnavailableError("apt of this machine names no mirror of Debian's packages")
    return mirrors


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        made(wanted)
