"""The files of the broker's CURVE key: its pair, and how far the change to another one is.

The state directory holds `broker.key`, and while the key changes `broker-next.key` and `rotation.json`, which stays
afterwards to say at which port the agents are. Each step is durable before anybody is told of it:

    begin    broker-next.key is made, its port bound, then rotation.json written; agents are told where to go
    finish   broker-next.key becomes broker.key (a rename), then rotation.json is written without a change going on

A server killed in between finds on its next start where it was: rotation.json with `next_port` and broker-next.key
means that both count; without broker-next.key the change was finished. A broker-next.key alone was never told to
anybody.
"""

import json
from pathlib import Path

from dart.errors import DamagedFileError
from dart.ids import AgentId
from dart.state_directory import BROKER_KEY, read_secret, write_secret
from dart.wire import curve

NEXT_KEY = "broker-next.key"
ROTATION_FILE = "rotation.json"
_PORT_MAX = 65_535


class BrokerKeys:
    """The files: the broker's key pairs, and what is known of the change from one to the next.

    Args:
        folder: The state directory, locked by this server.

    Raises:
        ConfigError: A file is open to others or cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = 0
        """Where agents are since the last change was finished; 0: the key was never changed."""
        self.next_port = 0
        self.next: curve.KeyPair | None = None
        """The coming key, while both count."""
        self.began_at_ms = 0
        self.moved: set[AgentId] = set()
        """Who has come by the coming key."""
        path = folder / BROKER_KEY
        if not path.exists():
            curve.write(path, curve.KeyPair.make())
        self.pair = curve.read(path)
        self._read()

    def _read(self) -> None:
        path = self._folder / ROTATION_FILE
        try:
            told = json.loads(read_secret(path))
            self.port, self.next_port = _port(told["port"]), _port(told["next_port"])
            self.began_at_ms = int(told["began_at_ms"])
            self.moved = {AgentId(str(agent_id)) for agent_id in told["moved"]}
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError, RecursionError):
            raise DamagedFileError(
                f"{path} cannot be read: bring back a copy of it, or remove it; the server then listens at "
                "--agent-port again, where agents that have moved since do not look for it."
            ) from None
        if self.next_port and (self._folder / NEXT_KEY).exists():
            self.next = curve.read(self._folder / NEXT_KEY)
        elif self.next_port:
            self.finish()  # the server was killed between its two steps

    def make_next(self) -> curve.KeyPair:
        """A key pair that counts for nothing before `begin`."""
        path = self._folder / NEXT_KEY
        path.unlink(missing_ok=True)  # of a beginning that never came to be
        curve.write(path, curve.KeyPair.make())
        return curve.read(path)

    def begin(self, pair: curve.KeyPair, port: int, former_port: int, now_ms: int) -> None:
        """Both keys count from now on."""
        self._write(former_port, port, now_ms, set())
        self.port, self.next_port, self.began_at_ms = former_port, port, now_ms
        self.next, self.moved = pair, set()

    def finish(self) -> None:
        """The coming key is the only one from now on. Where that fails, it can be tried again."""
        path = self._folder / NEXT_KEY
        if path.exists():
            path.replace(self._folder / BROKER_KEY)
            curve.sync_directory(self._folder)  # a port without its key would cut everybody off
        self._write(self.next_port, 0, 0, set())
        self.pair = curve.read(self._folder / BROKER_KEY)
        self.port, self.next_port, self.began_at_ms = self.next_port, 0, 0
        self.next, self.moved = None, set()

    def save(self) -> None:
        """Write down who has moved."""
        self._write(self.port, self.next_port, self.began_at_ms, self.moved)

    def _write(self, port: int, next_port: int, began_at_ms: int, moved: set[AgentId]) -> None:
        told = {"port": port, "next_port": next_port, "began_at_ms": began_at_ms, "moved": sorted(moved)}
        write_secret(self._folder / ROTATION_FILE, json.dumps(told) + "\n")
        curve.sync_directory(self._folder)


def _port(told: object) -> int:
    if type(told) is not int or not 0 <= told <= _PORT_MAX:
        raise ValueError
    return told
