"""Join tokens: one text by which an agent on another machine finds the server, knows it, and may enrol its key.

`dart-join-1.` and the base64url of a JSON object; `docs/protocol.md` has its members. Who has the text may enrol a
key until the token is used up, has expired or was revoked, so it is kept like a password and shown only once.
"""

import base64
import json
import re
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from dart.errors import ConfigError

START = "dart-join-1."
TEXT_CHARS_MAX = 4096
ID_CHARS = 16
SECRET_CHARS = 43
"""32 random bytes in base64url."""
STARS_MAX = 8
_NAME_CHARS_MAX = 255
_TIME_MS_MAX = 1 << 53
_ID = re.compile(rf"[0-9a-f]{{{ID_CHARS}}}")
_SECRET = re.compile(rf"[A-Za-z0-9_-]{{{SECRET_CHARS}}}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_TEXT = re.compile(r"[A-Za-z0-9_-]+")


class JoinText(NamedTuple):
    """What a join token says."""

    url: str
    """Where REST is: `https://HOST:PORT`."""
    fingerprint: str
    """SHA-256 of the server's certificate, 64 hexadecimal digits."""
    id: str
    """Names the token in lists and logs; no secret."""
    secret: str
    """The server knows its SHA-256 only."""
    name: str
    """What the worker may be called; `*` stands for any characters."""
    expires_at_ms: int
    """Unix time."""

    def __repr__(self) -> str:
        return f"JoinText(url={self.url!r}, id={self.id!r}, name={self.name!r}, secret=...)"


def write(token: JoinText) -> str:
    """The token as text."""
    content = json.dumps(token._asdict(), ensure_ascii=False, separators=(",", ":")).encode()
    return START + base64.urlsafe_b64encode(content).decode("ascii").rstrip("=")


def read(text: str) -> JoinText:
    """What a token says.

    Raises:
        ConfigError: It is none, of another version, or damaged; the message never repeats it.
    """
    text = text.strip()
    if len(text) > TEXT_CHARS_MAX:
        raise ConfigError(f"The join token has {len(text)} characters, more than {TEXT_CHARS_MAX}: this is none.")
    if not text.startswith(START):
        if re.match(r"dart-join-[0-9]{1,9}\.", text):
            raise ConfigError("The join token is of another version of the server; update this agent, or the server.")
        raise ConfigError(f"The join token must begin with {START!r}; `dart agent token` makes one.")
    try:
        return _checked(_members(text.removeprefix(START)))
    except (ValueError, RecursionError):
        raise ConfigError("The join token is damaged or was not copied as a whole; copy it again.") from None


def _members(text: str) -> dict[str, Any]:
    if not _TEXT.fullmatch(text):
        raise ValueError
    content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    members = json.loads(content.decode("utf-8"), object_pairs_hook=_once)
    if not isinstance(members, dict) or set(members) != set(JoinText._fields):
        raise ValueError
    return members


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, unless a member stands in it twice."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError
    return members


def _checked(members: dict[str, Any]) -> JoinText:
    token = JoinText(**members)
    texts = (token.url, token.fingerprint, token.id, token.secret, token.name)
    if not all(type(text) is str for text in texts) or type(token.expires_at_ms) is not int:
        raise ValueError
    good = (
        _is_address(token.url)
        and _FINGERPRINT.fullmatch(token.fingerprint)
        and _ID.fullmatch(token.id)
        and _SECRET.fullmatch(token.secret)
        and is_claim(token.name)
        and 0 < token.expires_at_ms <= _TIME_MS_MAX
    )
    if not good:
        raise ValueError
    return token


def _is_address(url: str) -> bool:
    if not url.isascii() or not url.isprintable() or " " in url:
        return False
    parts = urlsplit(url)
    return (
        parts.scheme == "https"
        and bool(parts.hostname)
        and parts.port is not None
        and parts.path in {"", "/"}
        and not (parts.query or parts.fragment or parts.username or parts.password)
    )


def is_claim(text: str) -> bool:
    """Whether this can stand for names: printable, without `/`, not too long, with few stars."""
    return 0 < len(text) <= _NAME_CHARS_MAX and text.isprintable() and "/" not in text and text.count("*") <= STARS_MAX


def is_pattern(claim: str) -> bool:
    """Whether it stands for more than one name."""
    return "*" in claim


def claims(claim: str, name: str) -> bool:
    """Whether the whole name is one that this claim stands for; `*` stands for any characters, also for none."""
    first, *rest = claim.split("*")
    if not rest:
        return name == claim
    *middle, last = rest
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    # The leftmost place of each piece is as good as any: no backtracking.
    at, end = len(first), len(name) - len(last)
    for piece in middle:
        found = name.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True
