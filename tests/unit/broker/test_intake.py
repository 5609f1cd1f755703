"""Whose fault it is that a handshake takes long: on a clock of the test's own, without sockets."""

import struct
from types import SimpleNamespace

import pytest
import zmq

from dart.broker import intake as module
from dart.broker.intake import HANDSHAKE_BYTES, HANDSHAKE_SECONDS, LOOK_SECONDS, Intake
from dart.limits import Limits

CONNECTION = 77
"""A descriptor that is nobody's."""


class Socket:
    """Of the monitor: tells what a test puts in."""

    def __init__(self):
        self.told = []
        self.closed = False

    def setsockopt(self, *_):
        pass

    connect = monitor = setsockopt

    def fileno(self):
        return CONNECTION

    def get(self, _option):
        return zmq.POLLIN if self.told else 0

    def recv_multipart(self, _flags):
        return self.told.pop(0)


class Loop:
    """Time as the test wants it."""

    now = 100.0

    def time(self):
        return self.now

    def call_later(self, *_):
        return None

    add_reader = remove_reader = call_later


class Door:
    """One stranger, and what is known of its connection."""

    def __init__(self, monkeypatch):
        self.waits, self.received, self.cut = False, 0, []
        self.monitor = Socket()
        context = SimpleNamespace(socket=lambda _kind: self.monitor)
        self.intake = Intake(context, Socket(), Limits(silence_seconds=15.0))
        self.intake._loop = self.loop = Loop()
        monkeypatch.setattr(module, "_waits_for_us", lambda _descriptor: self.waits)
        monkeypatch.setattr(module, "_received", lambda _descriptor: self.received)
        monkeypatch.setattr(self.intake, "_cut", lambda descriptor: self.cut.append(descriptor) or "")
        self.look()
        self.monitor.told.append([struct.pack("=Hi", zmq.EVENT_ACCEPTED, CONNECTION), b"tcp://"])
        self.look()

    def look(self, seconds=LOOK_SECONDS):
        self.loop.now += seconds
        self.intake._look()

    def looks_until_cut(self, most=1000):
        looks = 0
        while not self.cut:
            assert looks < most
            self.look()
            looks += 1
        return looks


@pytest.fixture
def door(monkeypatch):
    """A stranger has just come."""
    return Door(monkeypatch)


def expected(seconds):
    """Looks in so many seconds, and one in which that is noticed."""
    return pytest.approx(seconds / LOOK_SECONDS + 1, abs=1)


def test_a_silent_stranger_has_the_time_of_a_handshake(door):
    """Then it is cut, without a word: it may be anything."""
    assert door.looks_until_cut() == expected(HANDSHAKE_SECONDS)
    assert len(door.intake) == 0
    assert door.intake.cut == 0


def test_time_in_which_it_waits_for_us_is_not_counted(door):
    """A thousand others are before it: it has all of its own time afterwards."""
    door.waits = True
    for _ in range(200):
        door.look()
    assert door.cut == []
    door.waits = False
    assert door.looks_until_cut() == expected(HANDSHAKE_SECONDS)


def test_a_loop_that_is_held_up_blames_nobody(door):
    """A look that comes late counts as hardly more than one."""
    for _ in range(20):
        door.look(seconds=10.0)
    assert door.cut == []


def test_who_has_ended_its_handshake_may_be_silent_longer(door):
    """It is an agent, with a long HELLO on a slow line perhaps."""
    door.received = HANDSHAKE_BYTES
    assert door.looks_until_cut() == expected(15.0)
    assert len(door.intake) == 0


def test_nobody_is_judged_for_silence_while_nothing_is_read(door):
    """The transport pauses: what the agents said is still in the socket."""
    door.received = HANDSHAKE_BYTES
    door.intake.judges = False
    for _ in range(300):
        door.look()
    assert door.cut == []
