"""Requests read into types, with complaints that name the member."""

import msgspec
import pytest

from dart.errors import InvalidRequestError
from dart.rest import host_schemas, schemas


@pytest.mark.parametrize(
    ("members", "kind", "message", "field"),
    [
        ({"name": 1, "module_path": "x", "method": "y"}, schemas.NewJob, "expected text, got an integer", "name"),
        ({"name": "x"}, schemas.NewJob, "is missing", "module_path"),
        ({"amount": [1]}, schemas.ResultsWanted, "expected a number or text, got a list", "amount"),
        ({"amount": None}, schemas.ResultsWanted, "got null", "amount"),
        ({"amount": True}, schemas.ResultsWanted, "got true or false", "amount"),
        ({"name": "a", "hosts": ["a", 1]}, host_schemas.NewWorkers, "expected text", "hosts[1]"),
        ({"name": "a", "hosts": [], "ssh": []}, host_schemas.NewWorkers, "expected an object", "ssh"),
        ({"purge": 5}, schemas.StopJob, "true or false or text", "purge"),
    ],
)
def test_wrong_types_are_named(members, kind, message, field):
    """The message says member, expected and given type in plain words."""
    with pytest.raises(InvalidRequestError) as caught:
        schemas.read_members(members, kind)
    assert f"`{field}`" in caught.value.message
    assert message in caught.value.message
    assert caught.value.details["field"] == field


def test_members_that_the_type_does_not_have_are_told():
    """What to do with them is the caller's decision."""
    made, unknown = schemas.read_members({"key": "k", "purge": True, "x": 1}, schemas.StopJob)
    assert (made.purge, unknown) == (True, ["x"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"location":5}', "entry[3].location"),
        (b'{"locatio":5}', "entry[3].locatio"),
        (b'{"each":{"x":1}}', "entry[3].each.x"),
        (b"[]", "entry[3]"),
        (b'{"requires":[1]}', "entry[3].requires[0]"),
    ],
)
def test_paths_go_on_from_where_one_is(body, field):
    """An entry's complaint names the entry, too."""
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(body, type=schemas.OpaqueTask)
    assert schemas.invalid(caught.value, where="entry[3]").details["field"] == field


def test_complaints_without_a_path_name_the_body():
    """A list where an object belongs."""
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(b"[]", type=schemas.StopJob)
    assert schemas.invalid(caught.value).details["field"] == "body"


@pytest.mark.parametrize(("value", "expected"), [(5, 5), ("5", 5), (" 7 ", 7), ("+2", 2), (3.0, 3)])
def test_integers_may_come_as_decimal_text(value, expected):
    """As old programs and query strings have them."""
    assert schemas.integer(value, "f") == expected


@pytest.mark.parametrize(
    "value", ["", "x", "1.5", "0x1", "\u0665", "9" * 50, -1, "-1", 1 << 63, 1.5, 1e300, float("inf")]
)
def test_what_is_no_integer_within_bounds_is_refused(value):
    """No other spelling, nothing below or above."""
    with pytest.raises(InvalidRequestError):
        schemas.integer(value, "f")


@pytest.mark.parametrize(("value", "expected"), [(-5, 0), ("9" * 30, 10), (10**30, 10), (3, 3)])
def test_amounts_are_moved_to_the_nearer_bound(value, expected):
    """`amount` beyond all is all, below zero none."""
    assert schemas.integer(value, "f", maximum=10, clamp=True) == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, "x", "nan", 10**400, "1e400", "1_0", "\u0661"])
def test_seconds_are_finite_and_not_negative(value):
    """NaN would compare with nothing."""
    with pytest.raises(InvalidRequestError):
        schemas.seconds(value, "f")
    assert schemas.seconds("1.5", "f") == 1.5


def test_flags_from_queries():
    """`?purge`, `?purge=true`, `?purge=0`."""
    assert [schemas.flag(value, "f") for value in (True, "true", "1", "", "No", "0", False)] == [True] * 4 + [False] * 3
    with pytest.raises(InvalidRequestError):
        schemas.flag("maybe", "f")


def test_choices_list_what_there_is():
    """The message helps."""
    assert schemas.choice("a", "f", ("a", "b")) == "a"
    with pytest.raises(InvalidRequestError, match="one of a, b"):
        schemas.choice("c", "f", ("a", "b"))
