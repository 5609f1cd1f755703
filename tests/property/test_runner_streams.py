"""However a runner's streams are cut into pieces, the same comes out."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from dart.agent import runner_format as wire
from dart.agent.runner_answers import AnswerReader, BrokenStreamError
from dart.agent.runner_output import OutputSplitter
from dart.ids import Attempt, AttemptRef, TaskId

MARK = b"\0abc"
REFS = st.integers(1, 2**63 - 1).map(lambda number: AttemptRef(TaskId(number), Attempt(1, 1)))


def pieces(data, cuts):
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


def feed(reader, chunks):
    answers = []
    for chunk in chunks:
        rest = memoryview(chunk)
        while rest:
            room = reader.room()
            count = min(len(room), len(rest))
            room[:count] = rest[:count]
            answers += reader.received(count)
            rest = rest[count:]
    return answers


@given(
    st.lists(st.tuples(st.sampled_from([b"", b"x\n", b"\0", b"\0ab", b"a\r\nb", b"\xff" * 9]), st.none() | REFS)),
    st.lists(st.integers(0, 10_000)),
)
def test_output_is_the_same_in_any_pieces(parts, cuts):
    """Text for the log is what was printed without the marks, and every whole line has its task."""
    data = b"".join(text + (MARK + wire.MARK.pack(ref[0], *ref[1]) if ref else b"") for text, ref in parts)

    def run(chunks):
        splitter = OutputSplitter(MARK, line_chars_max=1000, lines_per_second_max=100_000)
        told = [splitter.split(chunk, None, 0.0) for chunk in chunks]
        told.append(splitter.end(None, 0.0))
        return b"".join(text for text, _ in told), [
            (ref, line) for _, groups in told for ref, lines in groups for line in lines
        ]

    text, lines = run(pieces(data, cuts))
    assert text == b"".join(part for part, _ in parts)
    whole_text, whole_lines = run([data] if data else [])
    assert text == whole_text
    assert [line for _, line in lines] == [line for _, line in whole_lines]


@given(st.lists(st.integers(0, 200_000), max_size=6), st.lists(st.integers(0, 2_000_000), max_size=20))
def test_answers_are_the_same_in_any_pieces(sizes, cuts):
    """Every answer comes once, whole and in order."""
    data = b"".join(
        wire.ANSWER.pack(wire.ENDED, index + 1, 1, 1, 0, 0.0, 1, 0, size) + bytes([index]) * size
        for index, size in enumerate(sizes)
    )
    answers = feed(AnswerReader(200_000), pieces(data, cuts))
    assert [(a.ref.task_id, a.payload) for a in answers] == [
        (index + 1, bytes([index]) * size) for index, size in enumerate(sizes)
    ]


@given(st.lists(st.binary(min_size=1, max_size=300)))
def test_any_bytes_give_answers_or_an_error(chunks):
    """A runner whose descriptors were taken over cannot raise anything else in the agent."""
    try:
        answers = feed(AnswerReader(1000), chunks)
    except BrokenStreamError:
        return
    assert all(len(answer.payload) <= 1000 for answer in answers)
