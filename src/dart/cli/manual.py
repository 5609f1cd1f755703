"""Manual pages made of the commands themselves: as text, for `man`, and as one reference in Markdown."""

import inspect
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import click

from dart import __version__

COLUMNS = ("command", "summary")
ExitCodes = Sequence[tuple[int, str]]


class Page(NamedTuple):
    """All that is to be said of one command."""

    name: str
    """As it is typed: `dart worker ping`."""
    summary: str
    usage: str
    description: str
    """Paragraphs with an empty line between them."""
    options: list[tuple[str, str]]
    """How each is written, and what it does."""
    commands: list[tuple[str, str]]
    """Of a group: the names of its commands, and their summaries."""
    examples: list[str]
    text: str
    """What `--help` prints."""


def page_of(root: click.Group, words: Sequence[str]) -> Page:
    """The page of one command, by the words behind `dart`.

    Raises:
        UsageError: There is no such command.
    """
    context = click.Context(root, info_name="dart", **root.context_settings)
    for word in words:
        group = context.command
        found = group.get_command(context, word) if isinstance(group, click.Group) else None
        if found is None:
            raise click.UsageError(f"There is no command `{' '.join(('dart', *words))}`; `dart help --all` lists them.")
        context = click.Context(found, parent=context, info_name=word)
    return _page(context)


def pages(root: click.Group) -> Iterator[Page]:
    """The pages of all commands, groups before what is in them."""

    def below(context: click.Context) -> Iterator[Page]:
        yield _page(context)
        if isinstance(context.command, click.Group):
            for name in context.command.list_commands(context):
                found = context.command.get_command(context, name)
                if found is not None:
                    yield from below(click.Context(found, parent=context, info_name=name))

    yield from below(click.Context(root, info_name="dart", **root.context_settings))


def _page(context: click.Context) -> Page:
    command = context.command
    commands = []
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None:
                commands.append((name, found.get_short_help_str(200)))
    description = inspect.cleandoc(command.help or "")
    records = [
        parameter.get_help_record(context)
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option)
    ]
    return Page(
        name=context.command_path.strip() if context.parent is None else _path(context),
        summary=description.partition("\n\n")[0].replace("\n", " "),
        usage=" ".join((_path(context), *command.collect_usage_pieces(context))),
        description=description,
        options=[record for record in records if record is not None],
        commands=commands,
        examples=examples(command),
        text=command.get_help(context),
    )


def _path(context: click.Context) -> str:
    """The words that call a command, without its parents' arguments."""
    names = []
    found: click.Context | None = context
    while found is not None:
        names.append(found.info_name or "")
        found = found.parent
    return " ".join(reversed(names))


def examples(command: click.Command) -> list[str]:
    """Command lines that can be typed."""
    return [part.strip() for part in (command.epilog or "").removeprefix("Example: ").split("; ") if part]


def reference(root: click.Group, exit_codes: ExitCodes) -> str:
    """All commands in one document."""
    lines = [
        "# The command line",
        "",
        "Every command with its options; made from the commands themselves by `make docs`. `dart COMMAND --help` and",
        "`dart help COMMAND` say the same in a terminal, and `dart help --man-pages DIR` writes pages for `man`.",
        "",
        "Options come from flags, then `DART_*` variables, then the profile (`dart profile`). Tables are for people,",
        "and change; scripts use `--json`, or `--output jsonl` for a line a thing. Errors are one sentence on stderr.",
        "",
        "## Exit codes",
        "",
        "| code | meaning |",
        "| --- | --- |",
        *(f"| {code} | {meaning} |" for code, meaning in exit_codes),
        "",
    ]
    for page in pages(root):
        level = min(page.name.count(" ") + 2, 4)
        lines += [f"{'#' * level} {page.name}", "", "```", page.usage, "```", ""]
        lines += [_markdown(page.description), ""]
        if page.commands:
            lines += ["| command | does |", "| --- | --- |"]
            lines += [f"| `{page.name} {name}` | {_cell(summary)} |" for name, summary in page.commands]
            lines.append("")
        if page.options and not (page.commands and len(page.options) == 1):
            lines += ["| option | does |", "| --- | --- |"]
            lines += [f"| `{_cell(written)}` | {_cell(does)} |" for written, does in page.options]
            lines.append("")
        lines += ["```", *(f"$ {example}" for example in page.examples), "```", ""] if page.examples else []
    return "\n".join(lines)


def _markdown(text: str) -> str:
    return re.sub(r"([<*])", r"\\\1", text.replace("\b\n", ""))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def roff(page: Page, exit_codes: ExitCodes) -> str:
    """A page for `man`."""
    name = page.name.replace(" ", "-")
    lines = [
        f'.TH "{name.upper()}" "1" "" "dart {__version__}" "DART"',
        ".SH NAME",
        f"{_roff(name)} \\- {_roff(page.summary)}",
        ".SH SYNOPSIS",
        f".B {_roff(page.usage)}",
        ".SH DESCRIPTION",
        _roff(page.description).replace("\n\n", "\n.PP\n"),
    ]
    for title, rows in (("COMMANDS", page.commands), ("OPTIONS", page.options)):
        if rows:
            lines.append(f".SH {title}")
        for written, does in rows:
            lines += [".TP", f".B {_roff(written)}", _roff(does)]
    lines.append(".SH EXIT STATUS")
    for code, meaning in exit_codes:
        lines += [".TP", f".B {code}", _roff(meaning)]
    if page.examples:
        lines += [".SH EXAMPLES", ".nf", *(_roff(example) for example in page.examples), ".fi"]
    return "\n".join(lines) + "\n"


def _roff(text: str) -> str:
    """As it is, whatever roff would make of it."""
    plain = text.replace("\b\n", "").replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", plain, flags=re.MULTILINE)
