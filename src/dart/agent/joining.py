"""Which enrolment an agent begins with: the one it keeps, the local server's, or the one that a join token brings.

After an enrolment the process begins anew: without TLS, which takes megabytes, and without the token.
"""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from dart.agent import enrol
from dart.agent.config import AgentConfig, state_root
from dart.agent.token_option import TOKEN_VARIABLE, JoinToken
from dart.errors import ConfigError, ForbiddenError, HostUnreachableError

_LOG = logging.getLogger("dart.agent")
_OPTION = "--token"


def hide_token(arguments: Sequence[str]) -> None:
    """Where the token stands on the command line, which every user of this machine can read, begin anew without it.

    The environment, where it goes, is for this user alone.
    """
    kept: list[str] = []
    token: str | None = None
    rest = iter(arguments)
    for word in rest:
        if word == _OPTION:
            token = next(rest, "")
        elif word.startswith(f"{_OPTION}="):
            token = word.removeprefix(f"{_OPTION}=")
        else:
            kept.append(word)
    if token is None:
        return
    if not token:
        raise ConfigError("--token needs a value.")
    if any(word.partition("=")[0] == "--token-file" for word in kept):
        raise ConfigError("--token and --token-file are both there; drop one of them.")
    _begin_anew(kept, {**os.environ, TOKEN_VARIABLE: token})


def enrolment_of(config: AgentConfig, arguments: Sequence[str]) -> enrol.Enrolment:
    """The enrolment to work with. Enrols and begins anew where there is none, or not the one that is meant.

    Raises:
        ConfigError: Options contradict each other or files cannot be understood.
        ForbiddenError: The server refuses, or has revoked this agent.
        HostUnreachableError: There is no server to enrol with.
    """
    known = enrol.read_enrolment(config.home)
    if known is not None and known.name != config.name:
        raise ConfigError(
            f"{config.home} belongs to an agent named {known.name!r}; give {config.name!r} another --home "
            "(one agent's key is enrolled for one name)."
        )
    if config.token is not None and (known is None or known.token_id != config.token.says.id):
        _join(config, known, config.token, arguments)
    if known is not None and known.revoked:
        raise ForbiddenError(
            f"The server has revoked the key of this agent: it may not come back with it. Results that it had wait in "
            f"{config.home / 'spool'}. To join again as a new agent, start it with a new token (`dart agent token` on "
            f"the server), or remove {enrol.KEY_FILE} and {enrol.ENROLMENT_FILE} from its home."
        )
    if TOKEN_VARIABLE in os.environ:
        _begin_anew(arguments, _without_token())
    if known is not None and (config.server.startswith(("tcp:", "ipc:")) or not _is_outdated(config, known)):
        return known
    former = Path(known.state_directory) if known is not None and known.state_directory else None
    return _enrol(config, config.state_directory or former or _default_state_directory(), arguments)


def _join(config: AgentConfig, known: enrol.Enrolment | None, token: JoinToken, arguments: Sequence[str]) -> NoReturn:
    if config.server.startswith(("https:", "http:")) and _address(config.server) != _address(token.says.url):
        raise ConfigError(
            f"--server {config.server} is not the server that the token is for ({token.says.url}); drop --server, or "
            "take a token of that server."
        )
    if known is not None and known.revoked:
        enrol.forget_key(config.home)
    enrol.enrol_by_token(config.home, config.name, token.says, token.text)
    _LOG.info("enrolled as %s at %s; the token is not needed any more", config.name, token.says.url)
    named = any(word.partition("=")[0] == "--name" for word in arguments)
    _begin_anew(arguments if named else [*arguments, "--name", config.name], _without_token())


def _enrol(config: AgentConfig, state_directory: Path, arguments: Sequence[str]) -> NoReturn:
    if config.server and not (state_directory / enrol.SERVER_FILE).exists():
        raise ConfigError(
            f"This agent is not enrolled at {config.server}, and no server on this machine could do it. Make a token "
            f"on the server with `dart agent token --name {config.name}` and start this agent with it, by "
            "DART_JOIN_TOKEN, --token-file or --token."
        )
    enrol.enrol(config.home, config.name, state_directory)
    _LOG.info("enrolled as %s with the server of %s", config.name, state_directory)
    _begin_anew(arguments, _without_token())


def _begin_anew(arguments: Sequence[str], environment: dict[str, str]) -> NoReturn:
    """Be this very program again, with these arguments."""
    sys.stdout.flush()
    count = len(sys.argv) - 1
    program = sys.orig_argv[: len(sys.orig_argv) - count]
    os.execve(sys.executable, [*program, *arguments], environment)  # noqa: S606 - this very program


def _without_token() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}


def _address(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        raise ConfigError(f"--server {url} is no URL of a server.") from None
    return parts.scheme, (parts.hostname or "").lower(), port


def _is_outdated(config: AgentConfig, known: enrol.Enrolment) -> bool:
    """Whether the local server is another one than at enrolment; a server that is not there tells nothing."""
    state_directory = config.state_directory or (Path(known.state_directory) if known.state_directory else None)
    if state_directory is None or known.token_id:
        return False
    if known.state_directory != str(state_directory):
        return True
    try:
        server = enrol.find_server(state_directory)
    except HostUnreachableError:
        return False
    return server.server_public_key != known.server_public_key


def _default_state_directory() -> Path:
    configured = os.environ.get("DART_STATE_DIR")
    return Path(configured) if configured else state_root(os.environ) / "server"
