"""What agent and runner say to each other on their two sockets; loaded by both, so standard library only.

Tasks go to the runner as one SOCK_SEQPACKET message each: `TASK`, then module path, method, job (UTF-8), then a `BLOB`
with its text for each blob, then the traceparent if it is `TRACED`, then the parameter, unless it is `PASSED`: then it
lies in the first descriptor that comes with the message. The descriptors of blobs follow in their order.
Answers come back on a stream: `ANSWER`, then as many bytes of payload as it says. There the agent says `REPLY` only.
Integers are big-endian; both ends are always on one machine, so nothing is gained by the host's order.
"""

from struct import Struct

TASK = Struct("!BQQQHHHHQ")
"""flags, task id, incarnation, attempt's number, bytes of module path, method, job, blobs; of the parameter."""

BLOB = Struct("!32siH")
"""SHA-256 of a blob that the parameter names; 0: its descriptor comes along; else an error code, and bytes of text."""

PASSED = 1
"""The parameter is not in the message."""
NAMED = 2
"""The owner's policy allows just this method, by its name."""
TRACED = 4
"""`TRACEPARENT_BYTES` of ASCII stand before the parameter: what the task belongs to, for those who trace."""
TRACEPARENT_BYTES = 55

DESCRIPTORS_BYTES = 1024
"""Room for the descriptors of a message, with their header, anywhere."""

TASK_BYTES_MAX = 64 * 1024
"""One task message; a larger parameter travels in a descriptor."""

ANSWER = Struct("!BQQQqdBiQ")
"""kind, task id, incarnation, attempt's number, start (Unix ms), seconds or fraction, success, error code, payload."""

READY = 1
"""The runner waits; payload: `name=value` lines of facts."""
ENDED = 2
"""A task ended; payload: a portable value."""
PROGRESS = 3
"""A task reports; seconds: the fraction; payload: UTF-8 text."""
ROOM = 4
"""A task wants to write a blob; payload: `SIZE`. A `REPLY` comes back on the same socket, with a descriptor."""
MADE = 5
"""It has written it; payload: SHA-256, or nothing if it has given up. A `REPLY` comes back."""

SIZE = Struct("!Q")
REPLY = Struct("!iH")
"""0, or an error code; bytes of text that follow."""

MARK = Struct("!QQQ")
"""Follows the runner's secret in its output, where a task that printed has ended."""
