"""Tasks to bytes and a runner's stream to answers, without a runner."""

import math

import pytest

from dart.agent import runner_format as wire
from dart.agent import runner_loop, runner_modules
from dart.agent.runner_answers import AnswerReader, BrokenStreamError, task_message, task_reference
from dart.errors import TaskErrorCode
from dart.ids import Attempt, AttemptRef, TaskId
from dart.wire.messages import Lease

REF = AttemptRef(TaskId(2**63 - 1), Attempt(3, 4))


def answer_bytes(payload, kind=wire.ENDED, announced=None):
    size = len(payload) if announced is None else announced
    return wire.ANSWER.pack(kind, REF.task_id, *REF.attempt, -5, 0.25, 1, 7, size) + payload


def feed(reader, data):
    answers = []
    while data:
        room = reader.room()
        count = min(len(room), len(data))
        room[:count] = data[:count]
        answers += reader.received(count)
        data = data[count:]
    return answers


def lease(**members):
    return Lease(
        **{
            "ref": REF,
            "job": "jöb",
            "module_path": "a/b",
            "method": "run",
            "timeout_seconds": 0.0,
            "parameter": b"\xc0",
            **members,
        }
    )


def test_a_small_parameter_travels_in_the_message():
    """Names and parameter stand behind the head, with their sizes in it."""
    message = task_message(lease(), inline_bytes_max=1)
    assert wire.TASK.unpack_from(message) == (0, 2**63 - 1, 3, 4, 3, 3, 4, 0, 1)
    assert message[wire.TASK.size :] == "a/brunjöb".encode() + b"\xc0"


def test_a_large_parameter_stays_out_of_the_message():
    """Above the limit only its size is told."""
    message = task_message(lease(parameter=bytes(2)), inline_bytes_max=1)
    assert wire.TASK.unpack_from(message)[0::8] == (wire.PASSED, 2)
    assert message.endswith("jöb".encode())


def test_what_is_said_of_blobs_stands_before_the_parameter():
    """With its size in the head."""
    message = task_message(lease(), inline_bytes_max=1, blobs=b"three blobs")
    assert wire.TASK.unpack_from(message)[7] == 11
    assert message.endswith("jöbthree blobs".encode() + b"\xc0")


def test_a_message_says_that_the_owner_named_the_method():
    """For the runner cannot know it otherwise."""
    (flags, *_) = wire.TASK.unpack_from(task_message(lease(parameter=bytes(2)), inline_bytes_max=1, named=True))
    assert flags == wire.PASSED | wire.NAMED


@pytest.mark.parametrize("names", [{"job": "j" * 70_000}, {"job": "j" * 40_000, "method": "m" * 40_000}])
def test_names_that_no_message_can_hold_are_told_apart(names):
    """No message is made, whether one name is too long or all together are."""
    assert task_message(lease(**names), inline_bytes_max=100) is None


def test_a_message_tells_whose_it_is():
    """What was taken back can be named."""
    assert task_reference(task_message(lease(), 100)) == REF


def test_answers_come_out_as_they_went_in():
    """All members survive, for small and for large payloads in a row."""
    payloads = [b"", b"x", b"y" * 200_000, b"z" * 70_000, b"w"]
    answers = feed(AnswerReader(300_000), b"".join(map(answer_bytes, payloads)))
    assert [answer.payload for answer in answers] == payloads
    assert answers[1][:-1] == (wire.ENDED, REF, -5, 0.25, True, 7)


def test_a_partial_answer_is_no_answer():
    """What is cut off counts as nothing, be it small or large."""
    for size in (10, 200_000):
        assert feed(AnswerReader(300_000), answer_bytes(bytes(size))[:-1]) == []


@pytest.mark.parametrize(
    "data",
    [
        answer_bytes(b"", kind=0),
        answer_bytes(b"", kind=6),
        answer_bytes(b"", announced=1001),
        answer_bytes(b"", kind=wire.PROGRESS, announced=101),
        b"\xff" * 100,
    ],
)
def test_foreign_bytes_are_noticed(data):
    """An unknown kind and a payload over the bound break the stream, before memory is taken for it."""
    with pytest.raises(BrokenStreamError):
        feed(AnswerReader(1000, text_bytes_max=100), data)


@pytest.mark.parametrize(
    "numbers",
    [(0, -1.0, 0), (0, math.nan, 0), (0, math.inf, 0), (1 << 60, 0.0, 0), (-(1 << 60), 0.0, 0), (0, 0.0, -1)],
)
def test_numbers_that_the_broker_would_refuse_are_noticed(numbers):
    """A task can write its own answer; one that no broker takes would be sent for ever, and all others with it."""
    start_ms, seconds, code = numbers
    head = wire.ANSWER.pack(wire.ENDED, REF.task_id, *REF.attempt, start_ms, seconds, 1, code, 0)
    with pytest.raises(BrokenStreamError):
        feed(AnswerReader(1000), head)


def test_error_codes_are_those_of_the_vocabulary():
    """The runner cannot import them, so it repeats them."""
    names = ("RAISED", "IMPORT_FAILED", "REFUSED", "NOT_PORTABLE", "TOO_LARGE", "POLICY_REFUSED", "OUT_OF_MEMORY")
    assert [getattr(runner_loop, name) for name in names] == [getattr(TaskErrorCode, name) for name in names]
    assert runner_modules.RefusedError.code == TaskErrorCode.REFUSED
    assert runner_modules.NotThereError.code == TaskErrorCode.IMPORT_FAILED
    assert runner_modules.NotOfferedError.code == TaskErrorCode.POLICY_REFUSED
