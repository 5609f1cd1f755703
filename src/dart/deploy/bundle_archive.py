"""The archive of a bundle: the same bytes for the same contents, and nothing read from one but plain files.

A tar in gzip, with one folder in it. Members are sorted, have one time, one owner and two modes. So an archive that
was not written here differs from the one that is made of its contents, whatever was hidden in it.
"""

import gzip
import hashlib
import io
import json
import tarfile
import zlib
from pathlib import PurePosixPath
from typing import Any

from dart.errors import DamagedFileError
from dart.limits import Limits

MANIFEST = "manifest.json"
START = "dart-agent"
"""The program of a bundle, and the beginning of its folder's name."""
FORMAT = 1
_TIME = 315_532_800
"""1980-01-01: before it some tools complain."""
_DIGITS = 12
_OWN = {"format", "files"}
"""Members of the manifest that are made here."""


def pack(name: str, files: dict[str, bytes], facts: dict[str, Any]) -> bytes:
    """An archive of these files, with a manifest of them.

    Args:
        name: Of the folder; digits of the contents follow, so that no two contents are ever unpacked over each other
            (Python would take the byte code of one for the other's).
        files: Contents by path in the folder.
        facts: Members of the manifest beside those of the files.
    """
    return _compress(_plain(name, files, facts))


def unpack(data: bytes, limits: Limits) -> tuple[str, dict[str, bytes], dict[str, Any]]:
    """Folder, files and manifest of an archive, all of it checked.

    Raises:
        DamagedFileError: It is not to the byte what `pack` makes of these contents.
    """
    try:
        # Incremental: no more is ever expanded than is allowed.
        expand = zlib.decompressobj(wbits=31)
        plain = expand.decompress(data, limits.bundle_bytes_max + 1)
    except zlib.error as error:
        raise DamagedFileError(f"This is no bundle, or a damaged one: {error}.") from None
    if len(plain) > limits.bundle_bytes_max:
        raise DamagedFileError(f"It holds more than {limits.bundle_bytes_max} bytes (bundle_bytes_max).")
    if not expand.eof or expand.unused_data:
        raise DamagedFileError("It is cut short." if not expand.eof else "Something follows its end.")
    folder, files = _members(plain)
    manifest = _manifest(files.pop(MANIFEST, b""), files)
    facts = {member: manifest[member] for member in manifest.keys() - _OWN}
    if _plain(folder.rpartition("-")[0], files, facts) != plain:
        raise DamagedFileError("It has something in it that no bundle has: other times, modes, names or order.")
    return folder, files, manifest


def _plain(name: str, files: dict[str, bytes], facts: dict[str, Any]) -> bytes:
    listed = {path: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for path, data in files.items()}
    manifest = json.dumps({"format": FORMAT, **facts, "files": listed}, indent=1, sort_keys=True).encode() + b"\n"
    return _tar(f"{name}-{hashlib.sha256(manifest).hexdigest()[:_DIGITS]}", {**files, MANIFEST: manifest})


def _tar(folder: str, files: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, data in sorted(files.items()):
            member = tarfile.TarInfo(f"{folder}/{path}")
            member.size = len(data)
            member.mtime = _TIME
            member.mode = 0o755 if path == START else 0o644
            archive.addfile(member, io.BytesIO(data))
    return sink.getvalue()


def _compress(data: bytes) -> bytes:
    sink = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=sink, mtime=0) as file:
        file.write(data)
    return sink.getvalue()


def _members(plain: bytes) -> tuple[str, dict[str, bytes]]:
    """Folder and files; refuses what would be written elsewhere or is no file."""
    folders: set[str] = set()
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as archive:
            for member in archive:
                shown = f"{member.name!r:.200}"
                if not member.isreg() or member.sparse is not None:
                    raise DamagedFileError(f"It has {shown} in it, which is no plain file.")
                folder, _, path = member.name.partition("/")
                parts = PurePosixPath(path).parts
                if not folder or folder == ".." or not path or "/".join(parts) != path or ".." in parts:
                    raise DamagedFileError(f"It has {shown} in it, which would be written elsewhere.")
                if not (member.name.isascii() and member.name.isprintable()):
                    raise DamagedFileError(f"It has {shown} in it, a name that no bundle has.")
                content = archive.extractfile(member)
                if path in files or content is None:
                    raise DamagedFileError(f"It has {shown} in it twice.")
                folders.add(folder)
                files[path] = content.read()
    except (tarfile.TarError, UnicodeError, ValueError, OverflowError, EOFError) as error:
        raise DamagedFileError(f"This is no bundle, or a damaged one: {error}.") from None
    if len(folders) != 1:
        raise DamagedFileError(f"It has {len(folders)} folders at its top; a bundle has one.")
    return folders.pop(), files


def _manifest(data: bytes, files: dict[str, bytes]) -> dict[str, Any]:
    try:
        manifest = json.loads(data)
        listed = dict(manifest["files"])
        sums = {path: entry["sha256"] for path, entry in listed.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamagedFileError(f"Its {MANIFEST} is missing or cannot be understood.") from None
    if manifest.get("format") != FORMAT:
        raise DamagedFileError(f"It is of format {manifest.get('format')!r:.20}; this version of dart knows {FORMAT}.")
    for path in sorted(files.keys() | sums.keys()):
        if path not in sums:
            raise DamagedFileError(f"It has {path!r:.200} in it, which its {MANIFEST} does not know.")
        if path not in files:
            raise DamagedFileError(f"It lacks {path!r:.200}, which its {MANIFEST} names.")
        if hashlib.sha256(files[path]).hexdigest() != sums[path]:
            raise DamagedFileError(f"{path!r:.200} in it is not the file that its {MANIFEST} names.")
    return manifest  # type: ignore[no-any-return]  # read as a mapping above
