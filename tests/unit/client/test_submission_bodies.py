"""Submissions are put together from bytes and are the very MessagePack that the contract asks for."""

import msgpack
import pytest

from dart_client import InvalidRequestError, ValueNotPortableError, submission
from dart_client.submission import Entry, body_of, encode_parameter, posts, prefix_of


def decoded(entries):
    return msgpack.unpackb(body_of(entries))


def test_a_body_is_a_list_of_entries_with_their_policies():
    """Location, policy and parameter of each task, in order."""
    first = Entry(prefix_of("w", {"priority": 3, "requires": ("gpu", "cpu")}), encode_parameter({"a": [1, b"x"]}))
    second = Entry(prefix_of("", {}), encode_parameter("text"))
    assert decoded([first, second]) == {
        "location_and_parameters": [
            {"priority": 3, "requires": ["gpu", "cpu"], "location": "w", "parameter": {"a": [1, b"x"]}},
            {"parameter": "text"},
        ]
    }


def test_members_that_are_none_are_left_out():
    """`requires=None` is the same as not saying it."""
    assert decoded([Entry(prefix_of("", {"timeout": None}), encode_parameter(1))]) == {
        "location_and_parameters": [{"parameter": 1}]
    }


def test_an_unknown_member_is_refused_by_name():
    """A misspelt policy must not be ignored."""
    with pytest.raises(InvalidRequestError, match="'prioritty'"):
        prefix_of("", {"prioritty": 1})


def test_a_parameter_that_cannot_be_sent_is_refused_with_its_path():
    """The message leads to the part."""
    with pytest.raises(ValueNotPortableError, match=r"parameter.*a.*\[1\]"):
        encode_parameter({"a": [1, object()]})


def test_large_submissions_are_cut_by_number_and_by_bytes(monkeypatch):
    """The first piece is smaller, no piece is over a limit unless one task alone is, and no task is lost."""
    monkeypatch.setattr(submission, "TASKS_FIRST", 2)
    monkeypatch.setattr(submission, "TASKS_MAX", 4)
    monkeypatch.setattr(submission, "BYTES_MAX", 100)
    small = [Entry(b"", bytes([number])) for number in range(9)]
    assert [len(piece) for piece in posts(small)] == [2, 4, 3]
    large = [Entry(b"", b"x" * size) for size in (60, 60, 300, 10)]
    assert [[len(entry.parameter) for entry in piece] for piece in posts(large)] == [[60], [60], [300], [10]]
    assert list(posts([])) == []
