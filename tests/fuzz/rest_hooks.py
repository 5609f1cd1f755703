"""What schemathesis has to know of DART: texts of its own formats, MessagePack, and what every answer must be."""

import keyword
import os

import msgpack
import schemathesis
from hypothesis import strategies as st

from dart.broker.core.model import IfOffline
from dart.rest.enrolments import _Z85
from dart.wire import join_token


def printable(without=""):
    """What Python calls printable, but for some characters."""
    # Separators but the plain blank, and everything that has no look of its own.
    characters = st.characters(exclude_categories=("C", "Z"), include_characters=" ", exclude_characters=without)
    return characters.filter(str.isprintable)


def texts(without="", *, least=1):
    return st.text(printable(without), min_size=least, max_size=40) | st.sampled_from(
        ["j", "w", "../../x", "%2e%2e", "' --"]
    )


def without_slash(*, least=1):
    return texts("/", least=least).map(lambda text: text.replace("/", "+"))


FOLDERS = st.text(printable("/\\"), min_size=1, max_size=20).filter(lambda text: text not in (".", ".."))
IDENTIFIERS = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,20}\Z") | st.sampled_from([*keyword.kwlist, "größe"])
TASK_ID = os.environ.get("FUZZ_TASK_ID", "1")
"""Of a task of job `j`."""
PATTERNS = st.sampled_from(["", "w", "w.*", r"\d+", "[a-z]+(?:-[0-9]{1,3})?", "^w$", "a|b", "(?=w)w", r"(a|aa)b\1"])

IF_OFFLINE = [str(choice) for choice in IfOffline]
BINDING = {"jobs", "job_regex", "workers", "worker_regex"}
"""What binds a key."""
CONDITIONS = ["memory_gib>=4", "python>=3.9", "architecture=armv7l", "!gpu", "site != oslo", "cores<2"]
STRANGERS_TOKEN = join_token.JoinText("https://192.0.2.7:7777", "ab" * 32, "0" * 16, "s" * 43, "edge-*", 1 << 41)

for name, strategy in {
    "dart-requirement": st.sampled_from(["", *CONDITIONS]) | st.text(printable("/=<>!"), min_size=1, max_size=40),
    "dart-name": without_slash(),
    "dart-name-or-empty": st.just("") | without_slash(),
    "dart-key-name": st.just("") | without_slash().filter(lambda text: text != "admin"),
    "dart-key-text": st.just("") | texts().map(str.strip).filter(lambda text: not text.startswith("dart_")),
    "dart-tag": texts(least=0),
    "dart-module-path": st.lists(FOLDERS, min_size=1, max_size=4).map("/".join).filter(lambda p: not p.endswith(".py")),
    "dart-method": IDENTIFIERS,
    "dart-pattern": PATTERNS,
    "dart-name-claim": without_slash().filter(join_token.is_claim) | st.sampled_from(["edge-*", "*"]),
    "dart-join-token": st.just("") | st.just(join_token.write(STRANGERS_TOKEN)),
    # Groups of five stay below 2 ** 32 if the first digit is small.
    "dart-z85": st.lists(st.text(_Z85[:80], min_size=5, max_size=5), min_size=8, max_size=8).map("".join),
}.items():
    schemathesis.openapi.format(name, strategy)


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Half of the names are those of things that exist: calls for unknown ones all end alike."""
    ends = context.operation.method == "delete" or context.operation.path.endswith(("/drain/", "/revoke/"))
    known = {"job": "spare", "name": "spare", "id": "999"} if ends else {"job": "j", "name": "w", "id": TASK_ID}
    for parameter, name in known.items():
        text = (path_parameters or {}).get(parameter)
        if isinstance(text, str) and len(text) % 2:
            path_parameters[parameter] = name
    return path_parameters


@schemathesis.hook
def map_query(context, query):
    """Streams of events end when what is there has been read: nobody here closes one that goes on."""
    if context.operation.path.endswith("/events/"):
        query = {**(query or {}), "follow": "false"}
    return query


@schemathesis.hook
def map_body(_context, body):
    """What the document says in words: admins are not bound, `if_offline` is the same for all entries of a request.

    What is there stays: it may be the very member that is wrong on purpose.
    """
    if not isinstance(body, dict):
        return body
    if body.get("scope") == "admin" and BINDING & body.keys():
        body["scope"] = "submit"
    entries = body.get("location_and_parameters")
    entries = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    said = [entry["if_offline"] for entry in entries if entry.get("if_offline") in IF_OFFLINE]
    for entry in entries:
        if said and entry.get("if_offline", said[0]) in IF_OFFLINE:
            entry["if_offline"] = said[0]
    return body


@schemathesis.serializer("application/msgpack", "application/x-msgpack")
def to_messagepack(_context, value):
    """As a careless client writes it: lone surrogates go out."""
    return msgpack.packb(_bounded(value), unicode_errors="surrogatepass", default=str)


def _bounded(value):
    """Integers moved to the nearest that MessagePack has, which is still beyond every bound of ours."""
    if isinstance(value, int) and not isinstance(value, bool):
        return max(-(1 << 63), min((1 << 64) - 1, value))
    if isinstance(value, dict):
        return {name: _bounded(item) for name, item in value.items()}
    return [_bounded(item) for item in value] if isinstance(value, list) else value


@schemathesis.deserializer("application/msgpack")
def from_messagepack(_context, response):
    """What such an answer says."""
    return msgpack.unpackb(response.content)


@schemathesis.check
def one_error_shape(_context, response, case):
    """Whatever is wrong, the answer is of the one shape, has a request id, and nothing of the inside."""
    assert response.headers["x-request-id"][0]
    if response.status_code in {200, 206, 304}:
        return
    if case.method == "HEAD":
        assert response.content == b""
        return
    assert response.status_code < 500 or response.status_code == 503, response.text
    error = response.json()["error"]
    assert isinstance(error["code"], int)
    assert error["message"]
    assert error["category"]
    assert "Traceback" not in error["message"]
