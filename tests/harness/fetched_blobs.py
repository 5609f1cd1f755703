"""Short names for what happens to blobs that results name: agents name and send them, the disk takes them or not."""

from dart.broker.core.commands import OpenBlob
from dart.broker.core.events import BlobGrew, BlobKept, BlobRefused
from dart.wire.messages import BlobAsk, BlobPiece, Named, Results

A, B, C = b"a" * 32, b"b" * 32, b"c" * 32


def returns(agent, number, *blobs, **changes):
    """The result of a lease that names these."""
    result = agent.result(agent.given[number])._replace(blobs=tuple(Named(*blob) for blob in blobs))
    return agent.say(Results((result._replace(**changes),), None))


def orders(r, kind=OpenBlob):
    return [command for command in r.commands if isinstance(command, kind)]


def grew(r, order, size):
    return r.do(BlobGrew(order.session, order.number, order.sha256, size))


def kept(r, order):
    return r.do(BlobKept(order.session, order.number, order.sha256))


def refused(r, order, *, later):
    return r.do(BlobRefused(order.session, order.number, order.sha256, "why", later))


def piece(agent, offset, total, sha256=A, size=10):
    return agent.say(BlobPiece(sha256, offset, total, b"x" * min(size, total - offset)))


def asked(agent):
    return [(message.sha256, message.offset, message.size) for message in agent.take(BlobAsk)]


def coming(r, agent):
    return r.core.sessions[agent.session].session.coming
