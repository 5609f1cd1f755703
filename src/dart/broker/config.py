"""What a server is told at its start."""

import ipaddress
import os
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path

from dart.errors import ConfigError

DEFAULT_PORT = 7777
DEFAULT_AGENT_PORT = 7778
SSH_PORT = 22
STORES = ("sqlite", "memory")
UNIX = "unix:"
"""Before the path of a socket, where a host may stand."""
SOCKET_PATH_BYTES_MAX = 107
"""What Linux has room for in the address of a unix socket."""
HOST_KEYS = "`known`, `accept-new`, or fingerprints SHA256:... with commas between them"


def is_host_keys(text: str) -> bool:
    """Whether this says which host keys are trusted."""
    return text in {"known", "accept-new"} or all(
        re.fullmatch(r"\s*SHA256:[A-Za-z0-9+/]{43}\s*", one) for one in text.split(",")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SshDefaults:
    """How hosts are reached where `POST /worker/` does not say; key files are paths on the server's machine."""

    username: str = ""
    """Empty: the server's own user."""
    port: int = SSH_PORT
    """This one stands for what `~/.ssh/config` says, too."""
    private_key: Path | None = None
    public_key: Path | None = None
    host_keys: str = "known"
    """`known`: those that known_hosts files have; `accept-new`; or fingerprints with commas between them."""
    wheelhouse: Path | None = None
    """A folder with wheels for hosts that lack pyzmq, in place of what pip is configured for."""

    def check(self) -> None:
        """Raise `ConfigError` that names the option."""
        if not 1 <= self.port <= 65_535:
            raise ConfigError(f"--ssh-port {self.port} is no port; take 1 to 65535.")
        if not self.username.isprintable() or self.username.startswith("-"):
            raise ConfigError(f"--ssh-username {self.username!r} is no user's name.")
        for option, path in (("--ssh-private-key", self.private_key), ("--ssh-public-key", self.public_key)):
            if path is not None and not path.is_file():
                raise ConfigError(f"{option} {path} is no file; give the path of a key on this machine.")
        if not is_host_keys(self.host_keys):
            raise ConfigError(f"--ssh-host-keys {self.host_keys!r} must be {HOST_KEYS}.")
        if self.wheelhouse is not None and not self.wheelhouse.is_dir():
            raise ConfigError(f"--ssh-wheelhouse {self.wheelhouse} is no folder; give one on this machine with wheels.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Options of `dart server start`, by their names there."""

    state_dir: Path | None = None
    """None: the user's state directory."""
    host: str = "127.0.0.1"
    """Where REST listens: an address, or `unix:/PATH` for a socket that this user alone may open."""
    port: int = DEFAULT_PORT
    """0: the system chooses."""
    agent_host: str = "127.0.0.1"
    """Where agents connect."""
    agent_port: int = DEFAULT_AGENT_PORT
    """0: the system chooses."""
    advertise: str = ""
    """What others are told to connect to; empty: found out."""
    store: str = "sqlite"
    """`sqlite`, or `memory`, which forgets all at the end."""
    tls_cert: Path | None = None
    """A certificate chain (PEM) in place of the one the server makes."""
    tls_key: Path | None = None
    """Its private key."""
    tls_san: tuple[str, ...] = ()
    """Further names and addresses in the certificate that the server makes."""
    no_tls: bool = False
    """Plain HTTP; on loopback only, and all there is on a unix socket."""
    legacy_keys: tuple[str, ...] = ()
    """Key texts written into old programs; each may do everything."""
    allow_weak_key: bool = False
    """Take legacy keys although REST does not listen on loopback."""
    forget_jobs: bool = False
    """Begin without jobs, tasks and results."""
    ssh: SshDefaults = field(default_factory=SshDefaults)
    """For workers that are started on other hosts."""
    log_level: str = "info"
    """`debug`, `info`, `warning` or `error`."""

    def check(self) -> None:
        """Refuse what cannot work or must not be.

        Raises:
            ConfigError: Names the option.
        """
        if self.store not in STORES:
            raise ConfigError(f"--store {self.store} is unknown; take one of {', '.join(STORES)}.")
        if self.advertise and is_wildcard(self.advertise):
            raise ConfigError(f"--advertise {self.advertise} is no address to connect to; name one that others reach.")
        self._check_ports()
        self._check_socket()
        self._check_tls()
        self._check_legacy_keys()
        self.ssh.check()

    def _check_ports(self) -> None:
        for option, port in (("--port", self.port), ("--agent-port", self.agent_port)):
            if not 0 <= port <= 65_535:
                raise ConfigError(f"{option} {port} is no port; take 0 (the system chooses) to 65535.")
        if self.port == self.agent_port != 0 and self.host == self.agent_host:
            raise ConfigError(f"--port and --agent-port are both {self.port}; they need two ports.")

    def _check_socket(self) -> None:
        if self.agent_host.startswith(UNIX):
            raise ConfigError(f"--agent-host {self.agent_host} must be an address; agents come by TCP.")
        path = socket_path(self.host)
        if path is None:
            return
        if not path.is_absolute() or "\0" in str(path):
            raise ConfigError(f"--host {self.host} must have an absolute path, as unix:/run/dart/rest.sock.")
        if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
            raise ConfigError(
                f"--host {self.host} is too long; a socket's path has at most {SOCKET_PATH_BYTES_MAX} bytes."
            )
        if self.tls_cert is not None or self.tls_san:
            raise ConfigError(
                f"--host {self.host} is not encrypted, for it stays on this machine; drop --tls-cert, --tls-san."
            )

    def _check_tls(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("--tls-cert and --tls-key go together; give both or none.")
        if self.no_tls and self.tls_cert is not None:
            raise ConfigError("--no-tls contradicts --tls-cert; drop one of them.")
        if self.no_tls and not is_local(self.host):
            raise ConfigError(f"--no-tls is for loopback, --host {self.host} is not; drop one of them.")

    def _check_legacy_keys(self) -> None:
        if self.legacy_keys and not is_local(self.host) and not self.allow_weak_key:
            raise ConfigError(
                f"--legacy-key is for loopback, --host {self.host} is not: anybody in the network could guess such a "
                "key. Listen on 127.0.0.1, or add --allow-weak-key if you know who can reach the port."
            )
        if any(not key or not key.isprintable() for key in self.legacy_keys):
            raise ConfigError("--legacy-key is empty or has control characters; give the text as programs send it.")


def is_wildcard(host: str) -> bool:
    """Whether this means every address of the host, and so is none to connect to."""
    try:
        return host == "*" or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def socket_path(host: str) -> Path | None:
    """The path of a unix socket where one stands in place of a host."""
    return Path(host.removeprefix(UNIX)) if host.startswith(UNIX) else None


def is_local(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    if host == "localhost" or host.startswith(UNIX):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def advertised(listen_host: str, advertise: str) -> str:
    """The address that others are told: as configured, or what is listened on, or this host's main address."""
    if advertise and not listen_host.startswith(UNIX):
        return advertise
    if not is_wildcard(listen_host):
        return listen_host
    return main_address() or "127.0.0.1"


def main_address() -> str:
    """The address that this host uses towards the outside; empty if it has none. Sends nothing."""
    for family, probe in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.connect((probe, 9))
                address = str(sock.getsockname()[0])
        except OSError:
            continue
        if not is_wildcard(address):
            return address
    return ""


def in_url(host: str) -> str:
    """The host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def rest_url(host: str, port: int, *, tls: bool) -> str:
    """Where REST is; of a unix socket the host says it all."""
    return host if host.startswith(UNIX) else f"{'https' if tls else 'http'}://{in_url(host)}:{port}"
