"""Bodies: read in pieces under limits, and decoded with readable complaints."""

import asyncio
from dataclasses import replace

import msgpack
import pytest
from aiohttp import web

from dart.errors import InvalidRequestError, LimitError, MalformedError, TooLargeError, UnsupportedMediaTypeError
from dart.limits import Limits
from dart.rest.bodies import Body, Budget, decode_members


class Content:
    """Gives pieces, then the end, or an error, or nothing for ever."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)

    async def readany(self):
        piece = self.pieces.pop(0) if self.pieces else b""
        if piece is None:
            await asyncio.Event().wait()
        if isinstance(piece, Exception):
            raise piece
        return piece

    def at_eof(self):
        return not self.pieces

    def is_eof(self):
        return False


class WholeContent:
    """All of it is here."""

    def __init__(self, whole):
        self.whole = whole

    def is_eof(self):
        return True

    def at_eof(self):
        return not self.whole

    def read_nowait(self):
        if isinstance(self.whole, Exception):
            raise self.whole
        whole, self.whole = self.whole, b""
        return whole


class Request:
    def __init__(self, *pieces, length=None, **headers):
        self.content = Content(*pieces)
        self.content_length = length
        self.can_read_body = bool(pieces)
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def body_of(request, *, bytes_max=100, budget=None, seconds=60.0):
    limits = replace(Limits(), request_seconds_max=seconds)
    return Body(request, bytes_max=bytes_max, limits=limits, budget=budget or Budget(1000))


async def test_pieces_are_joined_and_given_back():
    """The budget holds what is held."""
    budget = Budget(1000)
    body = body_of(Request(b"ab", b"c"), budget=budget)
    assert await body.read() == b"abc"
    assert budget.held_bytes == 3
    body.release()
    body.release()
    assert budget.held_bytes == 0


async def test_a_body_that_is_all_here_is_not_waited_for():
    """Its limits hold all the same, and so does what went wrong on its way."""
    for whole, expected in ((b"abc", b"abc"), (b"x" * 101, TooLargeError), (web.RequestPayloadError(), MalformedError)):
        request = Request(b"more to come")
        request.content = WholeContent(whole)
        if isinstance(expected, bytes):
            assert await body_of(request).read() == expected
            continue
        with pytest.raises(expected):
            await body_of(request).read()


async def test_a_body_that_came_slowly_counts_only_if_its_caller_still_does():
    """It may have taken hours, and its key been revoked meanwhile; what was all there is not asked about again."""
    allowed = []
    for request in (Request(b"ab", b"c"), Request()):
        body = body_of(request)
        body.still_allowed = lambda: allowed.append(1)
        await body.read()
        await body.read()
    assert len(allowed) == 1


async def test_a_body_that_is_announced_too_large_is_not_read():
    """413 at once."""
    request = Request(b"x", length=101)
    with pytest.raises(TooLargeError, match="101"):
        await body_of(request).read()
    assert request.content.pieces == [b"x"]


async def test_a_body_that_becomes_too_large_is_refused_there():
    """It need not say how long it is."""
    request = Request(b"x" * 60, b"x" * 60, b"x" * 60)
    with pytest.raises(TooLargeError):
        await body_of(request).read()
    assert len(request.content.pieces) == 1


async def test_bodies_in_flight_are_bounded():
    """Over all requests: 429 with a time to come back."""
    budget = Budget(10)
    first = body_of(Request(b"x" * 8), budget=budget)
    await first.read()
    with pytest.raises(LimitError, match="bodies_in_flight_bytes_max") as caught:
        await body_of(Request(b"x" * 8), budget=budget).read()
    assert caught.value.details["retry_after"] == 1
    first.release()
    assert await body_of(Request(b"x" * 8), budget=budget).read()


async def test_a_body_that_stops_coming_is_given_up():
    """A slow client holds nobody up for ever."""
    with pytest.raises(MalformedError, match="request_seconds_max"):
        await body_of(Request(b"x", None), seconds=0.01).read()


async def test_a_body_that_breaks_off_is_malformed():
    """Truncated, or with broken framing."""
    with pytest.raises(MalformedError, match="complete"):
        await body_of(Request(b"x", web.RequestPayloadError("x"))).read()


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "application/json; charset=utf-8",
        "text/plain",
        "application/octet-stream",
        "application/problem+json",
        "application/x-www-form-urlencoded",
    ],
)
async def test_types_that_are_taken_for_json(kind):
    """What clients send that do not say, or say what their library says."""
    body = body_of(Request(b"{}", **({"Content_Type": kind} if kind else {})))
    assert await body.read() == b"{}"
    assert not body.is_messagepack


async def test_other_types_are_refused():
    """415, as are encodings; without a body nothing is."""
    with pytest.raises(UnsupportedMediaTypeError, match="text/xml"):
        await body_of(Request(b"x", Content_Type="text/xml")).read()
    with pytest.raises(UnsupportedMediaTypeError, match="gzip"):
        await body_of(Request(b"x", Content_Encoding="gzip")).read()
    assert await body_of(Request(Content_Type="text/xml")).read() == b""
    assert body_of(Request(b"x", Content_Type="application/msgpack")).is_messagepack


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"nix", b'{"a": NaN}', b'{"a": \xff}', b'{"a": "\xff"}', b"\xef\xbb\xbf{}", b'{"a": "\\ud800x"}', b"{} x",
        b'{"a": 01}',         b'{"a":' * 10_000 + b"1" + b"}" * 10_000, b'{"a":' + b"[" * 100_000, b"\x00",
    ],
)  # fmt: skip
def test_json_that_is_none(body):
    """400 that says so, however deep."""
    with pytest.raises(MalformedError, match="JSON"):
        decode_members(body, messagepack=False)


@pytest.mark.parametrize(
    "body",
    [
        b"\x81",
        b"\x81\xa1a",
        b"\xc1",
        b"\x81\xa1\xff\x01",
        b"\x81\xa1a" + b"\x91" * 100_000 + b"\x01",
        b"\x80\x01",
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa1a\xdd\xff\xff\xff\xff",
        b"\x81\xa1a\xc6\xff\xff\xff\xff",
    ],
)
def test_messagepack_that_is_none(body):
    """The same."""
    with pytest.raises(MalformedError, match="MessagePack"):
        decode_members(body, messagepack=True)


@pytest.mark.parametrize("body", [b"[]", b"5", b'"x"', b'{"a": 1e999}', b'{"a": ' + b"1" * 5000 + b"}"])
def test_json_of_a_wrong_type_or_range(body):
    """A request is an object; numbers fit."""
    with pytest.raises(InvalidRequestError):
        decode_members(body, messagepack=False)


def test_empty_bodies_and_repeated_names():
    """None says nothing, the last of several counts."""
    assert decode_members(b"", messagepack=False) == decode_members(b"", messagepack=True) == {}
    assert decode_members(b'{"a": 1, "a": 2}', messagepack=False) == {"a": 2}
    assert decode_members(msgpack.packb({"a": 2}), messagepack=True) == {"a": 2}
    with pytest.raises(InvalidRequestError):
        decode_members(b"\x81\x01\x02", messagepack=True)


async def test_a_transfer_coding_that_is_not_undone_is_refused():
    """What came would be taken for something else."""
    with pytest.raises(UnsupportedMediaTypeError, match="gzip"):
        await body_of(Request(b"{}", Transfer_Encoding="gzip, chunked")).read()
    assert await body_of(Request(b"{}", Transfer_Encoding="Chunked")).read() == b"{}"
