"""The texts of API keys: those that the server makes, those that people choose, and what is kept of either.

Nothing is kept from which a text could be had back (`docs/adr/0101`).
"""

import hashlib
import hmac
import re
import secrets
from typing import Final

from dart.errors import InvalidRequestError
from dart.ids import KeyId

START: Final = "dart_"
"""Begins every text that a server made, and none that somebody chose."""
_MADE: Final = re.compile(r"dart_([0-9a-f]{16})_[A-Za-z0-9_-]{43}")
_STRONG_CHARS: Final = 16
_STRONG_KINDS: Final = 8
_PEPPER_NAME: Final = b"dart: name of the pepper"


def new_key() -> tuple[KeyId, str]:
    """The id and the text of a new key; the text has 256 random bits."""
    key_id = KeyId(secrets.token_hex(8))
    return key_id, f"{START}{key_id}_{secrets.token_urlsafe(32)}"


def id_in(text: str) -> KeyId | None:
    """Which key a text that a server made claims to be; None: it was not made so."""
    found = _MADE.fullmatch(text)
    return KeyId(found[1]) if found else None


def digest(text: str) -> bytes:
    """What is kept of a text that cannot be guessed."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def peppered(pepper: bytes, text: str) -> bytes:
    """What is kept of a text that may be guessed: to try a guess, one needs the pepper, too."""
    return hmac.digest(pepper, text.encode("utf-8", "surrogateescape"), "sha256")


def name_of(pepper: bytes) -> str:
    """Tells one pepper from another, and nothing else of it."""
    return hmac.digest(pepper, _PEPPER_NAME, "sha256").hex()[:16]


def is_weak(text: str) -> bool:
    """Whether it could be guessed by who may try often."""
    return len(text) < _STRONG_CHARS or len(set(text)) < _STRONG_KINDS


def check_chosen(text: str, chars_max: int) -> str:
    """A text that somebody chose for a key, or `InvalidRequestError`."""
    if not text or not text.isprintable() or text != text.strip() or len(text) > chars_max:
        raise InvalidRequestError(
            f"Member `text` must be 1..{chars_max} printable characters without space around them.", field="text"
        )
    if text.startswith(START):
        raise InvalidRequestError(
            f"Member `text` begins with `{START}` like the keys that servers make; choose another, or leave `text` away"
            " and the server makes a key.",
            field="text",
        )
    return text
