"""The page of the Python SDK, made of its docstrings."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import dart_client
import dart_client.testing

_FIRST = ("Client", "Job", "TaskFuture", "Executor", "Round", "Result", "Event", "BlobReference")
_SECTION = re.compile(r"^(Args|Raises|Returns|Yields):$")
_ITEM = re.compile(r"^    (\*{0,2}\w[\w, ]*): (.*)$")


def page() -> str:
    """Classes with their public methods, errors, and the test mode."""
    text = [
        "# The Python SDK\n",
        "`dart_client`, for Python 3.9 and later; [how to use it](../../clients/README.md).\n",
    ]
    for kind in _classes():
        text += [f"## {kind.__name__}\n", *_told(kind)]
        for name, member in _members(kind):
            heading = f"{kind.__name__}.{name}"
            text += [f"### {heading}\n", *_signature(name, member), *_told(member)]
    text += ["## Errors\n", "| class | code | |", "| --- | --- | --- |"]
    for kind in _errors():
        about = " ".join((inspect.getdoc(kind) or "").split()).replace("|", "\\|")
        text.append(f"| `{kind.__name__}` | {kind.code} | {about} |")
    text += ["\n## dart_client.testing\n", *_told(dart_client.testing)]
    for made in (dart_client.testing.installation, dart_client.testing.Installation):
        text += [f"### testing.{made.__name__}\n", *_signature(made.__name__, made), *_told(made)]
        if inspect.isclass(made):
            for name, member in _members(made):
                text += [f"### {made.__name__}.{name}\n", *_signature(name, member), *_told(member)]
    return "\n".join(text)


def undocumented() -> list[str]:
    """Public things without a docstring."""
    found = [f"dart_client.{kind.__name__}: no docstring" for kind in [*_classes(), *_errors()] if not kind.__doc__]
    for kind in [*_classes(), dart_client.testing.Installation]:
        found += [
            f"dart_client.{kind.__name__}.{name}: no docstring"
            for name, member in _members(kind)
            if not inspect.getdoc(member)
        ]
    return found


def _public() -> list[type]:
    return [it for it in (getattr(dart_client, name) for name in dart_client.__all__) if inspect.isclass(it)]


def _classes() -> list[type]:
    kinds = [it for it in _public() if not issubclass(it, Exception)]
    return sorted(
        kinds, key=lambda kind: (_FIRST.index(kind.__name__) if kind.__name__ in _FIRST else 99, kind.__name__)
    )


def _errors() -> list[Any]:
    return sorted((it for it in _public() if issubclass(it, Exception)), key=lambda kind: (kind.code, kind.__name__))


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """Methods and properties of our own, in the order of the source."""
    for parent in kind.__mro__:
        if not parent.__module__.startswith("dart_client"):
            continue
        for name, member in vars(parent).items():
            if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                yield name, member


def _signature(name: str, member: Any) -> Iterator[str]:
    if isinstance(member, property):
        return
    told = re.sub(r"\(self(, )?", "(", str(inspect.signature(member))).replace("'", "")
    yield f"```python\n{name}{told}\n```\n"


def _told(thing: Any) -> Iterator[str]:
    """A docstring as Markdown: its sections become lists."""
    in_section = False
    for line in (inspect.getdoc(thing) or "").splitlines():
        if heading := _SECTION.match(line):
            in_section = True
            yield f"*{heading[1]}*\n"
        elif in_section and (item := _ITEM.match(line)):
            yield f"- `{item[1]}`: {item[2]}"
        elif line.startswith((">>>", "... ")):
            yield f"    {line}"
        else:
            in_section = in_section and (not line or line.startswith("    "))
            yield line if not in_section else f"  {line.strip()}" if line else ""
    yield ""
