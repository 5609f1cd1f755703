"""Pages of the reference, each made of the code that it is about, so that none of them can be out of date."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import rest_page
import sdk_page

import dart_client
from dart import errors, limits
from dart.agent import config as agent_config
from dart.agent import policy
from dart.agent.isolation import Isolation
from dart.broker.config import ServerConfig, SshDefaults
from dart.cli import exit_codes, manual, profile
from dart.cli.main import cli
from dart.rest.errors import status_of

CONFIGURATION = "docs/configuration.md"
_VARIABLE = re.compile(r"_?DART_[A-Z]+(?:_[A-Z]+)*")
_PREFIXES = {"DART_AGENT_OPTION", "DART_SERVER_OPTION", "DART_SERVER", "DART_AGENT", "DART_LIMIT"}


def pages() -> dict[str, str]:
    """Text by its place below `docs/`."""
    return {
        "reference/rest-calls.md": rest_page.page(),
        "reference/sdk.md": sdk_page.page(),
        "reference/limits.md": limits_page(),
        "reference/errors.md": errors_page(),
        "adr/README.md": decisions_page(Path(__file__).resolve().parents[2] / "docs" / "adr"),
    }


def _manual_pages() -> list[manual.Page]:
    return list(manual.pages(cli))


def undocumented(root: Path) -> list[str]:
    """What a person could set, meet or call, and finds no word about: one line each."""
    found = [*rest_page.undocumented(), *sdk_page.undocumented()]
    found += [f"limits.py: {name} has no docstring" for name, _, about in _limits() if not about]
    found += [f"errors.py: {kind.__name__} has no docstring" for kind in _error_classes() if not kind.__doc__]
    found += [f"errors.py: TaskErrorCode.{name} has no docstring" for name, _, about in _task_codes() if not about]
    found += [
        f"exit_codes.py: {code.name} has no meaning"
        for code in exit_codes.ExitCode
        if not exit_codes.MEANINGS.get(code)
    ]
    found += [
        f"{page.name}: {option} has no help" for page in _manual_pages() for option, about in page.options if not about
    ]
    rows = set(re.findall(r"^\| `([^`]+)`", (root / CONFIGURATION).read_text(encoding="utf-8"), re.MULTILINE))
    found += [f"{CONFIGURATION}: no row begins with `{name}`" for name in sorted(settings(root) - rows)]
    found += [f"{CONFIGURATION}: the code knows no `{name}`" for name in sorted(rows - settings(root))]
    navigation = (root / "tools" / "site" / "site.toml").read_text(encoding="utf-8")
    shown = [*root.glob("docs/*.md"), *root.glob("docs/howto/*.md"), *root.glob("clients/*/README.md")]
    found += [
        f"tools/site/site.toml: {name} is not in the navigation"
        for name in sorted(str(page.relative_to(root)) for page in [*shown, *root.glob("examples/*/README.md")])
        if f'"{name}"' not in navigation
    ]
    return found


def settings(root: Path) -> set[str]:
    """Every key of every configuration file, every field of a server's configuration, every variable."""
    known = {*agent_config._FILE_MEMBERS, *agent_config._FILE_LISTS, *policy._READERS, *profile.SETTINGS}  # noqa: SLF001
    known |= {name for name in ServerConfig.__dataclass_fields__ if name != "ssh"}
    known |= {f"ssh_{name}" for name in SshDefaults.__dataclass_fields__}
    known |= {f"isolation.{name}" for name in Isolation.__dataclass_fields__}
    sources = [*(root / "src").rglob("*.py"), *(root / "clients/python").rglob("*.py")]
    named = {
        name
        for file in sources
        for name in _VARIABLE.findall(file.read_text(encoding="utf-8"))
        if name not in _PREFIXES and not name.startswith("DART_LIMIT_")
    }
    return known | named | {"DART_LIMIT_NAME", "DART_SERVER_OPTION", "DART_AGENT_OPTION"}


def limits_page() -> str:
    """All bounds with their defaults and reasons."""
    rows = [f"| `{name}` | {shown(value, name)} | {cell(about)} |" for name, value, about in _limits()]
    return "\n".join([
        "# Limits\n",
        "Every queue, body, wait and list has a bound. Server and agent read another value for any of them from the",
        "variable `DART_LIMIT_` and the name in capitals, as `DART_LIMIT_VALUE_BYTES_MAX=1048576`. Over a limit, the",
        "error names it.\n",
        "| limit | without another | what it bounds |",
        "| --- | --- | --- |",
        *rows,
        "",
    ])  # fmt: skip


def errors_page() -> str:
    """Exit codes of the command line, codes of errors, codes in results."""
    ends = [f"| {int(code)} | {cell(about)} |" for code, about in exit_codes.MEANINGS.items()]
    classes = [
        f"| {kind.code} | {status_of(kind(''))} | `{_in_sdk(kind)}` | {int(exit_codes.exit_code(kind('')))} "
        f"| {cell(kind.__doc__ or '')} |"
        for kind in _error_classes()
    ]
    tasks = [f"| {code} | {cell(about)} |" for _, code, about in _task_codes()]
    return "\n".join([
        "# Exit and error codes\n",
        "All of them are stable across releases.\n",
        "## Exit codes of `dart`\n",
        "| code | meaning |",
        "| --- | --- |",
        *ends,
        "\n## Errors\n",
        "`code` of an error of REST, the status of its answer, the class that the SDK raises, and the exit code of a",
        "command that ends with it.\n",
        "| code | status | class | exit code | meaning |",
        "| --- | --- | --- | --- | --- |",
        *classes,
        "\n## Results of tasks\n",
        "`error_code` of a result that is an error.\n",
        "| code | meaning |",
        "| --- | --- |",
        *tasks,
        "",
    ])  # fmt: skip


def decisions_page(folder: Path) -> str:
    """The list of decisions."""
    rows = []
    for file in sorted(folder.glob("[0-9]*.md")):
        number, _, title = file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ").partition(". ")
        rows.append(f"| {number} | [{title}]({file.name}) |")
    return "\n".join(["# Decisions\n", "What was decided, and why.\n", "| | |", "| --- | --- |", *rows, ""])


def cell(text: str) -> str:
    """A docstring in one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def shown(value: float, name: str) -> str:
    """A number as people read it."""
    if "bytes" in name and isinstance(value, int) and value >= limits.KIB:
        unit, symbol = (limits.MIB, "MiB") if value % limits.MIB == 0 else (limits.KIB, "KiB")
        if value % unit == 0:
            return f"{value // unit:,} {symbol}"
    return f"{value:,}".removesuffix(".0")


def attributes(file: str | None, name: str) -> Iterator[tuple[str, str]]:
    """Attributes of a class and the docstrings below them; empty where there is none."""
    if file is None:
        return
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    for node, after in zip(body, [*body[1:], None], strict=True):
        target = (
            node.target
            if isinstance(node, ast.AnnAssign)
            else node.targets[0]
            if isinstance(node, ast.Assign)
            else None
        )
        if isinstance(target, ast.Name) and target.id.strip("_") == target.id:
            value = after.value if isinstance(after, ast.Expr) else None
            yield target.id, str(value.value) if isinstance(value, ast.Constant) else ""


def _limits() -> list[tuple[str, float, str]]:
    defaults = limits.Limits()
    return [(name, getattr(defaults, name), about) for name, about in attributes(limits.__file__, "Limits")]


def _task_codes() -> list[tuple[str, int, str]]:
    found = attributes(errors.__file__, "TaskErrorCode")
    return [(name, getattr(errors.TaskErrorCode, name), about) for name, about in found]


def _error_classes() -> list[type[errors.DartError]]:
    kinds = {it for it in vars(errors).values() if isinstance(it, type) and issubclass(it, errors.DartError)}
    return sorted(kinds, key=lambda kind: kind.code)


def _in_sdk(kind: type[errors.DartError]) -> str:
    """The class of the SDK with this code, or its nearest parent's."""
    for parent in kind.__mro__:
        if hasattr(dart_client, parent.__name__):
            return parent.__name__
    return "DartError"
