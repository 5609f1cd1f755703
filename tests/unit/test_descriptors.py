"""Descriptors, shared out between agents and REST."""

import os
import resource

import pytest

from dart import descriptors
from dart.descriptors import Descriptors
from dart.limits import Limits

AGENTS = 512
"""Of 1,024: without the 448 of REST and the 64 that may wait to be accepted."""


@pytest.fixture
def played(monkeypatch):
    """The process's limit of open files and its lowest free descriptor."""

    class Played:
        value = (100, 1_024)
        refuse = False
        lowest = 10

    def change(_which, value):
        if Played.refuse:
            raise ValueError("not allowed")
        Played.value = value

    def duplicate(_descriptor):
        if Played.lowest >= Played.value[0]:
            raise OSError("too many")
        return Played.lowest

    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda _which: Played.value)
    monkeypatch.setattr(descriptors.resource, "setrlimit", change)
    monkeypatch.setattr(os, "dup", duplicate)
    monkeypatch.setattr(os, "close", lambda _descriptor: None)
    return Played


def test_the_limit_follows_what_rest_takes(played):
    """What REST may need is never within the agents' reach, and what it takes is not at their cost."""
    shared = Descriptors(Limits())
    assert played.value == (AGENTS, 1_024)
    shared.rest_takes(5)
    assert played.value == (AGENTS + 5, 1_024)
    shared.let_out()
    assert played.value == (1_024, 1_024)
    shared.rest_takes(3)
    assert played.value == (1_024, 1_024)
    shared.keep_back()
    assert played.value == (AGENTS + 3, 1_024)


def test_all_parts_fit_together(played):
    """Whatever the system allows: agents, what waits for them and REST together are within it."""
    for allowed in (64, 200, 1_024, 4_096, 20_000, 1_000_000):
        played.value = (allowed, allowed)
        shared = Descriptors(Limits())
        assert shared.rest_max > 0
        assert 0 < played.value[0] < allowed
        assert played.value[0] + shared.rest_max + shared.backlog <= allowed


@pytest.mark.parametrize("allowed", [1_000_000, resource.RLIM_INFINITY])
def test_more_than_is_useful_is_not_used(played, allowed):
    """Strangers could fill the memory where the limit of open files does not stop them."""
    played.value = (100, allowed)
    shared = Descriptors(Limits(agents_max=10, connections_max=100))
    shared.let_out()
    assert played.value == (20 + 100 + descriptors.BACKLOG_MAX + descriptors.FILES, allowed)


def test_few_files_mean_fewer_connections(played, caplog):
    """A server that may open 1,024 files cannot have 1,000 REST connections, and says so."""
    with caplog.at_level("WARNING", logger="dart.descriptors"):
        assert Descriptors(Limits()).rest_max == 448
    assert "448 of 1000" in caplog.text


def test_scarcity_is_told_before_the_last_one(played):
    """Some are left for files; the port opens again when there are clearly more."""
    shared = Descriptors(Limits())
    margin = AGENTS - descriptors.FILES
    for lowest, scarce, plenty in ((10, False, True), (margin - AGENTS // 8, False, False), (margin, True, False)):
        played.lowest = lowest
        assert (shared.scarce, shared.plenty) == (scarce, plenty)
    played.lowest = 1_024
    assert (shared.scarce, shared.plenty) == (True, False)


def test_a_refusal_is_survived(played, caplog):
    """The limit stays as it is, with a warning."""
    played.refuse = True
    with caplog.at_level("WARNING", logger="dart.descriptors"):
        Descriptors(Limits()).let_out()
    assert played.value == (100, 1_024)
    assert "cannot be set" in caplog.text
