"""Hosts that lie to the server which brings agents to them: what they name is not theirs by that."""

import math
from types import SimpleNamespace

import pytest

from dart.deploy import launcher
from dart.deploy.plan import parse_host
from dart.limits import Limits
from dart.ssh_workers import Server
from harness.broker_stack import broker


async def test_a_host_can_name_no_agents_but_its_own():
    """It would have others drained and revoked, or be given keys for their names when its own are replaced."""
    async with broker() as stack, await stack.agent("honest") as honest:
        await honest.join()
        core = stack.service.reactor.state
        (honest_id,) = core.connected["honest"]
        server = Server(stack.gateway, "127.0.0.1")
        mine, other = server.broker_of(parse_host("me@Mine:22")), server.broker_of(parse_host("other"))
        made = await mine.admit("w", "")
        assert (mine.name_of(made.id), other.name_of(made.id), mine.name_of(honest_id)) == ("w", "", "")
        assert not mine.is_connected(honest_id)
        for liar in (other, mine):
            await liar.drain([honest_id])
            await liar.revoke([honest_id])
        await other.revoke([made.id])
        assert mine.knows(made.id)
        assert not core.agents[honest_id].draining
        assert stack.service.knows(honest_id)
        await server.broker_of(parse_host("mine")).revoke([made.id])
        assert not mine.knows(made.id)


async def test_a_host_that_answers_nonsense_fails_alone(tmp_path, monkeypatch):
    """As a host that failed, with its name; the others are told of as well."""
    told = {"host": "h", "machine": "x86_64", "word_bits": 64, "libc": "glibc", "python": [3, 11], "pyzmq": ""}
    told |= {"folder": "/", "free_bytes": math.inf, "time": 0.0, "reach": "", "bundles": [], "agents": []}
    session = SimpleNamespace(find_python=lambda: None, close=lambda: None, address="", call=lambda *_, **__: told)
    monkeypatch.setattr(launcher, "_connect", lambda *_: session)
    there = SimpleNamespace(server="s")
    server = SimpleNamespace(broker_of=lambda _: there, local_address=lambda: ("127.0.0.1", 1))
    starts = launcher.Launcher(server, tmp_path, Limits())
    with pytest.raises(launcher.HostsFailedError, match=r"2 of 2 hosts failed.*a: answer: .*b: answer: "):
        await starts.remove(["a", "b"], SimpleNamespace(port=0), drain_seconds=0.0, stop_seconds=0.0)
    starts.close()
