"""The files of the broker's key: where a change of it stands, also for a server that was killed in the middle."""

import json
import stat

import pytest

from dart.broker.broker_keys import NEXT_KEY, ROTATION_FILE, BrokerKeys
from dart.errors import ConfigError, DamagedFileError
from dart.wire import curve


@pytest.fixture
def begun(tmp_path):
    """A change that is going on, from port 1000 to 1001."""
    keys = BrokerKeys(tmp_path)
    keys.begin(keys.make_next(), 1001, 1000, 5)
    return keys


def state(keys):
    return keys.pair, keys.next, keys.port, keys.next_port


def test_the_first_start_makes_a_key(tmp_path):
    """And the next one finds it; no port is told before the first change."""
    first = BrokerKeys(tmp_path)
    assert state(BrokerKeys(tmp_path)) == (first.pair, None, 0, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["broker.key"]


def test_a_change_goes_on_after_a_restart(tmp_path, begun):
    """With both keys, both ports, and who has moved; all files are for their owner alone."""
    begun.moved.add("a" * 64)
    begun.save()
    again = BrokerKeys(tmp_path)
    assert state(again) == (begun.pair, begun.next, 1000, 1001)
    assert (again.moved, again.began_at_ms) == ({"a" * 64}, 5)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_a_finished_change_stays_finished(tmp_path, begun):
    """The next key is the only one, at its port."""
    coming = begun.next
    begun.finish()
    assert state(begun) == state(BrokerKeys(tmp_path)) == (coming, None, 1001, 0)
    assert not (tmp_path / NEXT_KEY).exists()


def test_a_beginning_that_nobody_was_told_of_counts_for_nothing(tmp_path):
    """The server was killed after it had made the key: the next change makes another."""
    keys = BrokerKeys(tmp_path)
    lost = keys.make_next()
    again = BrokerKeys(tmp_path)
    assert state(again) == (keys.pair, None, 0, 0)
    assert again.make_next() != lost


def test_a_change_that_was_half_finished_is_finished(tmp_path, begun):
    """The server was killed after the key had its new name, before the port was written."""
    (tmp_path / NEXT_KEY).replace(tmp_path / "broker.key")
    again = BrokerKeys(tmp_path)
    assert state(again) == (begun.next, None, 1001, 0)
    assert json.loads((tmp_path / ROTATION_FILE).read_text())["next_port"] == 0


def test_finishing_that_failed_can_be_tried_again(tmp_path, begun, monkeypatch):
    """A full disk leaves both keys valid in this run."""
    coming = begun.next
    with monkeypatch.context() as broken:
        broken.setattr("dart.broker.broker_keys.write_secret", refuse)
        with pytest.raises(ConfigError):
            begun.finish()
    assert begun.next == coming
    begun.finish()
    assert state(BrokerKeys(tmp_path)) == (coming, None, 1001, 0)


def refuse(*_arguments):
    raise ConfigError("no space")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "[" * 60_000,
        '{"port": 1, "next_port": 2}',
        '{"port": -1, "next_port": 0, "began_at_ms": 0, "moved": []}',
        '{"port": 1, "next_port": 70000, "began_at_ms": 0, "moved": []}',
        '{"port": true, "next_port": 0, "began_at_ms": 0, "moved": []}',
        '{"port": 1, "next_port": 0, "began_at_ms": 0, "moved": 7}',
    ],
)
def test_a_damaged_file_is_named(tmp_path, begun, content):
    """Guessing a port would leave agents without their broker."""
    assert begun.next is not None
    (tmp_path / ROTATION_FILE).write_text(content)
    with pytest.raises(DamagedFileError, match=r"rotation\.json"):
        BrokerKeys(tmp_path)


def test_a_next_key_that_others_can_read_is_refused(tmp_path, begun):
    """As the key itself is."""
    assert begun.next is not None
    (tmp_path / NEXT_KEY).chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        BrokerKeys(tmp_path)
    (tmp_path / NEXT_KEY).unlink()
    curve.write(tmp_path / NEXT_KEY, curve.KeyPair.make())
    assert BrokerKeys(tmp_path).next is not None
