"""Refusals in the audit: the first at once, the rest in numbers; and the line of an entry."""

import json
import logging

import pytest

from dart.broker import actors
from dart.broker.audit import STRANGERS_MAX, SUBJECTS_MAX, Audit
from dart.broker.core.access import Actor, AuditEntry
from dart.errors import UnavailableError
from dart.limits import Limits


class Service:
    """Takes what is posted; a store that cannot write refuses."""

    now = 5.0

    def __init__(self):
        self.told = []

    def post(self, events):
        self.told += [(signed.actor.who, signed.event.what, signed.event.outcome) for signed in events]

    def ask(self, _make):
        raise UnavailableError("The disk is full.")


@pytest.fixture
def service():
    return Service()


async def test_a_flood_of_refusals_is_two_entries(service):
    """One when it begins, one that counts it; then it begins anew."""
    audit = Audit(service, Limits())
    mallory = Actor("nobody", "203.0.113.9", "x-1")
    for _ in range(10_000):
        audit.refuse("request", "GET /server/", "401", mallory)
    assert service.told == [("nobody", "request", "refused: 401")]
    audit.count()
    assert service.told[1:] == [("nobody", "request", "refused 9999 more times: 401")]
    audit.count()
    assert len(service.told) == 2
    audit.refuse("request", "GET /server/", "401", mallory)
    assert len(service.told) == 3
    audit.count()


async def test_a_flood_from_everywhere_is_bounded(service):
    """So many subjects have entries of their own; all others share one."""
    audit = Audit(service, Limits())
    for number in range(10 * SUBJECTS_MAX):
        audit.refuse("request", "GET /", "403", Actor(f"key {number}", f"198.51.100.{number}"))
    assert len(audit._refusals) == SUBJECTS_MAX + 1
    audit.count()
    assert len(service.told) == SUBJECTS_MAX + 2
    assert service.told[-1] == ("many", "refusals", f"refused {9 * SUBJECTS_MAX - 1} more times: of many others")


async def test_strangers_take_up_little_room(service):
    """Many addresses, whole networks, keys drawn at will: they do not push out what the audit is kept for."""
    audit = Audit(service, Limits())
    for number in range(1000):
        audit.refuse("request", "GET /", "401", Actor("nobody", f"2001:db8::{number:x}"))
        audit.refuse_agent(f"{number:064x}", f"its key {number} is not enrolled", "203.0.113.7")
    assert len(service.told) == 2
    for number in range(1000):
        audit.refuse("request", "GET /", "401", Actor("nobody", f"2001:db8:0:{number:x}::1"))
        audit.refuse_agent(f"{number:064x}", f"its key {number} is not enrolled", f"203.0.113.{number % 250}")
    assert len(service.told) == STRANGERS_MAX + 1
    audit.refuse("request", "GET /", "403", Actor("key bob", "192.0.2.1"))
    for number in range(100):
        audit.refuse_agent("f" * 64, f"enrolled for 'w', not for '{number}'")
    assert len(service.told) == STRANGERS_MAX + 3
    audit.count()
    assert len(service.told) <= 2 * (STRANGERS_MAX + 3)


async def test_subjects_are_told_apart(service):
    """By what is refused, why, and from where."""
    audit = Audit(service, Limits())
    actors.ACTOR.set(Actor("key bob", "192.0.2.1"))
    for what, why in (("request", "401"), ("request", "403"), ("other", "401"), ("request", "401")):
        audit.refuse(what, "", why)
    audit.refuse_agent("f" * 64, "not enrolled", "192.0.2.1")
    assert [told[1:] for told in service.told] == [
        ("request", "refused: 401"), ("request", "refused: 403"), ("other", "refused: 401"),
        ("agent.connect", "refused: not enrolled"),
    ]  # fmt: skip
    assert service.told[-1][0] == "agent ffffffffffffffff"
    audit.count()


async def test_what_is_done_again_and_again_is_told_in_numbers(service):
    """The first has an entry of its own, whoever and whatever is another begins anew, and there is a bound."""
    audit = Audit(service, Limits())
    token = actors.ACTOR.set(Actor("key a", "127.0.0.1"))
    try:
        assert not audit.is_repeated("result.delete", "j")
        for _ in range(500):
            assert audit.is_repeated("result.delete", "j")
            audit.repeated("result.delete", "j")
        assert not audit.is_repeated("result.delete", "k")
        audit.count()
        assert service.told == [("key a", "result.delete", "done, 500 more times")]
        audit.repeated("result.delete", "j")  # it was still on its way when the others were counted
        audit.count()
        assert service.told[1:] == [("key a", "result.delete", "done, 1 more times")]
        for number in range(3 * SUBJECTS_MAX):
            assert not audit.is_repeated("result.delete", f"j{number}")
            audit.repeated("result.delete", f"j{number}")
        assert len(audit._repeated) <= SUBJECTS_MAX
        actors.ACTOR.set(Actor("key b", "127.0.0.1"))
        assert not audit.is_repeated("result.delete", "j299")
        audit.count()
        assert len(service.told) == 2 + 3 * SUBJECTS_MAX
    finally:
        actors.ACTOR.reset(token)


async def test_what_cannot_be_written_is_logged(service, caplog):
    """A backup of a server whose disk is full is told by its log line at least."""
    caplog.set_level(logging.INFO, logger="dart.audit")
    await Audit(service, Limits()).note("backup.take")
    assert json.loads(caplog.messages[0])["what"] == "backup.take"


def test_a_line_is_one_object_whatever_is_in_it(caplog):
    """Names of strangers neither break it nor command a terminal; it can be read back."""
    caplog.set_level(logging.INFO, logger="dart.audit")
    entry = AuditEntry(1, "key x", "job.stop", 'a\n{"who": "forged"}\x1b[2J\u202e\ud800"', "done", "::1", "r")
    actors.show(entry)
    (line,) = caplog.messages
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == entry._asdict()
