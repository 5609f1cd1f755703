"""SSH: the one file that knows fabric. A session with a host whose key was verified; every wait has an end.

All of it blocks and belongs into threads.
"""

import base64
import contextlib
import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import paramiko
from fabric import Config, Connection

from dart.deploy.plan import Host, HostFaultError
from dart.deploy.ssh_options import ACCEPT_NEW, KNOWN, SshOptions
from dart.limits import Limits

_SYSTEM_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")
_ANSWER_BYTES_MAX = 1024 * 1024
_PIECE_BYTES = 64 * 1024
_KEEPALIVE_SECONDS = 10
_LOADER = "import sys;i=sys.stdin.buffer;exec(compile(i.read(int(i.readline())),'dart','exec'))"
_FIND_PYTHON = """\
for name in python3 python3.11 python3.12 python3.13 python3.14; do
    path=$(command -v "$name" 2> /dev/null) || continue
    told=$("$path" -c "
import sys
try:
    import zmq
except Exception:
    zmq = None
print(sys.version_info[0], sys.version_info[1], int(zmq is not None))
" < /dev/null 2> /dev/null) && echo "$told $path"
done
"""
_known_hosts_lock = threading.Lock()


class HostKeyPolicy(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]  # it comes without types
    """What is done with a host whose key nobody knows: refused, unless the owner said otherwise."""

    def __init__(self, options: SshOptions) -> None:
        self._options = options

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Raise `HostFaultError`, or return."""
        del client
        fingerprint = fingerprint_of(key)
        wanted = self._options.host_keys
        if wanted == ACCEPT_NEW:
            self._keep(hostname, key)
            return
        if wanted != KNOWN:
            if fingerprint in (text.strip() for text in wanted.split(",")):
                return
            raise HostFaultError(
                "host key", f"its key is {fingerprint} ({key.get_name()}), none of those that are pinned"
            )
        raise HostFaultError(
            "host key",
            f"its key {fingerprint} ({key.get_name()}) is not known. Check it and add it to ~/.ssh/known_hosts "
            f"(ssh-keyscan {hostname.strip('[]').partition(']')[0]}), pin it, or take new keys with accept-new",
        )

    def _keep(self, hostname: str, key: paramiko.PKey) -> None:
        path = self._options.known_hosts
        if path is None:
            return
        with _known_hosts_lock:
            path.touch(mode=0o600)
            with path.open("a", encoding="ascii") as file:
                file.write(f"{hostname} {key.get_name()} {key.get_base64()}\n")


def fingerprint_of(key: paramiko.PKey) -> str:
    """As `ssh-keygen -l` writes it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode("ascii").rstrip("=")


class Session:
    """An open connection to a host.

    Args:
        host: Where to.
        options: How.
        limits: Bounds of all waits.

    Raises:
        HostFaultError: It cannot be reached, shows a wrong key, or lets nobody in.
    """

    def __init__(self, host: Host, options: SshOptions, limits: Limits) -> None:
        self._limits = limits
        self._python = ""
        self.connection = _connection(host, options, limits)
        try:
            with _told(self.connection.host):
                self.connection.open()
        except HostFaultError:
            self.close()
            raise
        self.transport: paramiko.Transport = self.connection.transport
        self.transport.set_keepalive(_KEEPALIVE_SECONDS)
        if isinstance(self.transport.sock, socket.socket):
            # What is sent in small pieces would wait for acknowledgements.
            self.transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        """The address that the host has; empty where another host leads there."""
        try:
            return str(self.transport.getpeername()[0])
        except (OSError, AttributeError, IndexError):
            return ""

    @property
    def open(self) -> bool:
        """Whether it still stands."""
        return bool(self.transport.is_active())

    def find_python(self) -> None:
        """Look for a Python that the agent runs on, one with pyzmq first. Raises `HostFaultError`."""
        out, err = self._run("sh -s", _FIND_PYTHON.encode(), "Python", self._limits.ssh_step_seconds)
        found: list[tuple[bool, int, str]] = []
        old: list[str] = []
        for line in out.decode(errors="replace").splitlines():
            words = line.split(" ", 3)
            if len(words) != 4 or not all(word.isdigit() for word in words[:3]):
                continue
            version = (int(words[0]), int(words[1]))
            if version < (3, 11):
                old.append(f"{words[3]} is Python {words[0]}.{words[1]}")
            else:
                found.append((words[2] == "1", -len(found), words[3]))
        if not found:
            reason = f"the agent needs Python 3.11 or later; {'; '.join(old)}" if old else "there is no Python 3"
            raise HostFaultError("Python", reason + " (apt install python3)", err)
        self._python = max(found)[2]

    def call(self, step: str, request: dict[str, Any], *, blob: bytes = b"", seconds: float = 0.0) -> dict[str, Any]:
        """Do something with `host_side` on the host; its answer.

        Args:
            step: What it is, for people.
            request: Members of the request, secrets among them.
            blob: What follows the request.
            seconds: How long it may take beyond the usual.

        Raises:
            HostFaultError: It failed there, or the connection did.
        """
        program = _program()
        stdin = b"%d\n%b%b\n%b" % (len(program), program, json.dumps(request).encode(), blob)
        quoted = self._python.replace("'", "'\\''")
        command = f"'{quoted}' -c \"{_LOADER}\""
        out, err = self._run(command, stdin, step, self._limits.ssh_step_seconds + seconds)
        try:
            # What a shell's start files print comes before it.
            answer = json.loads(out.splitlines()[-1])
            fault = answer.get("fault", "")
        except (ValueError, IndexError, AttributeError):
            raise HostFaultError(step, "what came back cannot be understood", err) from None
        if fault:
            raise HostFaultError(step, str(fault)[:1000], err)
        return dict(answer)

    def _run(self, command: str, stdin: bytes, step: str, seconds: float) -> tuple[bytes, str]:
        """Output and complaints of a command that ended well in time."""
        end = time.monotonic() + seconds
        channel = None
        try:
            channel = self.transport.open_session(timeout=seconds)
            channel.settimeout(seconds)
            channel.exec_command(command)
            # Who ends before he has read all of it says why himself.
            with contextlib.suppress(OSError):
                channel.sendall(stdin)
                channel.shutdown_write()
            out = _drain(channel.recv, channel, end)
            err = _drain(channel.recv_stderr, channel, end).decode(errors="replace")
            has_ended = channel.status_event.wait(max(0.0, end - time.monotonic()))
            code = channel.recv_exit_status() if has_ended else None
        except TimeoutError:
            raise HostFaultError(step, f"no answer within {seconds:.0f} s") from None
        except (OSError, paramiko.SSHException, EOFError) as error:
            raise HostFaultError(step, f"the connection broke off ({str(error) or type(error).__name__})") from None
        finally:
            if channel is not None:
                channel.close()
        if code is None:
            raise HostFaultError(step, f"it did not end within {seconds:.0f} s", err)
        if code == -1:
            raise HostFaultError(step, "the connection broke off", err)
        if code:
            raise HostFaultError(step, f"it failed there with exit code {code}", err)
        return out, err

    def forward(self, address: str, port: int, take: Callable[[paramiko.Channel], None]) -> int:
        """Let connections to this address of the host come here; the port, chosen there if it is 0.

        Raises:
            HostFaultError: The host does not want that.
        """

        def taken(channel: paramiko.Channel, _origin: object, _server: object) -> None:
            take(channel)

        try:
            return int(self.transport.request_port_forward(address, port, taken))
        except (paramiko.SSHException, OSError, EOFError) as error:
            where = f"at port {port} " if port else ""
            raise HostFaultError(
                "tunnel", f"its SSH server opens no port {where}for us ({error}); is AllowTcpForwarding set there?"
            ) from None

    def close(self) -> None:
        """End it; what runs on the host goes on."""
        with contextlib.suppress(Exception):  # it may be broken in any way
            self.connection.close()
        gateway = self.connection.gateway
        while isinstance(gateway, Connection):
            with contextlib.suppress(Exception):
                gateway.close()
            gateway = gateway.gateway


def _program() -> bytes:
    """What is run on a host: `host_side`, for which the module that it needs is there before it."""
    units, side = (files("dart.deploy").joinpath(name).read_text("utf-8") for name in ("host_units.py", "host_side.py"))
    name = "dart.deploy.host_units"
    lines = (
        "import sys, types",
        "sys.modules['dart'] = types.ModuleType('dart')",
        "sys.modules['dart.deploy'] = types.ModuleType('dart.deploy')",
        f"units = sys.modules['dart.deploy'].host_units = sys.modules['{name}'] = types.ModuleType('{name}')",
        f"exec(compile({units!r}, '{name}', 'exec'), units.__dict__)",
        side,
    )
    return "\n".join(lines).encode()


def _drain(receive: Any, channel: paramiko.Channel, end: float) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        channel.settimeout(max(0.001, end - time.monotonic()))
        piece = receive(_PIECE_BYTES)
        if not piece:
            return b"".join(pieces)
        size += len(piece)
        if size > _ANSWER_BYTES_MAX:
            raise OSError(f"more than {_ANSWER_BYTES_MAX} bytes came back")
        pieces.append(piece)


def _connection(host: Host, options: SshOptions, limits: Limits) -> Any:
    seconds = limits.ssh_connect_seconds
    login: dict[str, Any] = {"banner_timeout": seconds, "auth_timeout": seconds}
    if options.private_key is not None:
        login["key_filename"] = str(options.private_key)
    if options.passphrase:
        login["passphrase"] = options.passphrase
    overrides: dict[str, Any] = {"connect_kwargs": login}
    connection = Connection(
        host.name,
        user=host.username or options.username or None,
        port=host.port or options.port or None,
        config=Config(overrides=overrides),
        connect_timeout=int(seconds),
    )
    # Hosts that lead there are verified as it is.
    each = connection
    while isinstance(each, Connection):
        client = each.client
        client.load_system_host_keys()
        for path in (_SYSTEM_KNOWN_HOSTS, options.known_hosts):
            if path is not None and path.is_file():
                with _known_hosts_lock:
                    client.load_system_host_keys(str(path))
        client.set_missing_host_key_policy(HostKeyPolicy(options))
        each = each.gateway
    return connection


@contextlib.contextmanager
def _told(host: str) -> Any:
    """Whatever opening a connection raises, as a fault with a step and a reason."""
    try:
        yield
    except paramiko.PasswordRequiredException:
        raise HostFaultError(
            "authentication", "the private key is encrypted; load it into an ssh-agent, or give its passphrase"
        ) from None
    except paramiko.BadHostKeyException as error:
        raise HostFaultError(
            "host key",
            f"it shows the key {fingerprint_of(error.key)}, not {fingerprint_of(error.expected_key)} that is known "
            f"for it: somebody may be in between. If its key was really changed: ssh-keygen -R {host}",
        ) from None
    except paramiko.AuthenticationException as error:
        raise HostFaultError("authentication", f"it lets nobody in with this user and key: {error}") from None
    except (TimeoutError, socket.gaierror) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else "no answer in time"
        raise HostFaultError("connection", str(reason)) from None
    except paramiko.ssh_exception.NoValidConnectionsError as error:
        raise HostFaultError("connection", "; ".join(sorted({str(one) for one in error.errors.values()}))) from None
    except paramiko.SSHException as error:
        if "No authentication methods" in str(error):
            raise HostFaultError(
                "authentication",
                "the server has no key to log in with; load one into the ssh-agent that its SSH_AUTH_SOCK names, or "
                "give it a file (--ssh-private-key)",
            ) from None
        if "key" in str(error).lower() and "host key" not in str(error).lower():
            reason = f"the private key cannot be used ({error}): a wrong passphrase, or a damaged file"
            raise HostFaultError("authentication", reason) from None
        raise HostFaultError(
            "connection", f"{error}. Servers that know ssh-rsa with SHA-1 alone are too old and refused"
        ) from None
    except (OSError, EOFError, ValueError) as error:
        raise HostFaultError("connection", str(error) or type(error).__name__) from None
