"""Payload frames: many small values share one, a large one has its own and is not copied.

Payloads lie in the order of the items they belong to, back to back, and fill their frames completely; so an item
says the frame and the size, and every byte belongs to exactly one item.
"""

from collections.abc import Sequence

from dart.limits import KIB
from dart.wire.messages import Buffer
from dart.wire.schema import Wrong

SHARED_BYTES_MAX = 64 * KIB
"""Larger payloads have a frame of their own; up to here a copy is cheaper than a frame."""


class Packer:
    """Collects the payloads of one message.

    Args:
        frames_max: With so many frames in sight, everything further is joined, whatever its size.
    """

    __slots__ = ("_frames", "_frames_max", "_shared")

    def __init__(self, frames_max: int) -> None:
        self._frames: list[Buffer] = []
        self._shared: list[Buffer] = []
        self._frames_max = frames_max

    def add(self, payload: Buffer) -> tuple[int, int]:
        """Takes the next payload; returns the frame it will be in, and its size."""
        size = len(payload)
        if size > SHARED_BYTES_MAX and len(self._frames) + bool(self._shared) + 2 <= self._frames_max:
            self._close_shared()
            self._frames.append(payload)
            return len(self._frames) - 1, size
        self._shared.append(payload)
        return len(self._frames), size

    def frames(self) -> list[Buffer]:
        """All frames, once everything has been added."""
        self._close_shared()
        return self._frames

    def _close_shared(self) -> None:
        if self._shared:
            self._frames.append(self._shared[0] if len(self._shared) == 1 else b"".join(self._shared))
            self._shared = []


class Slicer:
    """Gives the payloads of a received message, in order."""

    __slots__ = ("_frame", "_frames", "_index", "_position")

    def __init__(self, frames: Sequence[Buffer]) -> None:
        self._frames = frames
        self._index = 0
        self._frame: Buffer = frames[0] if frames else b""
        self._position = 0

    def take(self, index: int, size: int) -> Buffer:
        """The next payload, which must be in frame `index`; small ones as bytes of their own.

        Raises:
            Wrong: It is not there.
        """
        if index != self._index:
            if index != self._index + 1 or index >= len(self._frames) or self._position != len(self._frame):
                raise Wrong(f"payload frame {index} does not follow where the last payload ended")
            self._index, self._frame, self._position = index, self._frames[index], 0
        start = self._position
        end = self._position = start + size
        if end > len(self._frame):
            raise Wrong(f"a payload of {size} bytes goes beyond payload frame {index}")
        if size <= SHARED_BYTES_MAX:
            return bytes(self._frame[start:end])
        return self._frame if size == len(self._frame) else memoryview(self._frame)[start:end]

    def end(self) -> None:
        """All payloads were taken.

        Raises:
            Wrong: Bytes are left that belong to nothing.
        """
        if self._index < len(self._frames) - 1 or self._position != len(self._frame):
            raise Wrong("payload bytes are left that belong to no item")
