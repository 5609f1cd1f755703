"""A real OpenSSH server for one test: own port, own keys, own home for who logs in; gone when the test ends."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from harness.network import Network
from harness.waiting import wait_until

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
needs_sshd = pytest.mark.skipif(SSHD is None, reason="there is no sshd: tools/install_test_peers.sh installs it")
USER = pwd.getpwuid(os.getuid()).pw_name
_CONFIG = """\
Port {port}
ListenAddress {address}
HostKey {host_key}
PidFile none
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowTcpForwarding yes
X11Forwarding no
PrintMotd no
PrintLastLog no
UseDNS no
MaxStartups 100:30:200
MaxSessions 100
LogLevel VERBOSE
SetEnv {environment}
"""


@dataclass
class Host:
    """A "host": the account of whoever runs the tests, with a home of its own, behind a port of its own."""

    folder: Path
    port: int
    process: "subprocess.Popen[bytes] | None" = None
    variables: dict[str, str] = field(default_factory=dict)
    address: str = "127.0.0.1"
    prefix: tuple[str, ...] = ()
    """Goes before the server's command: another network."""

    @property
    def name(self) -> str:
        """As it is given to `dart worker add`."""
        return f"{self.address}:{self.port}"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def known(self) -> str:
        """Its line in a known_hosts file."""
        kind, key = (self.folder / "host_key.pub").read_text().split()[:2]
        return f"[{self.address}]:{self.port} {kind} {key}\n"

    def start(self) -> None:
        environment = {"HOME": str(self.home), **self.variables}
        # A quoted list: SetEnv stands once in the file, later ones are ignored.
        told = " ".join(f'"{name}={value}"' for name, value in environment.items())
        config = self.folder / "sshd_config"
        config.write_text(
            _CONFIG.format(
                address=self.address,
                port=self.port,
                host_key=self.folder / "host_key",
                folder=self.folder.parent,
                environment=told,
            )
        )
        with (self.folder / "sshd.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, str(SSHD), "-D", "-e", "-f", str(config)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        wait_until(self._listens, explain=lambda: self.log)

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        with contextlib.suppress(OSError):
            socket.create_connection((self.address, self.port), 0.2).close()
            return True
        return False

    @property
    def log(self) -> str:
        return (self.folder / "sshd.log").read_text(errors="replace")

    def stop(self) -> None:
        """End it, and with it all its connections."""
        if self.process is not None:
            # Each connection is a process with a session of its own.
            connections = [
                each for each in psutil.Process(self.process.pid).children(recursive=True) if each.name() == "sshd"
            ]
            for each in (*connections, self.process):
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
            self.process.wait(5)
            self.process = None

    def new_host_key(self) -> None:
        for name in ("host_key", "host_key.pub"):
            (self.folder / name).unlink(missing_ok=True)
        make_key(self.folder / "host_key")


@dataclass
class Hosts:
    """Several of them, and what a client needs to reach them."""

    folder: Path
    hosts: list[Host] = field(default_factory=list)

    @property
    def key(self) -> Path:
        return self.folder / "client_key"

    @property
    def names(self) -> list[str]:
        return [host.name for host in self.hosts]

    @property
    def client_home(self) -> Path:
        """The home of the server's user, whose known_hosts has all of them."""
        return self.folder / "client"

    def know(self) -> None:
        """Write that known_hosts anew."""
        ssh = self.client_home / ".ssh"
        ssh.mkdir(mode=0o700, parents=True, exist_ok=True)
        (ssh / "known_hosts").write_text("".join(host.known for host in self.hosts))

    def options(self) -> tuple[str, ...]:
        """For `dart server start`."""
        return ("--ssh-username", USER, "--ssh-private-key", str(self.key))

    def environment(self) -> dict[str, str]:
        """For the server's process."""
        return {"HOME": str(self.client_home), "SSH_AUTH_SOCK": ""}


def make_key(path: Path, passphrase: str = "") -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "test", "-f", str(path)]
    subprocess.run(command, check=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def sshds(folder: Path, number: int, *, lines: Network | None = None, **variables: str) -> Iterator[Hosts]:
    """So many hosts that run; the Python that they find is the tests' own, which has pyzmq.

    With `lines` each is in its own network, as host 1, 2 ... of it; else all are at 127.0.0.1.
    """
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    it = Hosts(folder)
    make_key(it.key)
    (folder / "authorized_keys").write_text(it.key.with_suffix(".pub").read_text())
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    try:
        for index in range(number):
            host = Host(folder / f"host{index}", free_port(), variables={"PATH": path, **variables})
            if lines is not None:
                host.address, host.prefix = lines.address_of(index + 1), lines.inside(index + 1)
            host.home.mkdir(parents=True)
            host.new_host_key()
            it.hosts.append(host)
            host.start()
        it.know()
        yield it
    finally:
        for host in it.hosts:
            host.stop()
