"""Names and paths in requests: what is accepted can be logged on one line and stays below the module prefix."""

import os

from dart.agent.runner_modules import ModuleFaultError, relative_path
from dart.errors import DartError
from dart.limits import Limits
from dart.rest import names

LIMITS = Limits()
CHECKS = (
    lambda text: names.check_name(text, "name", LIMITS),
    lambda text: names.check_tag(text, "tag", LIMITS),
    lambda text: names.check_requires([text], "requires", LIMITS),
    lambda text: names.check_jobs(text.split(","), "after", LIMITS),
    lambda text: names.check_method(text, LIMITS),
)


def seeds() -> list[bytes]:
    texts = (
        "a",
        "folder/module",
        "../x",
        "/etc/passwd",
        "a/../b",
        "memory_gib>=4",
        "!gpu",
        "key=value",
        "a\nb",
        "run",
        "a,b",
        "..",
        "a//b",
        "./a",
        "a\0b",
        "é",
        "\ud800",
        "a.py",
        "__init__",
        "x" * 2000,
    )
    return [bytes([kind]) + text.encode("utf-8", "surrogatepass") for kind in range(6) for text in texts]


def check(data: bytes) -> None:
    if not data:
        return
    text = data[1:].decode("utf-8", "surrogatepass" if data[0] >= 128 else "replace") if _decodes(data) else ""
    kind = data[0] % 6
    try:
        if kind == 5:
            _check_path(names.check_module_path(text, LIMITS))
        else:
            CHECKS[kind](text)
    except DartError as error:
        assert error.message
        return
    assert text.isprintable() or kind == 3, text
    text.encode()


def _decodes(data: bytes) -> bool:
    try:
        data[1:].decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data[0] < 128
    return True


def _check_path(path: str) -> None:
    below = os.path.normpath(os.path.join("/prefix", path.removeprefix("/")))  # noqa: PTH118 - text, no file
    assert below.startswith("/prefix/"), path
    try:
        relative = relative_path(path)
    except ModuleFaultError:
        return
    assert os.path.normpath(os.path.join("/prefix", relative)).startswith("/prefix/"), relative  # noqa: PTH118
