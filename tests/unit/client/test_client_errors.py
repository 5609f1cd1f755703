"""The SDK's errors mirror the server's table."""

import dart.errors
import dart_client.errors
from dart.errors import TaskErrorCode


def server_table():
    found, waiting = {}, [dart.errors.DartError]
    while waiting:
        known = waiting.pop()
        if "code" in vars(known):
            found[known.code] = known
        waiting.extend(known.__subclasses__())
    return {code: (kind.__name__, kind.category) for code, kind in found.items() if kind.__module__ == "dart.errors"}


def test_every_number_of_the_server_has_the_same_class_and_category_here():
    """The two tables agree: number, name, category."""
    ours = {code: (kind.__name__, kind.category) for code, kind in dart_client.errors.ERRORS_BY_CODE.items()}
    assert ours == server_table()


def test_an_answer_becomes_its_typed_error_with_all_members():
    """Number picks the class; message, status and further members are kept."""
    answer = {"error": {"code": 31, "message": "no job x", "category": "not found", "job": "x", "status": 5}}
    error = dart_client.errors.error_from_answer(404, answer)
    assert type(error) is dart_client.errors.UnknownJobError
    assert (error.message, error.status, error.details) == ("no job x", 404, {"job": "x"})


def test_an_unknown_number_is_the_root_error():
    """A newer server's error is still an error with its text."""
    error = dart_client.errors.error_from_answer(418, {"error": {"code": 999, "message": "tea"}})
    assert type(error) is dart_client.errors.DartError
    assert str(error) == "tea"


def test_an_answer_of_any_shape_is_an_error_with_its_status():
    """A proxy in between may answer whatever it likes."""
    for answer in (None, [], {"error": "text"}, {}):
        assert "502" in str(dart_client.errors.error_from_answer(502, answer))


def test_outcomes_are_typed_by_error_code():
    """Lost and expired tasks raise what they are; all others raise TaskError."""

    def kind(**members):
        return type(dart_client.errors.outcome_error({"error": "e", **members}))

    assert kind() is dart_client.TaskError
    assert kind(error_code=TaskErrorCode.TIMED_OUT) is dart_client.TaskError
    assert kind(error_code=TaskErrorCode.LOST) is dart_client.TaskLost
    assert kind(error_code=TaskErrorCode.EXPIRED) is dart_client.TaskExpired
