"""Names and paths as requests give them: what is acceptable, and a sentence for what is not."""

from collections.abc import Sequence

from dart.broker.core.views import fault_of
from dart.errors import InvalidRequestError
from dart.limits import Limits


def check_name(text: str, field: str, limits: Limits) -> str:
    """A job's, worker's or capability's name: printable, no `/`, not empty, not too long."""
    if not text:
        raise InvalidRequestError(f"Member `{field}` must not be empty.", field=field)
    if len(text) > limits.name_chars_max:
        raise InvalidRequestError(
            f"Member `{field}` has {len(text)} characters; at most {limits.name_chars_max} are allowed"
            " (limit name_chars_max).",
            field=field,
        )
    if "/" in text or not text.isprintable():
        raise InvalidRequestError(f"Member `{field}` must be printable text without `/`.", field=field)
    return text


def check_tag(text: str, field: str, limits: Limits) -> str:
    """Free text that comes back with the result; may be empty and may have `/`."""
    if len(text) > limits.name_chars_max or not text.isprintable():
        raise InvalidRequestError(
            f"Member `{field}` must be printable text of at most {limits.name_chars_max} characters.", field=field
        )
    return text


def check_capabilities(names: Sequence[str], field: str, limits: Limits) -> tuple[str, ...]:
    """Sorted, without repeats and empty texts."""
    found = sorted({check_name(name, f"{field}[]", limits) for name in names if name})
    if len(found) > limits.capabilities_max:
        raise InvalidRequestError(
            f"Member `{field}` lists {len(found)} capabilities; at most {limits.capabilities_max} are allowed"
            " (limit capabilities_max).",
            field=field,
        )
    return tuple(found)


def check_requires(texts: Sequence[str], field: str, limits: Limits) -> tuple[str, ...]:
    """Capabilities and conditions that a worker must satisfy: sorted, without repeats and empty texts."""
    found = check_capabilities(texts, field, limits)
    for text in found:
        fault = fault_of(text)
        if fault:
            raise InvalidRequestError(
                f"Member `{field}`: {text!r} {fault}. A requirement is a capability's name, `key=value`, a comparison"
                " such as `memory_gib>=4`, or one of these after `!`.",
                field=field,
            )
    return found


def check_jobs(found: Sequence[str], field: str, limits: Limits) -> tuple[str, ...]:
    """Names of jobs in their order, without repeats."""
    if len(found) > limits.capabilities_max:
        text = f"Member `{field}` lists {len(found)} jobs; at most {limits.capabilities_max} are allowed."
        raise InvalidRequestError(text, field=field)
    return tuple(dict.fromkeys(check_name(name, f"{field}[]", limits) for name in found))


def check_module_path(text: str, limits: Limits) -> str:
    """Where a module lies below the worker's `module_prefix`: `sub/dir/module`, one leading `/` allowed."""
    field = "module_path"
    if len(text) > limits.module_path_chars_max:
        raise InvalidRequestError(
            f"Member `module_path` has {len(text)} characters; at most {limits.module_path_chars_max} are allowed.",
            field=field,
        )
    if not text.isprintable() or "\\" in text:
        raise InvalidRequestError(
            "Member `module_path` must be printable, with `/` between folders and no backslash.", field=field
        )
    parts = text.removeprefix("/").split("/")
    if ".." in parts:
        raise InvalidRequestError(
            "Member `module_path` must not have `..`: it is relative to the worker's module_prefix and stays below it.",
            field=field,
        )
    if "" in parts or "." in parts:
        raise InvalidRequestError(
            "Member `module_path` must be names with one `/` between them, such as `folder/module`.", field=field
        )
    if text.endswith(".py"):
        raise InvalidRequestError("Member `module_path` names the module: leave `.py` away.", field=field)
    return text


def check_method(text: str, limits: Limits) -> str:
    """The name of a callable in the module."""
    if len(text) > limits.name_chars_max or not text.isidentifier():
        raise InvalidRequestError(
            "Member `method` must be the name of a function in the module: a Python identifier.", field="method"
        )
    return text
