"""Join tokens and revocation as REST offers them, and what the agents' socket makes of a revoked key."""

import logging
from dataclasses import replace

import pytest

from dart.limits import Limits
from dart.wire import curve, join_token
from dart.wire.messages import Error, ErrorCode, Heartbeat
from harness.broker_stack import until
from harness.raw_agent import RawAgent
from harness.rest_stack import rest

STRANGER: dict[str, dict[str, str]] = {"headers": {}}


@pytest.fixture
async def stack():
    """With an address as a server with TLS on a network has it."""
    async with rest(replace(Limits(), key_failures_max=3)) as stack:
        gateway = stack.broker.gateway
        told = {
            "host": "192.0.2.7",
            "agent_host": "192.0.2.7",
            "url": "https://192.0.2.7:7777",
            "fingerprint": "ab" * 32,
        }
        gateway.address = gateway.address._replace(**told)
        yield stack


async def made(stack, name="edge-*", **members):
    return await stack.call("POST", "/token/", json={"name": name, **members})


def wish(token, name="edge-1", key=None):
    return {"token": token, "name": name, "public_key": (key or curve.KeyPair.make()).public_text}


async def test_a_stranger_with_a_token_is_let_in_once(stack):
    """No key is needed; the same request again is answered the same; another key is refused."""
    answer = await made(stack)
    says = join_token.read(answer["text"])
    assert (says.url, says.fingerprint, says.id, says.name) == (
        "https://192.0.2.7:7777", "ab" * 32, answer["token"]["id"], "edge-*",
    )  # fmt: skip
    body = wish(answer["text"])
    first = await stack.call("POST", "/enroll/", json=body, **STRANGER)
    assert first["server_public_key"] == stack.broker.keys.public_text
    assert await stack.call("POST", "/enroll/", json=body, **STRANGER) == first
    refused = await stack.call("POST", "/enroll/", json=wish(answer["text"]), **STRANGER, status=403)
    assert "used 1 times" in refused["error"]["message"]
    (shown,) = (await stack.call("GET", "/token/"))["tokens"]
    assert (shown["state"], shown["uses"], shown["created_by"]) == ("used up", 1, "admin")
    (agent,) = (await stack.call("GET", "/worker/edge-1/"))["worker"]["agents"]
    assert (agent["id"], agent["connected"], agent["token"]) == (first["agent_id"], False, says.id)


async def test_no_text_and_no_secret_is_ever_shown_again(stack, caplog):
    """Neither in lists, nor when the request is repeated, nor in the log."""
    caplog.set_level(logging.DEBUG)
    headers = {"Authorization": "Bearer dart_test", "Idempotency-Key": "once"}
    first = await stack.call("POST", "/token/", json={"name": "w"}, headers=headers)
    again = await stack.call("POST", "/token/", json={"name": "w"}, headers=headers)
    assert again == {"token": first["token"]}
    secret = join_token.read(first["text"]).secret
    await stack.call("POST", "/enroll/", json=wish(first["text"], "other"), **STRANGER, status=403)
    await stack.call("POST", "/enroll/", json=wish(first["text"], "w"), **STRANGER)
    seen = str(await stack.call("GET", "/token/")) + str(await stack.call("GET", "/audit/")) + caplog.text
    assert secret not in seen
    assert first["text"] not in seen
    assert secret.encode() not in b"".join(token.digest for token in stack.broker.store.recover().join_tokens)


async def test_wrong_tokens_are_slowed_down_and_genuine_ones_are_not(stack):
    """Guessing is answered less and less, whatever the limit of those in between."""
    genuine = (await made(stack, uses=5))["text"]
    wrong = join_token.write(join_token.read(genuine)._replace(secret="s" * 43))
    unknown = join_token.write(join_token.read(genuine)._replace(id="0" * 16))
    for token in (wrong, unknown, wrong):
        refused = await stack.call("POST", "/enroll/", json=wish(token), **STRANGER, status=401)
        assert "does not know this join token" in refused["error"]["message"]
    refused = await stack.call("POST", "/enroll/", json=wish(wrong), **STRANGER, status=429)
    assert refused["error"]["retry_after"] >= 1
    await stack.call("POST", "/enroll/", json=wish(genuine), **STRANGER)
    assert len(stack.broker.service.reactor.state.enrolments) == 1


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"token": ""}, 401),
        ({"token": None}, 401),
        ({"token": "dart-join-1.abc"}, 400),
        ({"token": "dart-join-7.abc"}, 400),
        ({"token": "x" * 20_000}, 413),
        ({"public_key": "short"}, 400),
        ({"name": "a/b"}, 400),
        ({"name": ""}, 400),
    ],
)
async def test_what_a_stranger_may_not_send(stack, change, status):
    """Without a token nothing is said but that; no large body is read."""
    body = {**wish((await made(stack))["text"]), **change}
    await stack.call("POST", "/enroll/", json=body, **STRANGER, status=status)
    assert stack.broker.service.reactor.state.enrolments == {}


async def test_a_withdrawn_token_lets_nobody_in(stack):
    """Unknown ones are told apart."""
    answer = await made(stack)
    await stack.call("DELETE", f"/token/{answer['token']['id']}/")
    await stack.call("DELETE", f"/token/{answer['token']['id']}/")
    await stack.call("POST", "/enroll/", json=wish(answer["text"]), **STRANGER, status=403)
    await stack.call("DELETE", "/token/0000000000000000/", status=404)
    assert (await stack.call("GET", "/token/"))["tokens"][0]["state"] == "revoked"


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": "*" * 9}, "name"),
        ({"expires": 0.5}, "expires"),
        ({"expires": 1e8}, "expires"),
        ({"uses": 0}, "uses"),
        ({"uses": 1001}, "uses"),
        ({"local": "perhaps"}, "local"),
    ],
)
async def test_bounds_of_a_token(stack, members, field):
    """Each refused by name."""
    refused = await stack.call("POST", "/token/", json={"name": "w", **members}, status=400)
    assert refused["error"]["field"] == field


async def test_an_address_that_others_cannot_use_makes_no_token(stack):
    """Loopback is another machine to whoever reads it, and without TLS nobody knows whom he meets."""
    gateway = stack.broker.gateway
    for change in ({"host": "127.0.0.1"}, {"agent_host": "localhost"}):
        kept, gateway.address = gateway.address, gateway.address._replace(**change)
        refused = await stack.call("POST", "/token/", json={"name": "w"}, status=409)
        assert "--advertise" in refused["error"]["message"]
        await made(stack, "w", local=True)
        gateway.address = kept
    gateway.address = gateway.address._replace(fingerprint="")
    refused = await stack.call("POST", "/token/", json={"name": "w", "local": True}, status=409)
    assert "TLS" in refused["error"]["message"]


async def test_nothing_of_a_revoked_key_is_read(stack):
    """On all of its connections, not even what could not be read is counted; a new one is not let in."""
    keys = curve.KeyPair.make()
    async with await stack.broker.agent("w", keys=keys) as agent, await stack.broker.agent("w", keys=keys) as other:
        await agent.join()
        other.send(Heartbeat(0, reply=False, load=0.0))
        assert (await other.receive(Error)).code == ErrorCode.SAY_HELLO
        answer = await stack.call("POST", "/worker/w/revoke/", json={"agent": curve.agent_id(keys.public)[:8].upper()})
        assert answer == {"worker": {"name": "w"}, "revoked": 1}
        for one in (agent, other):
            assert (await one.receive(Error)).code == ErrorCode.REVOKED
        transport = stack.broker.transport

        def taken() -> int:
            return sum(peer.messages for peer in transport._peers.values())

        malformed, before = transport.malformed, taken()
        for one in (agent, other):
            one.socket.send_multipart([b"\xc1" * 100, b"not", b"read"])
        await until(lambda: taken() == before + 2)
        assert transport.malformed == malformed
        refused = stack.broker.admission.refused
        async with RawAgent(stack.broker.url, stack.broker.keys.public, keys) as back:
            back.hello()
            await until(lambda: stack.broker.admission.refused > refused)
        assert stack.broker.service.reactor.state.sessions == {}
    await stack.call("POST", "/worker/w/revoke/", status=404)
    for agent_id in ("abc", "x" * 16, "0" * 65):
        refused = await stack.call("POST", "/worker/w/revoke/", json={"agent": agent_id}, status=400)
        assert refused["error"]["field"] == "agent"
