"""The hosts where this server has agents, and how it reached them: kept in its state directory, without secrets."""

import contextlib
import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from dart.errors import ConfigError, DamagedFileError

_HOSTS_MAX = 10_000


class KeptHost(NamedTuple):
    """One of them."""

    host: str
    """As it was named."""
    username: str = ""
    port: int = 0
    private_key: str = ""
    host_keys: str = ""
    tunnel_port: int = 0
    """Where agents there find the broker on their own machine; 0: they reach it without a tunnel."""


class KeptHosts:
    """Remembers them, each once.

    Args:
        path: A file that is replaced as a whole; 0600.

    Raises:
        DamagedFileError: It cannot be understood.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hosts: dict[str, KeptHost] = {}
        try:
            for members in json.loads(path.read_bytes()):
                kept = KeptHost(**members)
                self._hosts[kept.host] = kept
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError) as error:
            raise DamagedFileError(
                f"{path} cannot be read ({error}); remove it. Agents on these hosts go on, and `dart worker remove` "
                "finds them there."
            ) from None

    def all(self) -> list[KeptHost]:
        """All of them."""
        return list(self._hosts.values())

    def get(self, host: str) -> KeptHost | None:
        """The one that was named so."""
        return self._hosts.get(host)

    def keep(self, hosts: Iterable[KeptHost]) -> None:
        """Remember these, or what is new of them. Raises `ConfigError` if it cannot be written."""
        changed = {**self._hosts, **{kept.host: kept for kept in hosts}}
        if len(changed) > _HOSTS_MAX:
            raise ConfigError(f"Agents on more than {_HOSTS_MAX} hosts are too many for one server.")
        self._write(changed)

    def forget(self, hosts: Iterable[str]) -> None:
        """Forget these."""
        gone = set(hosts)
        if gone & self._hosts.keys():
            self._write({name: kept for name, kept in self._hosts.items() if name not in gone})

    def _write(self, hosts: dict[str, KeptHost]) -> None:
        text = json.dumps([kept._asdict() for kept in hosts.values()], indent=1)
        draft = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise ConfigError(f"{self._path} cannot be written: {error.strerror}.") from None
        self._hosts = hosts
