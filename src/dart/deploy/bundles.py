"""Bundles that this server has made for hosts: each once."""

import threading
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from dart.deploy.platforms import Target
from dart.limits import Limits

if TYPE_CHECKING:
    from dart.deploy.bundle import BundleInfo


class Bundles:
    """Makes them when a host needs one, and keeps them until the server ends. Threads may share it.

    Args:
        folder: Where they are made.
        limits: Bound of their size.
        wheelhouse: A folder with wheels, in place of what pip is configured for.
    """

    def __init__(self, folder: Path, limits: Limits, wheelhouse: Path | None = None) -> None:
        self._folder = folder
        self._limits = limits
        self._wheelhouse = wheelhouse
        self._made: dict[str, BundleInfo] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def get(self, target: Target, *, host_pyzmq: bool) -> "tuple[BundleInfo, bytes]":
        """The bundle for such hosts, and its bytes.

        Raises:
            HostUnreachableError: It has to be put together from wheels, and pip failed.
            ConfigError: The folder cannot be written, or the wheelhouse has no wheel for such hosts.
        """
        from dart.deploy.bundle import build, default_name  # noqa: PLC0415 - archives and wheels: 2 MB

        name = f"{'host-pyzmq-' if host_pyzmq else ''}{default_name(target)}"
        with self._locks[name]:
            file = self._folder / name
            if name not in self._made or not file.is_file():
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._made[name] = build(target, file, self._limits, wheelhouse=self._wheelhouse, host_pyzmq=host_pyzmq)
            return self._made[name], file.read_bytes()
