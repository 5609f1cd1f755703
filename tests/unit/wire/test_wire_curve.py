"""Key files: who may read them, what happens to what is there already, and what is no key."""

import hashlib
import json
import os
import stat

import pytest
import zmq

from dart.errors import ConfigError
from dart.wire import curve
from dart.wire.curve import KeyPair, agent_id, key_bytes, key_text


@pytest.fixture
def pair():
    return KeyPair.make()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "agent.key"


def test_pair_is_one_that_curve_accepts(pair):
    """The public key belongs to the secret key, and both are raw."""
    assert zmq.curve_public(key_text(pair.secret).encode()) == pair.public_text.encode()
    assert (len(pair.public), len(pair.secret)) == (32, 32)
    assert KeyPair.make() != pair


def test_secret_is_not_shown(pair):
    """Neither printing nor formatting a pair shows its secret."""
    for shown in (repr(pair), str(pair), f"{pair}", f"{[pair]}"):
        assert pair.public_text in shown
        assert key_text(pair.secret) not in shown
        assert repr(pair.secret) not in shown


def test_agent_id():
    """An agent is the SHA-256 of its public key in lower-case hexadecimal."""
    assert agent_id(b"k" * 32) == hashlib.sha256(b"k" * 32).hexdigest()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_write_and_read(path, pair, umask):
    """A written pair is read back; only the owner may read the file, whatever the umask; no draft is left."""
    before = os.umask(umask)
    try:
        curve.write(path, pair)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert curve.read(path) == pair
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208 - names are what is compared
    assert json.loads(path.read_text()) == {"public": pair.public_text, "secret": key_text(pair.secret)}


def test_write_never_replaces(path, pair):
    """A key that is there stays; so does what a symbolic link points to."""
    curve.write(path, pair)
    link = path.with_name("link")
    link.symlink_to("nowhere")
    for there in (path, link):
        with pytest.raises(ConfigError, match="exists already"):
            curve.write(there, KeyPair.make())
    assert curve.read(path) == pair
    assert sorted(os.listdir(path.parent)) == ["agent.key", "link"]  # noqa: PTH208 - as above


def test_write_where_that_is_impossible(path, pair):
    """The message says why."""
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory"):
        curve.write(path / "no" / "such", pair)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o666])
def test_read_refuses_what_others_may_touch(path, pair, mode):
    """A secret that is open to others is not used; the message says what to do."""
    curve.write(path, pair)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
        curve.read(path)


def test_read_refuses_links_directories_and_nothing(path, pair):
    """Only a regular file of that very name is read; a pipe does not make the reader wait."""
    curve.write(path, pair)
    link = path.with_name("link")
    link.symlink_to(path)
    pipe = path.with_name("pipe")
    os.mkfifo(pipe, 0o600)
    for place, reason in ((link, "cannot be opened"), (path.with_name("x"), "cannot be opened")):
        with pytest.raises(ConfigError, match=reason):
            curve.read(place)
    for place in (path.parent, pipe):
        with pytest.raises(ConfigError, match="is not a file"):
            curve.read(place)


def test_read_refuses_the_file_of_another_user(path, pair, monkeypatch):
    """A file that somebody else could rewrite is not used."""
    curve.write(path, pair)
    os.chown(path, 12_345, -1) if os.geteuid() == 0 else monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    with pytest.raises(ConfigError, match="belongs to another user"):
        curve.read(path)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"public": "a", "secret": "b"}', '{"public": 1, "secret": 2}', "null", "[" * 4000, "\udcff"],
)
def test_read_refuses_what_is_no_key_file(path, content):
    """Anything but two keys in JSON is refused with what to do."""
    path.write_bytes(content.encode(errors="surrogateescape"))
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"is no key file .* restore it, or remove it"):
        curve.read(path)


def test_read_refuses_halves_of_two_pairs(path, pair):
    """A public key with another's secret would fail much later, far from its cause."""
    curve.write(path, KeyPair(pair.public, KeyPair.make().secret))
    with pytest.raises(ConfigError, match="does not belong to its secret key"):
        curve.read(path)


@pytest.mark.parametrize("text", ["", "a" * 39, "a" * 41, "a" * 45, "é" * 40, " " * 40, "#" * 40, "%nSc0" * 9])
def test_texts_that_are_no_key(text):
    """Only 40 characters of Z85 that stand for 32 bytes are a key, each key by one text only."""
    with pytest.raises(ConfigError, match="no CURVE key"):
        key_bytes(text)


def test_key_text(pair):
    """Text and bytes are the same key; bytes of another length are none."""
    assert key_bytes(key_text(pair.public)) == pair.public
    assert key_text(bytes(range(32))) == "009c61o!#m2NH?C3>iWS5d]J*6CRx17-skh9337x"
    with pytest.raises(ValueError, match="has 32 bytes, not 31"):
        key_text(b"x" * 31)
