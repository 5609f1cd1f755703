"""Archives of bundles: the same bytes for the same contents, and nothing else is read."""

import gzip
import io
import json
import tarfile

import pytest

from dart.deploy.bundle_archive import pack, unpack
from dart.errors import DamagedFileError
from dart.limits import Limits

LIMITS = Limits()
FILES = {"dart-agent": b"#!/bin/sh\n", "lib/dart/__init__.py": b"", "lib/zmq/a.py": b"x = 1\n" * 1000}
FACTS = {"version": "0.1.0", "of_host": {}}


def packed(**more):
    return pack("dart-agent-1-linux_x", {**FILES, **more}, FACTS)


def members(data):
    """Names, headers and contents, to be changed and written again."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return [(member, archive.extractfile(member).read()) for member in archive]


def written(rows, *, form=tarfile.PAX_FORMAT):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=form) as archive:
        for member, content in rows:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(sink.getvalue(), mtime=0)


def renamed(data, old, new):
    """One member under another name, also in the manifest, so that only the name itself can be at fault."""
    rows = []
    for member, content in members(data):
        path = member.name.partition("/")[2]
        member.name = new if path == old else member.name
        manifest = content.replace(json.dumps(old).encode(), json.dumps(new.partition("/")[2]).encode())
        rows.append((member, manifest if path == "manifest.json" else content))
    return written(rows)


def test_the_same_contents_are_the_same_bytes():
    """In whatever order they come; other contents make another folder."""
    assert pack("a", dict(reversed(FILES.items())), FACTS) == pack("a", FILES, FACTS)
    first, _, _ = unpack(packed(), LIMITS)
    second, _, _ = unpack(packed(**{"lib/zmq/a.py": b"x = 2\n" * 1000}), LIMITS)
    assert first != second
    assert first.rpartition("-")[0] == second.rpartition("-")[0] == "dart-agent-1-linux_x"


def test_what_was_packed_is_read():
    """Files and manifest come back; programs can be started, and nothing tells when or by whom it was made."""
    long = "lib/" + "d" * 60 + "/" + "f" * 60
    data = packed(**{long: b"long"})
    folder, files, manifest = unpack(data, LIMITS)
    assert files == {**FILES, long: b"long"}
    assert manifest["files"]["lib/dart/__init__.py"]["bytes"] == 0
    assert {name: manifest[name] for name in FACTS} == FACTS
    for member, _ in members(data):
        assert member.name.startswith(folder + "/")
        assert member.mode == (0o755 if member.name.endswith("/dart-agent") else 0o644)
        assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 315_532_800)


def test_no_damaged_byte_changes_what_is_unpacked():
    """A change of any single byte is refused, or one of those that compression itself does not look at."""
    data = packed()
    whole = unpack(data, LIMITS)
    refused = 0
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x20
        try:
            assert unpack(bytes(damaged), LIMITS) == whole
        except DamagedFileError:
            refused += 1
    assert refused > len(data) - 10


@pytest.mark.parametrize("cut", [0, 1, 10, 200, -1])
def test_what_is_cut_short_is_refused(cut):
    """Anywhere."""
    with pytest.raises(DamagedFileError):
        unpack(packed()[:cut], LIMITS)


def test_what_follows_the_end_is_refused():
    """Also a second archive."""
    with pytest.raises(DamagedFileError, match="follows its end"):
        unpack(packed() + packed(), LIMITS)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/etc/cron.d/x", "written elsewhere"),
        ("f/../../x", "written elsewhere"),
        ("../x", "written elsewhere"),
        ("f//x", "written elsewhere"),
        ("f/./x", "written elsewhere"),
        ("f", "written elsewhere"),
        ("other/x", "2 folders"),
        ("dart/é", "no bundle has"),
        ("dart/a\nb", "no bundle has"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(name, reason):
    """Absolute ones, those with `..`, a second folder, and what a terminal would obey."""
    with pytest.raises(DamagedFileError, match=reason):
        unpack(renamed(packed(), "lib/zmq/a.py", name), LIMITS)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_only_plain_files_are_read(kind):
    """No link, folder, pipe or device, wherever it points to."""
    rows = members(packed())
    member = tarfile.TarInfo(rows[0][0].name + "x")
    member.type = kind
    member.linkname = "check.py"
    with pytest.raises(DamagedFileError, match="no plain file"):
        unpack(written([*rows, (member, b"")]), LIMITS)


def test_a_file_twice_is_refused():
    """The second would replace the first."""
    rows = members(packed())
    with pytest.raises(DamagedFileError, match="twice"):
        unpack(written([*rows, rows[-2]]), LIMITS)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: rows[:-2] + rows[-1:], "lacks"),
        (lambda rows: [*rows[:-2], (rows[-2][0], b"y"), rows[-1]], "not the file"),
        (lambda rows: [(tarfile.TarInfo(rows[0][0].name + "x"), b""), *rows], "does not know"),
        (lambda rows: rows[:-1], "missing"),
        (lambda rows: [*rows[:-1], (rows[-1][0], b"[1]")], "cannot be understood"),
        (lambda rows: [*rows[:-1], (rows[-1][0], b"[" * 100_000)], "cannot be understood"),
        (lambda rows: [*rows[:-1], (rows[-1][0], b'{"files": {"a": 3}}')], "cannot be understood"),
        (lambda rows: [*rows[:-1], (rows[-1][0], rows[-1][1].replace(b'"format": 1', b'"format": 2'))], "format 2"),
        (lambda rows: [*rows[:-1], (rows[-1][0], rows[-1][1] + b" ")], "other times"),
        (lambda rows: rows[::-1], "other times"),
        (lambda rows: [(_with(rows[0][0], mode=0o4755), rows[0][1]), *rows[1:]], "other times"),
        (lambda rows: [(_with(rows[0][0], uname="root"), rows[0][1]), *rows[1:]], "other times"),
    ],
)
def test_what_the_manifest_does_not_say_is_refused(change, reason):
    """Files that lack, were put in or changed; another order, mode or owner; a manifest that is none."""
    with pytest.raises(DamagedFileError, match=reason):
        unpack(written(change(members(packed()))), LIMITS)


def test_an_archive_that_grows_is_refused():
    """It is never expanded beyond the bound."""
    bomb = gzip.compress(bytes(2 * 1024 * 1024), mtime=0)
    with pytest.raises(DamagedFileError, match="bundle_bytes_max"):
        unpack(bomb, Limits(bundle_bytes_max=1024 * 1024))


def _with(member, **changes):
    for name, value in changes.items():
        setattr(member, name, value)
    return member
