"""What comes from a runner whose descriptors a task has taken over: answers or an error, however it is cut."""

from dart.agent import runner_format as wire
from dart.agent.runner_answers import AnswerReader, BrokenStreamError
from dart.agent.runner_output import OutputSplitter
from fuzz.vectors import cut

PAYLOAD_BYTES_MAX = 200_000
MARK = b"\0mark"


def seeds() -> list[bytes]:
    answers = [
        wire.ANSWER.pack(kind, 1, 2, 3, 4, 0.5, 1, 0, size) + bytes(size)
        for kind, size in ((1, 0), (2, 5), (3, 90), (0, 1))
    ]
    marked = b"line\nmore" + MARK + wire.MARK.pack(1, 2, 3) + b"rest\0mar"
    large = wire.ANSWER.pack(2, 1, 2, 3, 4, 0.5, 1, 0, 70_000) + bytes(70_000)
    return [bytes([size]) + body for size in (0, 7, 255) for body in (*answers, b"".join(answers), marked)] + [
        b"\xff" + large[:4000]
    ]


def _answers(pieces: list[bytes]):
    reader = AnswerReader(PAYLOAD_BYTES_MAX)
    answers = []
    for piece in pieces:
        rest = memoryview(piece)
        while rest:
            room = reader.room()
            assert len(room) > 0
            count = min(len(room), len(rest))
            room[:count] = rest[:count]
            rest = rest[count:]
            try:
                answers += reader.received(count)
            except BrokenStreamError:
                return answers, True
    return answers, False


def _output(pieces: list[bytes]):
    """The text, and the lines; whose each is depends on when it came."""
    splitter = OutputSplitter(MARK, line_chars_max=100_000, lines_per_second_max=100_000)
    told = [splitter.split(piece, None, 0.0) for piece in pieces]
    told.append(splitter.end(None, 0.0))
    return b"".join(text for text, _ in told), [line for _, groups in told for _, lines in groups for line in lines]


def check(data: bytes) -> None:
    whole, pieces = cut(data)
    answers, broken = _answers([whole] if whole else [])
    in_pieces, also_broken = _answers(pieces)
    assert repr(answers) == repr(in_pieces)[: len(repr(answers))] or broken
    assert broken == also_broken
    assert all(len(answer.payload) <= PAYLOAD_BYTES_MAX for answer in in_pieces)
    if not broken:
        assert repr(answers) == repr(in_pieces)
    text, lines = _output([whole] if whole else [])
    assert (text, lines) == _output(pieces)
    assert len(text) <= len(whole)
    assert all("\n" not in line for line in lines)
