"""When the agents' port is shut and opened."""

import asyncio

import pytest

from dart.broker import flood
from dart.broker.flood import FloodGate


class Played:
    """Descriptors and a transport that do as told and remember what was asked of them."""

    def __init__(self):
        self.scarce = False
        self.plenty = True
        self.refuses = False
        self.done = []
        self.intake = self
        self.on_look = None

    def let_out(self):
        self.done.append("let out")

    def keep_back(self):
        self.done.append("keep back")

    def shut(self):
        if self.refuses:
            raise OSError(1, "not permitted")
        self.done.append("shut")

    def open(self):
        self.done.append("open")


@pytest.fixture
async def played(monkeypatch):
    monkeypatch.setattr(flood, "SHUT_SECONDS", 0.05)
    return Played()


async def test_the_port_is_shut_before_descriptors_are_let_out_and_opened_after_they_are_kept(played):
    """In this order, for whoever gets in between would take what is REST's; and not before there are plenty."""
    gate = FloodGate(played, played)
    played.on_look()
    assert played.done == []
    played.scarce, played.plenty = True, False
    played.on_look()
    assert played.done == ["shut", "let out"]
    played.scarce = False
    await asyncio.sleep(0.1)
    played.on_look()
    assert played.done == ["shut", "let out"]
    played.plenty = True
    played.on_look()
    assert played.done == ["shut", "let out", "keep back", "open"]
    gate.close()
    assert gate.shut == 1


async def test_rest_need_not_wait_for_the_next_look(played):
    """Its first failure shuts the port; a second one while it is shut has another reason."""
    gate = FloodGate(played, played)
    assert gate.relieve()
    assert not gate.relieve()
    assert played.done == ["shut", "let out"]
    gate.close()


async def test_a_system_that_cannot_shut_a_port_is_lived_with(played, caplog):
    """Then nothing is let out, and it is said."""
    played.refuses = True
    gate = FloodGate(played, played)
    with caplog.at_level("WARNING"):
        assert not gate.relieve()
    assert "cannot be shut: not permitted" in caplog.text
    assert played.done == []
    gate.close()
