"""Where the server is, how to know that it is the one, and with which key: arguments, environment, local server."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from dart_client.errors import ConfigError, DamagedFileError, ServerUnreachableError

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Server(NamedTuple):
    """All that is needed to talk to one server."""

    url: str
    """`https://HOST:PORT`, or `http://` on loopback."""
    key: str
    fingerprint: str
    """SHA-256 of the certificate in hex without colons; empty: `ca` is checked instead."""
    ca: str
    """File of certificates that may have signed the server's."""


def default_state_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """Where a server of this user keeps its state unless told otherwise."""
    told = environment.get("DART_STATE_DIR")
    if told:
        return Path(told)
    base = environment.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "dart" / "server"


def find(
    *,
    url: str | None = None,
    key: str | None = None,
    fingerprint: str | None = None,
    ca: str | None = None,
    state_dir: str | os.PathLike[str] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Server:
    """Join what was said, what the environment says and what a local server left in its state directory.

    Raises:
        ServerUnreachableError: No server was named and none runs on this machine.
        ConfigError: There is no key, or no way to know a remote server from an impostor.
    """
    directory = Path(state_dir) if state_dir else default_state_directory(environment)
    url = (url or ("" if state_dir else environment.get("DART_URL")) or "").rstrip("/")
    fingerprint = fingerprint or ("" if state_dir and not url else environment.get("DART_FINGERPRINT")) or ""
    ca = ca or ("" if state_dir and not url else environment.get("DART_CA")) or ""
    local = _local_server(directory)
    if not url:
        if local is None:
            raise ServerUnreachableError(
                f"No server runs with the state directory {directory}; start one with `dart server start`, "
                "or name one with url (DART_URL)."
            )
        url = str(local["url"]).rstrip("/")
    is_local = local is not None and str(local["url"]).rstrip("/") == url
    if is_local and local is not None and not (fingerprint or ca):
        fingerprint = str(local.get("fingerprint") or "")
    local_key = _local_key(directory) if is_local else ""
    key = key or (local_key if state_dir else "") or environment.get("DART_KEY") or local_key
    if not key:
        raise ConfigError(
            f"No key for {url}; pass key or set DART_KEY. The server's first key is in the file admin.key "
            "of its state directory."
        )
    fingerprint = clean_fingerprint(fingerprint)
    _refuse_blind_trust(url, fingerprint, ca)
    return Server(url=url, key=key, fingerprint=fingerprint, ca=ca)


def clean_fingerprint(text: str) -> str:
    """Hex digits of a SHA-256 fingerprint, however it was written; `ConfigError` if it is none."""
    digits = text.strip().lower().replace(":", "").replace("sha256=", "").replace("sha-256=", "").replace(" ", "")
    if digits and (len(digits) != 64 or set(digits) - set("0123456789abcdef")):
        raise ConfigError(
            f"The fingerprint {text!r} is not 64 hexadecimal digits (SHA-256); "
            "`dart server info` on the server's machine prints the right one."
        )
    return digits


def _refuse_blind_trust(url: str, fingerprint: str, ca: str) -> None:
    """Encrypted and known to be the one, or on this very machine; nothing between."""
    parts = urlsplit(url)
    if parts.scheme == "unix" and parts.path:
        return
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(f"The server's URL {url!r} is not of the form https://HOST:PORT.")
    if parts.scheme == "http":
        if parts.hostname not in LOOPBACK:
            raise ConfigError(f"{url} is not encrypted and not on this machine; use https:// and the fingerprint.")
    elif not (fingerprint or ca):
        raise ConfigError(
            f"Nothing says that {url} is the right server; pass fingerprint (DART_FINGERPRINT, printed by "
            "`dart server info` on the server's machine) or ca, a file of certificates to trust."
        )


def _local_server(directory: Path) -> dict[str, Any] | None:
    """What a running server wrote about itself, if there is one."""
    try:
        known = json.loads((directory / "server.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"Cannot read {directory / 'server.json'}: {error}. Is it another user's server?") from error
    except ValueError:
        known = None
    if not isinstance(known, dict) or "url" not in known:
        raise DamagedFileError(f"{directory / 'server.json'} is not a server's; stop the server and start it again.")
    return known


def _local_key(directory: Path) -> str:
    """The first admin key of the local server; empty where it may not be read."""
    try:
        return (directory / "admin.key").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
