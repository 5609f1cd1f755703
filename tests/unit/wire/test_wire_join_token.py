"""Join tokens: what is written is read back, everything else is refused, and which names one stands for."""

import base64
import contextlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dart.errors import ConfigError
from dart.wire import join_token
from dart.wire.join_token import JoinText

TOKEN = JoinText("https://192.0.2.7:7777", "ab" * 32, "0123456789abcdef", "s" * 43, "edge-*", 1_790_000_000_000)


def packed(content: bytes) -> str:
    return "dart-join-1." + base64.urlsafe_b64encode(content).decode().rstrip("=")


def changed(**members: object) -> str:
    return packed(json.dumps({**TOKEN._asdict(), **members}).encode())


def test_what_is_written_is_read():
    """One printable word, without what a shell or a mail would break; blanks around it do no harm."""
    text = join_token.write(TOKEN)
    assert re.fullmatch(r"dart-join-1\.[A-Za-z0-9_-]+", text)
    assert join_token.read(f" {text}\n") == TOKEN
    named = TOKEN._replace(name="Gerät #1", url="https://[2001:db8::1]:443")
    assert join_token.read(join_token.write(named)) == named


def test_a_token_does_not_show_its_secret():
    """Neither in a log line nor in a traceback."""
    assert "sss" not in repr(TOKEN)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "must begin with"),
        ("dart-join-2.abc", "another version"),
        ("dart-join-99999999999.abc", "must begin with"),
        ("dart-join-1." + "a" * 5000, "characters"),
        ("dart-join-1.", "damaged"),
        ("dart-join-1.a", "damaged"),
        ("dart-join-1.ab+/", "damaged"),
        ("dart-join-1.YQ==", "damaged"),
        (packed(b"\xff"), "damaged"),
        (packed(b"{"), "damaged"),
        (packed(b"[" * 3000), "damaged"),
        (packed(b"[]"), "damaged"),
        (packed(b'{"url": 1, "url": 1}'), "damaged"),
        (changed(more=1), "damaged"),
        (packed(json.dumps({"url": TOKEN.url}).encode()), "damaged"),
        (changed(url="http://192.0.2.7:7777"), "damaged"),
        (changed(url="https://192.0.2.7"), "damaged"),
        (changed(url="https://:7777"), "damaged"),
        (changed(url="https://192.0.2.7:99999"), "damaged"),
        (changed(url="https://me@192.0.2.7:1"), "damaged"),
        (changed(url="https://192.0.2.7:1/path"), "damaged"),
        (changed(url="https://192.0.2.7:1?q"), "damaged"),
        (changed(url="https://192.0.2.7 :1"), "damaged"),
        (changed(url=None), "damaged"),
        (changed(fingerprint="AB" * 32), "damaged"),
        (changed(fingerprint=""), "damaged"),
        (changed(id="0" * 15), "damaged"),
        (changed(secret="s" * 42 + "="), "damaged"),
        (changed(name=""), "damaged"),
        (changed(name="a/b"), "damaged"),
        (changed(name="a\nb"), "damaged"),
        (changed(name="*" * 9), "damaged"),
        (changed(name="x" * 256), "damaged"),
        (changed(expires_at_ms=0), "damaged"),
        (changed(expires_at_ms=True), "damaged"),
        (changed(expires_at_ms=1.5), "damaged"),
        (changed(expires_at_ms=1 << 60), "damaged"),
    ],
)
def test_everything_else_is_refused(text, word):
    """With a sentence that does not repeat the text, for it may be a token cut short."""
    with pytest.raises(ConfigError, match=word) as caught:
        join_token.read(text)
    assert len(text) < 20 or text[12:] not in caught.value.message


@given(st.text() | st.binary().map(packed) | st.text(alphabet="dart-join1.eyJ9_", max_size=40))
def test_any_text_is_read_or_refused(text):
    """Nothing else ever comes out."""
    with contextlib.suppress(ConfigError):
        assert isinstance(join_token.read(text), JoinText)


@pytest.mark.parametrize(
    ("claim", "yes", "no"),
    [
        ("edge-1", ["edge-1"], ["edge-10", "Edge-1", "", "xedge-1"]),
        ("edge-*", ["edge-1", "edge-", "edge-*"], ["edge", "xedge-1", "Edge-1"]),
        ("*-1", ["a-1", "-1"], ["a-10", "1"]),
        ("a*a", ["aa", "aba"], ["a"]),
        ("a*b*c", ["abc", "axbxc", "abbc"], ["ac", "acb", "abcx"]),
        ("a*bc*c", ["abcc", "abcxc"], ["abc"]),
        ("*", ["", "anything"], []),
        ("a.c", ["a.c"], ["abc"]),
        ("[ab]?", ["[ab]?"], ["a1"]),
    ],
)
def test_which_names_a_claim_stands_for(claim, yes, no):
    """The whole name, letter by letter; only `*` has a meaning."""
    assert [name for name in yes + no if join_token.claims(claim, name)] == yes
    assert join_token.is_pattern(claim) == ("*" in claim)


@given(st.text(alphabet="ab*", max_size=8), st.text(alphabet="ab", max_size=12))
def test_claims_agree_with_a_regular_expression(claim, name):
    """The same language as `.*` in place of each star."""
    pattern = re.escape(claim).replace(r"\*", ".*")
    assert join_token.claims(claim, name) == (re.fullmatch(pattern, name) is not None)
