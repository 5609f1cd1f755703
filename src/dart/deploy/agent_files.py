"""The source files that `python -m dart.agent` needs: those of the agent, and what their imports name."""

import ast
from collections.abc import Iterator
from pathlib import Path

import dart

_SOURCE = Path(dart.__file__).parent
_ROOT = "dart.agent"


def agent_files() -> dict[str, bytes]:
    """Their contents by path, such as `dart/agent/app.py`; the same for the same sources.

    All of the agent's own, since runners are started by the paths of their files, and whatever these import of `dart`,
    at their top or in a function.
    """
    found: dict[str, bytes] = {}
    waiting = [_ROOT, *(f"{_ROOT}.{name}" for name in _modules_of(_SOURCE / "agent"))]
    while waiting:
        name = waiting.pop()
        path = _file_of(name)
        if path is None:
            continue  # a name that a module defines
        key = path.relative_to(_SOURCE.parent).as_posix()
        if key not in found:
            found[key] = path.read_bytes()
            # A module brings the packages that it is in.
            waiting += ["dart", *_imports(found[key], key)]
            waiting += [name.rpartition(".")[0]] if "." in name else []
    return dict(sorted(found.items()))


def _modules_of(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _file_of(name: str) -> Path | None:
    path = _SOURCE.parent.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _imports(source: bytes, key: str) -> Iterator[str]:
    """Names of `dart` that a source imports; a name taken from a package may be a module of it."""
    for node in ast.walk(ast.parse(source, key)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "dart")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "dart":
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
