"""The vectors of `tests/vectors` against the product and against an encoder that shares nothing with it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest

from dart.ids import Attempt, AttemptRef
from dart.limits import Limits
from dart.wire import messages, values
from dart.wire.codec import decode_from_agent, decode_from_broker, encode
from harness import check_values
from harness.reference_messagepack import pack

TESTS = Path(__file__).parents[2]
VECTORS = TESTS / "vectors"
LIMITS = Limits()
DECODERS = {"agent": decode_from_agent, "broker": decode_from_broker}


def rows(file, member=None):
    content = json.loads((VECTORS / file).read_text())
    return [pytest.param(row, id=row["name"]) for row in (content[member] if member else content)]


def reference(ref):
    return AttemptRef(ref[0], Attempt(*ref[1:]))


def sub_message(name, members):
    """A Lease, Result, Start or ProgressReport, or a line of a log."""
    if name == "Log":
        return (reference(members[0]), members[1])
    cls = {
        "Tasks": messages.Lease,
        "Results": messages.Result,
        "Started": messages.Start,
        "Progress": messages.ProgressReport,
    }[name]
    return cls(**{key: member(key, item) for key, item in members.items()})


def member(key, item):
    if key == "blobs":
        return tuple(messages.Named(*map(unhex, blob)) for blob in item)
    return reference(item) if key == "ref" else unhex(item)


def unhex(item):
    return bytes.fromhex(item["$bytes"]) if isinstance(item, dict) and "$bytes" in item else item


def build(name, members):
    """The message that a vector means."""
    made = {}
    for key, item in members.items():
        if key in ("attempts", "results", "keep", "drop", "send", "forget", "hold") and name != "Results":
            made[key] = tuple(map(reference, item))
        elif key in ("leases", "results", "starts", "reports", "lines"):
            made[key] = tuple(sub_message(name, element) for element in item)
        elif key == "credit":
            made[key] = item and messages.Credit(**item)
        elif key == "ref":
            made[key] = item and reference(item)
        elif key == "next":
            made[key] = item and messages.NextServer(*map(unhex, item))
        else:
            made[key] = tuple(item) if isinstance(item, list) else unhex(item)
    return getattr(messages, name)(**made)


def test_values_pass_here():
    """Every value vector decodes to what it means and encodes to the same bytes; every refused one is refused."""
    assert check_values.check(values, VECTORS) == []


@pytest.mark.parametrize("row", rows("values.json"))
def test_value_bytes_agree_with_the_specification(row):
    """The bytes in the file are those that an independent encoder writes."""
    assert (pack(row["value"]).hex() == row["hex"]) is row.get("written", True)


@pytest.mark.parametrize("row", rows("messages.json"))
def test_message_bytes_agree_with_the_specification(row):
    """The header in the file is what an independent encoder writes of its plain form."""
    assert pack(row["header"]).hex() == row["frames"][0]


@pytest.mark.parametrize("row", rows("messages.json"))
def test_message(row):
    """A message vector is read as what it means, and that is written as the same frames, if it still is."""
    frames = [bytes.fromhex(frame) for frame in row["frames"]]
    expected = messages.Frame(row["sequence"], build(row["message"], row["members"]))
    assert DECODERS[row["from"]](frames, LIMITS) == expected
    written = encode(expected, limits=LIMITS)
    assert ([bytes(frame) for frame in written] == frames) is row.get("written", True)


def test_every_message_type_has_a_vector():
    """No message lacks an example."""
    named = {row.values[0]["message"] for row in rows("messages.json")}
    kinds = messages.AgentMessage.__args__ + messages.BrokerMessage.__args__
    assert named == {cls.__name__ for cls in kinds}


@pytest.mark.parametrize("row", rows("refused.json", "messages"))
def test_refused_message(row):
    """What must be refused becomes Malformed with the right code and a reason, and no exception."""
    found = DECODERS[row["from"]]([bytes.fromhex(frame) for frame in row["frames"]], LIMITS)
    assert isinstance(found, messages.Malformed), found
    assert found.code == row["code"]
    assert found.text


def pythons():
    """This Python, and the oldest that an owner may name, where it is installed."""
    yield sys.executable
    found = shutil.which("python3.9")
    if found and subprocess.run([found, "--version"], capture_output=True, check=False, timeout=30).returncode == 0:
        yield found
    for path in sorted(Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser().glob("versions/3.9*/bin/python3")):
        yield str(path)


@pytest.mark.parametrize("python", list(pythons()))
def test_values_pass_in_a_bare_python(python):
    """As in a runner: nothing installed, `values.py` loaded by its path, msgpack private and in pure Python."""
    arguments = [TESTS / "harness" / "check_values.py", values.__file__, VECTORS, Path(msgpack.__file__).parent]
    done = subprocess.run([python, "-I", "-S", *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("all vectors pass\n", "", 0)


def test_values_pass_with_msgpack_in_pure_python():
    """With numpy installed and msgpack built without its C part, as Debian's 32-bit packages may be."""
    program = "from harness import check_values; from dart.wire import values; import sys; import numpy\n"
    program += "import msgpack.fallback; assert values._msgpack.Packer is msgpack.fallback.Packer\n"
    program += "print(check_values.check(values, sys.argv[1]))"
    environment = {**os.environ, "MSGPACK_PUREPYTHON": "1", "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    command = [sys.executable, "-c", program, str(VECTORS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert (done.stdout, done.stderr) == ("[]\n", "")
