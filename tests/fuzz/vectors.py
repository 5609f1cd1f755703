"""The vectors of the protocol as inputs, and bytes taken apart into what a target wants."""

import json
from pathlib import Path

VECTORS = Path(__file__).parents[1] / "vectors"


def frames_of(data: bytes) -> list[bytes]:
    """Frames of one message: each but the last has its length before it, two bytes."""
    frames = []
    while len(data) >= 2 and (size := int.from_bytes(data[:2], "big")) <= len(data) - 2:
        frames.append(data[2 : 2 + size])
        data = data[2 + size :]
    return [*frames, data] if data or not frames else frames


def joined(frames: list[bytes]) -> bytes:
    """The opposite."""
    return b"".join(len(frame).to_bytes(2, "big") + frame for frame in frames)


def messages(sender: str) -> list[bytes]:
    """All messages from this side, those that must be refused too."""
    rows = json.loads((VECTORS / "messages.json").read_text())
    rows += json.loads((VECTORS / "refused.json").read_text())["messages"]
    return [
        joined([bytes.fromhex(frame) for frame in row["frames"]])
        for row in rows
        if row["from"] in (sender, "both") and all(len(frame) < 2 << 16 for frame in row["frames"])
    ]


def values() -> list[bytes]:
    """All values, those that must be refused too."""
    rows = json.loads((VECTORS / "values.json").read_text())
    rows += json.loads((VECTORS / "refused.json").read_text())["values"]
    return [bytes.fromhex(row["hex"]) for row in rows if len(row["hex"]) < 20_000]


def cut(data: bytes) -> tuple[bytes, list[bytes]]:
    """The first byte says in how large pieces the rest comes: the whole, and the pieces."""
    if not data:
        return b"", []
    size = data[0] + 1
    rest = data[1:]
    return rest, [rest[at : at + size] for at in range(0, len(rest), size)]
