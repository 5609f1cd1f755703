"""The join token among an agent's options: where it may stand, and the name that it allows."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dart.errors import ConfigError

if TYPE_CHECKING:
    from dart.wire.join_token import JoinText

TOKEN_VARIABLE = "DART_JOIN_TOKEN"  # noqa: S105 - the name of a variable


class JoinToken(NamedTuple):
    """A join token as it was given, and what it says."""

    text: str
    says: "JoinText"

    def __repr__(self) -> str:
        return f"JoinToken({self.says!r})"


def find_token(
    text: str, path: Path | None, environment: Mapping[str, str]
) -> tuple[JoinToken | None, tuple[str, ...]]:
    """The join token there is, and what to warn of.

    A file wins over the variable; one that is not there (any more) counts as none, for a token is needed only once.

    Raises:
        ConfigError: It cannot be read, or others can read it.
    """
    if not text and path is not None:
        if not path.exists():
            return None, (f"--token-file {path} is not there; it is needed for enrolment only",)
        from dart.agent.enrol import read_secret  # noqa: PLC0415 - as the next one

        text = read_secret(path, "The join token")
    text = text or environment.get(TOKEN_VARIABLE, "")
    if not text:
        return None, ()
    from dart.wire import join_token  # noqa: PLC0415 - only where there is a token

    return JoinToken(text, join_token.read(text)), ()


def name_by_token(name: str, token: JoinToken | None) -> str:
    """The worker's name: as given, or the one that the token is for. Raises `ConfigError` if they contradict."""
    if token is None:
        return name
    from dart.wire.join_token import claims, is_pattern  # noqa: PLC0415 - only where there is a token

    claim = token.says.name
    if not name and is_pattern(claim):
        raise ConfigError(f"--name is missing: the token is for names like {claim!r}, choose one.")
    name = name or claim
    if not claims(claim, name):
        raise ConfigError(
            f"--name {name!r} is not what the token is for: {claim!r}; drop --name, or get another token."
        )
    return name
