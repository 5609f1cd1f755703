"""The server process: composes broker and REST, starts and ends them in good order."""

import asyncio
import logging
import os
import signal
import ssl
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import zmq
from aiohttp import web

from dart import __version__
from dart.admin_key import AdminKey
from dart.broker.admission import Admission
from dart.broker.answers import Address
from dart.broker.blob_keeper import BlobKeeper
from dart.broker.broker_keys import BrokerKeys
from dart.broker.config import (
    DEFAULT_AGENT_PORT,
    ServerConfig,
    advertised,
    is_local,
    is_wildcard,
    rest_url,
    socket_path,
)
from dart.broker.core.events import Stopping
from dart.broker.flood import FloodGate
from dart.broker.gateway import Gateway
from dart.broker.key_rotation import KeyRotation
from dart.broker.keys import Keys
from dart.broker.service import Service
from dart.broker.store.base import Store
from dart.broker.store.blobs import Blobs
from dart.broker.store.memory import MemoryStore
from dart.broker.store.sqlite import SqliteStore
from dart.broker.transport import Transport
from dart.certificates import own_tls_context, tls_context
from dart.clock import Clock
from dart.descriptors import Descriptors
from dart.errors import ConfigError, DartError
from dart.garbage import TRIM_SECONDS, collect_seldom, trim
from dart.limits import Limits, limits_from_environment
from dart.logs import log_to_stderr
from dart.rest import app as rest
from dart.rest.auth import KeyRing
from dart.rest.connections import Listener
from dart.ssh_workers import SshWorkers
from dart.state_directory import ADMIN_KEY, BLOBS, BROKER_KEY, DATABASE, StateDirectory
from dart.wire import curve

BYE_SECONDS = 1.0
"""How long the last frames to agents may take."""
EXIT_AT_ONCE = 130
"""After a second signal."""

log = logging.getLogger("dart.server")


def run(config: ServerConfig) -> int:
    """Run a server until it is stopped; the exit code. Prints one line to stdout when it is ready.

    Raises:
        ConfigError: An option, a file or an address cannot be used.
        StoreError: The store cannot be opened.
    """
    log_to_stderr(config.log_level)
    config.check()
    limits = limits_from_environment()
    descriptors = Descriptors(limits)
    limits = replace(limits, connections_max=descriptors.rest_max)
    collect_seldom()
    with StateDirectory(config.state_dir) as state, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(config, limits, state, descriptors))


async def _serve(config: ServerConfig, limits: Limits, state: StateDirectory, descriptors: Descriptors) -> int:
    stop = asyncio.Event()
    server = Server(config, limits, state, descriptors, on_stop=stop.set)
    _catch_signals(stop)
    try:
        await server.start()
        sys.stdout.write(f"{server.ready_line}\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        await server.stop()
    return 0


class Server:
    """One server within a running loop.

    Args:
        config: Checked options.
        limits: Bounds of everything.
        state: Open; closed by the caller.
        descriptors: Shared out between agents and REST.
        on_stop: Called when a client asks the server to stop.
    """

    gateway: Gateway
    _admin_key: AdminKey
    _pepper: bytes

    def __init__(
        self,
        config: ServerConfig,
        limits: Limits,
        state: StateDirectory,
        descriptors: Descriptors,
        *,
        on_stop: Callable[[], None],
    ) -> None:
        self._config = config
        self._limits = limits
        self._state = state
        self._descriptors = descriptors
        self._on_stop = on_stop
        self._context: zmq.Context[Any] = zmq.Context()
        self._store: Store | None = None
        self._service: Service | None = None
        self._admission: Admission | None = None
        self._transport: Transport | None = None
        self._flood_gate: FloodGate | None = None
        self._runner: web.AppRunner | None = None
        self._hosts: SshWorkers | None = None
        self._blob_keeper: BlobKeeper | None = None
        self._is_for_good = False
        self._listener: Listener | None = None
        self.ready_line = ""

    async def start(self) -> None:
        """Open everything. `stop` must follow, also after an error."""
        config, limits, state = self._config, self._limits, self._state
        _warn_of_lost_keys(state)
        keys = BrokerKeys(state.path)
        self._admin_key, self._pepper = AdminKey(state), state.pepper()
        tls, fingerprint = self._tls()
        self._store = MemoryStore(limits) if config.store == "memory" else SqliteStore(state.path / DATABASE, limits)
        service = self._service = Service(self._store, limits=limits, clock=Clock())
        admission = self._admission = Admission(self._context, is_enrolled=service.knows)
        transport = self._transport = Transport(self._context, keys=keys.pair, limits=limits, deliver=service.post)
        await service.start(transport, forget_jobs=config.forget_jobs)

        bind_agents = partial(transport.bind, backlog=self._descriptors.backlog)
        address = Address(
            host=advertised(config.host, config.advertise),
            port=config.port,
            agent_host=advertised(config.agent_host, config.advertise),
            agent_port=_bind("agent-", bind_agents, config.agent_host, _agent_port(config, keys)),
            public_key=keys.pair.public,
            fingerprint=fingerprint,
        )
        gateway = self.gateway = Gateway(service, limits=limits, stop=self._stop_for_good)
        blobs = gateway.blobs = Blobs(state.path / BLOBS, limits)
        self._blob_keeper = BlobKeeper(blobs, service, seconds=limits.blob_check_seconds)
        service.on_blob = self._blob_keeper.do
        admission.on_refusal = gateway.audit.refuse_agent
        service.measures.refused["not_enrolled"] = lambda: admission.refused
        service.measures.refused["cut"] = lambda: transport.intake.cut
        service.measures.refused["malformed"] = lambda: transport.malformed
        self._admin_key.on_replaced = partial(gateway.audit.tell, "key.replace", "admin")
        await gateway.audit.note("server.start", f"dart {__version__}")
        runner = self._runner = web.AppRunner(
            rest.create(gateway, self._key_ring(gateway.keys), limits),
            handler_cancellation=True,
            shutdown_timeout=limits.stop_seconds / 4,
        )
        await runner.setup()
        gate = self._flood_gate = FloodGate(self._descriptors, transport)
        service.measures.refused["port_shut"] = lambda: gate.shut
        listener = self._listener = Listener(
            runner, limits=limits, tls=tls, take=self._descriptors.rest_takes, relieve=gate.relieve
        )
        path = socket_path(config.host)
        if path is None:
            address = address._replace(port=_bind("", listener.bind, config.host, config.port))
        else:
            address = address._replace(port=0)
            _bind_path(listener, path)
        address = address._replace(url=rest_url(address.host, address.port, tls=bool(fingerprint)))
        gateway.address = address
        rotation = gateway.rotation = KeyRotation(
            keys,
            service,
            transport,
            host=config.agent_host,
            backlog=self._descriptors.backlog,
            address=address,
            on_address=self._announce,
        )
        admission.start()
        transport.start()
        listener.start()
        self._announce(address, b"")
        local = "127.0.0.1" if is_wildcard(config.agent_host) else config.agent_host
        hosts = gateway.hosts = self._hosts = SshWorkers(gateway, config.ssh, state.path, limits, listens_at=local)
        await rotation.resume()
        hosts.resume()
        self._blob_keeper.start()
        self.ready_line = f"ready {gateway.address.url} agents {gateway.address.agents_url}"
        self._trim()

    def _trim(self) -> None:
        """Give memory back from time to time, as long as the loop runs."""
        trim()
        asyncio.get_running_loop().call_later(TRIM_SECONDS, self._trim)

    async def stop(self) -> None:
        """End in good order: take nothing new, answer what is open, tell the agents, write, close."""
        if self._listener is not None:
            self._listener.stop_accepting()
        try:
            async with asyncio.timeout(self._limits.stop_seconds):
                await self._finish()
        except TimeoutError:
            log.warning("Not all could be ended in %.0f s; what is durable stays so.", self._limits.stop_seconds)
        finally:
            if self._listener is not None:
                self._listener.close()
            if self._flood_gate is not None:
                self._flood_gate.close()
            if self._transport is not None:
                self._transport.close(linger_seconds=BYE_SECONDS)
            if self._admission is not None:
                self._admission.close()
            self._context.destroy(linger=0)  # closes what a failed start left open
            if self._store is not None:
                self._store.close()
        log.info("The server has ended.")

    def _stop_for_good(self) -> None:
        """A client ends the server; a signal may mean that it is only started anew."""
        self._is_for_good = True
        self._on_stop()

    async def _finish(self) -> None:
        if self._runner is not None and self._service is not None:
            self.gateway.close()
            if self.gateway.rotation is not None:
                self.gateway.rotation.close()
            await self._runner.cleanup()
            if self._hosts is not None:
                if self._is_for_good:
                    await self._hosts.leave()
                self._hosts.close()
            self.gateway.audit.count()
            try:
                await self._service.ask(Stopping)
            except DartError as error:
                log.warning("The agents could not be told: %s", error.message)
        if self._blob_keeper is not None:
            await self._blob_keeper.close()
        if self._service is not None:
            await self._service.close()

    def _key_ring(self, stored: Keys) -> KeyRing:
        config = self._config
        if config.legacy_keys:
            log.warning(
                "%d keys that are written into old programs may do everything on this server (--legacy-key).",
                len(config.legacy_keys),
            )
        ring = KeyRing(
            self._admin_key,
            stored,
            self._limits,
            legacy_keys=config.legacy_keys,
            pepper=self._pepper,
            weak_keys_count=is_local(config.host) or config.allow_weak_key,
        )
        for key in stored.known():
            trouble = ring.trouble(key)
            if not trouble and key.is_weak:
                log.warning(
                    "The key %s (id %s, scope %s) can be guessed; revoke it when no program needs it any more.",
                    key.name,
                    key.id,
                    key.scope.name.lower(),
                )
            elif trouble and not key.revoked_at_ms and key.pepper:
                log.warning("The key %s (id %s) does not count: it %s.", key.name, key.id, trouble)
        return ring

    def _tls(self) -> tuple[ssl.SSLContext | None, str]:
        config = self._config
        if socket_path(config.host) is not None:
            return None, ""
        if config.no_tls:
            log.warning("REST is not encrypted (--no-tls).")
            return None, ""
        if config.tls_cert is not None and config.tls_key is not None:
            return tls_context(config.tls_cert, config.tls_key)
        further = (*config.tls_san, config.advertise)
        return own_tls_context(self._state.path, further)

    def _announce(self, address: Address, former_key: bytes) -> None:
        """Tell clients and local programs where the server is; the former key of the broker counts too, if any."""
        self.gateway.address = address
        local = "127.0.0.1" if is_wildcard(self._config.host) else self._config.host
        self._state.announce(
            url=rest_url(local, address.port, tls=bool(address.fingerprint)),
            fingerprint=address.fingerprint,
            agents_url=address.agents_url,
            server_public_key=curve.key_text(address.public_key),
            former_server_public_key=curve.key_text(former_key) if former_key else "",
        )


def _warn_of_lost_keys(state: StateDirectory) -> None:
    """Where there is a database there were keys; new ones are made, and whoever knows the old must hear of it."""
    if not (state.path / DATABASE).exists():
        return
    for name, whom in (
        (BROKER_KEY, "Agents that are enrolled refuse this server until they enrol again"),
        (ADMIN_KEY, "Programs that use the old key are refused"),
    ):
        if not (state.path / name).exists():
            log.warning(
                "%s is missing and is made anew. %s; if there is a copy of it, stop the server and bring it back.",
                state.path / name,
                whom,
            )


def _agent_port(config: ServerConfig, keys: BrokerKeys) -> int:
    """Where agents look for the broker: since a change of its key that is its port, whatever the options say."""
    if keys.port and config.agent_port not in {0, DEFAULT_AGENT_PORT, keys.port}:
        log.warning(
            "--agent-port %d is not used: since the broker's key was changed, agents look for it at port %d. Another "
            "change moves them (`dart server rotate-key --agent-port N`).",
            config.agent_port,
            keys.port,
        )
    return keys.port or config.agent_port


def _bind(which: str, bind: Callable[[str, int], int], host: str, port: int) -> int:
    try:
        return bind(host, port)
    except (OSError, zmq.ZMQError) as error:
        raise ConfigError(
            f"--{which}host {host} --{which}port {port} cannot be listened on: {error.strerror or error}. "
            "Is another server running? Port 0 lets the system choose."
        ) from None


def _bind_path(listener: Listener, path: Path) -> None:
    try:
        listener.bind_path(path)
    except OSError as error:
        raise ConfigError(
            f"--host unix:{path} cannot be listened on: {error.strerror or error}. "
            "Is another server running, or is something there that is no socket?"
        ) from None


def _catch_signals(stop: asyncio.Event) -> None:
    """The first asks for the good end, the second ends at once."""
    loop = asyncio.get_running_loop()

    def caught(number: signal.Signals) -> None:
        if stop.is_set():
            log.warning("%s again: ending at once.", number.name)
            os._exit(EXIT_AT_ONCE)
        log.info("%s: ending in good order.", number.name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, caught, number)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The one of uvloop where it is installed: a third more requests."""
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        return None
    return uvloop.new_event_loop
