"""Streams of events, taken apart as their bytes come."""

import pytest

from dart_client.errors import MalformedError
from dart_client.events import Event, EventParser

STREAM = b'retry: 2000\nid: e-0\n\nid: e-1\nevent: log\ndata: {"lines":["a\\nb"]}\n\n: quiet\nid: e-7\n\n'


@pytest.mark.parametrize("size", [1, 2, 7, len(STREAM)])
def test_pieces_may_be_cut_anywhere(size):
    """The same events, and the last id is that of the last comment."""
    parser = EventParser()
    found = [event for at in range(0, len(STREAM), size) for event in parser.feed(STREAM[at : at + size])]
    assert found == [Event("e-1", "log", {"lines": ["a\nb"]})]
    assert parser.last_id == "e-7"


def test_line_ends_and_several_data_lines():
    """As other servers and proxies may write them."""
    assert EventParser().feed(b'id:e-1\r\nevent:x\r\ndata: {"a":\r\ndata: 1}\r\n\r\n') == [Event("e-1", "x", {"a": 1})]


@pytest.mark.parametrize("data", [b"data: {\n\n", b"data: []\n\n", b"data: \xff\n\n"])
def test_what_is_no_event_is_an_error(data):
    """With one sentence, not a traceback of a parser."""
    with pytest.raises(MalformedError):
        EventParser().feed(data)


def test_an_event_without_end_is_refused(monkeypatch):
    """Nothing grows without bound."""
    monkeypatch.setattr("dart_client.events.EVENT_BYTES_MAX", 10)
    with pytest.raises(MalformedError, match="without end"):
        EventParser().feed(b"data: 123456789")


def test_the_place_is_that_of_the_last_whole_event():
    """Of one that was cut in the middle only the id has come: it is asked for again."""
    parser = EventParser("now")
    parser.feed(b'id: e-1\n\nid: e-2\ndata: {"a": 1}\n\nid: e-3\ndata: {"a"')
    assert parser.last_id == "e-2"
