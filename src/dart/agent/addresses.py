"""Where the broker is: as the enrolment says, as a local server says now, and as the server wants it from now on.

While the broker's key changes there are two addresses. The new one is tried first; until it has answered once, every
other attempt goes to the old one. Then the old one is forgotten.
"""

from pathlib import Path

from dart.agent import enrol
from dart.agent.link import Endpoint
from dart.errors import ConfigError, HostUnreachableError
from dart.wire import curve
from dart.wire.messages import NextServer


class Addresses:
    """What an agent knows of its broker's address, kept in its home.

    Args:
        home: Where the enrolment is kept.
        enrolment: As it is kept.
        server: The owner's own word on the address, `tcp://` or `ipc://`; counts until the server changes it.
    """

    def __init__(self, home: Path, enrolment: enrol.Enrolment, server: str = "") -> None:
        self._home = home
        self._enrolment = enrolment
        self._server = server if server.startswith(("tcp:", "ipc:")) else ""
        self._tried: Endpoint | None = None
        self._tried_next = False

    @property
    def next(self) -> NextServer | None:
        """What the server wants from now on, as long as it has not answered there."""
        known = self._enrolment
        return NextServer(known.next_port, curve.key_bytes(known.next_server_public_key)) if known.next_port else None

    def find(self) -> Endpoint:
        """Where to try now. Raises `ConfigError` if nobody knows."""
        coming = self.next
        if coming is not None and not self._tried_next:
            self._tried_next = True
            self._tried = Endpoint(self._at(coming.port), curve.key_text(coming.public_key).encode("ascii"))
        else:
            self._tried_next = False
            url, key = self._present()
            self._tried = Endpoint(url, key.encode("ascii"))
        return self._tried

    def _at(self, port: int) -> str:
        """Another port of the same host: no server can send an agent to a third machine."""
        known = self._enrolment
        url = self._server if self._server and not known.moved else known.agents_url
        return f"{url.rpartition(':')[0]}:{port}"

    def _present(self) -> tuple[str, str]:
        known = self._enrolment
        if self._server and not known.moved:
            return self._server, known.server_public_key
        if not known.state_directory:
            return known.agents_url, known.server_public_key
        # A local server may have come back with other ports, or another key after both were valid.
        server = _find_server(Path(known.state_directory))
        if known.server_public_key not in {server.server_public_key, server.former_server_public_key}:
            raise ConfigError(
                f"the server of {known.state_directory} has another key than the one this agent enrolled with; start "
                "the agent again to enrol anew"
            )
        return server.agents_url, server.server_public_key

    def remember(self, coming: NextServer | None) -> None:
        """Keep what the server wants from now on; None: what it wanted is void. Raises `ConfigError`."""
        known = self._enrolment
        if coming is None or self._is_here(coming):
            self._keep(known._replace(next_port=0, next_server_public_key=""))
        else:
            key = curve.key_text(coming.public_key)
            self._keep(known._replace(next_port=coming.port, next_server_public_key=key))

    def _is_here(self, coming: NextServer) -> bool:
        return self._tried is not None and self._tried.server == coming

    def answered(self) -> None:
        """The broker answered where it was tried last: if that was the new address, the old one is over."""
        known, tried = self._enrolment, self._tried
        if tried is None:
            return
        key = tried.server_key.decode("ascii")
        if self._tried_next:
            kept = known._replace(agents_url=tried.url, moved=True, next_port=0, next_server_public_key="")
            self._tried_next = False
            self._keep(kept._replace(server_public_key=key))
        elif key != known.server_public_key:  # a local server changed it, and said so in its state directory
            self._keep(known._replace(agents_url=tried.url, server_public_key=key))

    def revoked(self) -> None:
        """The server has revoked this agent: its next start is to end at once and say so."""
        self._keep(self._enrolment._replace(revoked=True))

    def _keep(self, enrolment: enrol.Enrolment) -> None:
        if enrolment != self._enrolment:
            enrol.keep_enrolment(self._home, enrolment)
            self._enrolment = enrolment


def _find_server(state_directory: Path) -> enrol.LocalServer:
    try:
        return enrol.find_server(state_directory)
    except HostUnreachableError as error:
        raise ConfigError(error.message) from None
