"""Descriptors kept for REST."""

import resource

import pytest

from dart import descriptors
from dart.descriptors import Descriptors


@pytest.fixture
def limits(monkeypatch):
    """The process's limit of open files, played."""

    class Played:
        value = (100, 1_000)
        refuse = False

    def change(_which, value):
        if Played.refuse:
            raise ValueError("not allowed")
        Played.value = value

    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda _which: Played.value)
    monkeypatch.setattr(descriptors.resource, "setrlimit", change)
    return Played


def test_some_are_kept_back_until_they_are_wanted(limits):
    """The limit is the hard one less the reserve, and the hard one while REST accepts, also when that fails."""
    kept = Descriptors(reserve=300)
    assert limits.value == (700, 1_000)
    with kept.spare():
        assert limits.value == (1_000, 1_000)
    assert limits.value == (700, 1_000)
    with pytest.raises(OSError, match="accept"), kept.spare():
        raise OSError("accept")
    assert limits.value == (700, 1_000)


def test_never_more_than_half_is_kept_back(limits):
    """Agents need some, too."""
    Descriptors(reserve=5_000)
    assert limits.value == (500, 1_000)


def test_without_a_bound_nothing_needs_keeping(limits):
    """Unlimited stays unlimited."""
    limits.value = (100, resource.RLIM_INFINITY)
    with Descriptors(reserve=10).spare():
        assert limits.value == (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def test_a_refusal_is_survived(limits, caplog):
    """The limit stays as it is, with a warning."""
    limits.refuse = True
    with caplog.at_level("WARNING", logger="dart.descriptors"), Descriptors(reserve=10).spare():
        assert limits.value == (100, 1_000)
