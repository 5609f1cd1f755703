"""`docs/protocol.md` says what the code does: types, codes, bounds and the example in bytes."""

import re
from pathlib import Path

import pytest

from dart.errors import TaskErrorCode
from dart.limits import KIB, MIB, Limits
from dart.wire import messages, values
from dart.wire.codec import MESSAGE_TYPES, decode_from_broker
from dart.wire.cold import COLD

TEXT = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()
UPPER = re.compile(r"(?<=[a-z])(?=[A-Z])")


def wire_name(cls):
    """BlobGet is BLOB_GET in the text."""
    return UPPER.sub("_", cls.__name__).upper()


def section(heading):
    """The text from a heading to the next of the same depth or above."""
    depth = heading.split()[0]
    after = TEXT.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"\n#{{2,{len(depth)}}} ", after, maxsplit=1)[0]


def test_types():
    """The table of messages has every type with its number and its speakers."""
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \| (agent|broker|both) \|$", TEXT, re.MULTILINE)
    expected = []
    for number, cls in MESSAGE_TYPES.items():
        speakers = (cls in messages.AgentMessage.__args__, cls in messages.BrokerMessage.__args__)
        said_by = {(True, False): "agent", (False, True): "broker", (True, True): "both"}[speakers]
        expected.append((str(number), wire_name(cls), said_by))
    assert rows == expected


@pytest.mark.parametrize(
    ("heading", "cls"), [("### HELLO (1)", messages.Hello), ("### WELCOME (33)", messages.Welcome)]
)
def test_members(heading, cls):
    """The members stand in the order in which they are written."""
    rows = re.findall(r"^\| (\d+) \| (\w+) \|", section(heading), re.MULTILINE)
    assert rows == [(str(index), field) for index, field in enumerate(cls._fields)]


@pytest.mark.parametrize(
    "cold", [cold for cold in COLD if cold.number not in (1, 33)], ids=lambda cold: str(cold.number)
)
def test_every_other_message_has_its_body(cold):
    """Each message without a section of its own has a row with its body."""
    assert f"\n| {cold.number} | {wire_name(cold.message)} | `[" in section("### The others")


def test_codes():
    """All codes of ERROR are explained, and all error codes that an agent may send."""
    rows = re.findall(r"^\| (\d) \| ([A-Z_]+) \|", section("### Codes of ERROR"), re.MULTILINE)
    codes = {name: code for name, code in vars(messages.ErrorCode).items() if name.isupper()}
    assert {name: int(code) for code, name in rows} == codes
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", section("### RESULTS (7)"), re.MULTILINE)}
    by_broker = {TaskErrorCode.LOST, TaskErrorCode.EXPIRED}
    assert told == {code for name, code in vars(TaskErrorCode).items() if name.isupper()} - by_broker


def test_bounds():
    """Each limit that stands with a number in brackets has that number as its default."""
    found = re.findall(r"`(\w+)` \(([\d,]+)(?: (KiB|MiB|s))?\)", TEXT)
    assert len(found) >= 12
    for name, number, unit in found:
        scale = {"KiB": KIB, "MiB": MIB}.get(unit, 1)
        assert getattr(Limits(), name) == int(number.replace(",", "")) * scale, name


def test_extension_types():
    """The numbers of our extension types are those of the text."""
    numbers = {"big integer": values.BIG_INTEGER, "n-d array": values.ARRAY, "blob reference": values.BLOB_REFERENCE}
    for name, number in {**numbers, "pickle": values.PICKLE}.items():
        assert f"| {name} | ext {number} |" in TEXT


def test_example():
    """The bytes of the example are the message that its remarks say."""
    listing = TEXT.split("Example, two leases", 1)[1].split("## 4.", 1)[0]
    lines = [line for line in listing.splitlines() if line.startswith("    ")]
    *header, payload = (re.match(r" *(?:second frame: )?((?:[0-9a-f]{2,}(?: |$))+)", line)[1] for line in lines)
    frame = decode_from_broker([bytes.fromhex("".join(header)), bytes.fromhex(payload)], Limits())
    first, second = frame.message.leases
    assert (frame.sequence, first.ref, second.ref) == (3, (7, (2, 1)), (8, (2, 1)))
    assert (first.job, first.module_path, first.method, first.parameter) == ("count", "words.py", "count", b"\xa1a")
    assert (second.timeout_seconds, second.parameter) == (1.5, b"\xc0")
