"""`dart help`: each command's manual page, for reading, for `man`, and as the reference in the documents."""

from collections.abc import Iterator
from pathlib import Path

import click

from dart.cli.exit_codes import MEANINGS, ExitCode
from dart.cli.main import cli
from dart.cli.manual import COLUMNS, page_of, pages, reference, roff
from dart.cli.options import OUTPUT
from dart.cli.render import Output


@click.command("help", epilog="Example: dart help worker ping; dart help --exit-codes; dart help --man-pages man1")
@click.argument("words", nargs=-1, metavar="[COMMAND]...")
@click.option("--exit-codes", is_flag=True, help="What the exit codes of all commands mean.")
@click.option("--all", "everything", is_flag=True, help="One line for every command there is.")
@click.option(
    "--man-pages",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write all pages there for `man`, as dart-worker-ping.1.",
)
@OUTPUT
def help_(
    words: tuple[str, ...], *, exit_codes: bool, everything: bool, man_pages: Path | None, output: Output
) -> None:
    """Manual pages: of a command, of all of them, or of the exit codes.

    A page has what `dart COMMAND --help` says. Written for `man`: dart help --man-pages ~/.local/share/man/man1
    """
    if bool(words) + exit_codes + everything + (man_pages is not None) > 1:
        raise click.UsageError("Name a command, or give one of --exit-codes, --all and --man-pages.")
    if exit_codes:
        output.rows([{"code": code, "meaning": meaning} for code, meaning in exit_code_rows()], ("code", "meaning"))
    elif everything:
        output.rows([{"command": page.name, "summary": page.summary} for page in pages(cli)], COLUMNS)
    elif man_pages is not None:
        output.rows([{"file": str(file)} for file in write_pages(man_pages)], ("file",))
    else:
        page = page_of(cli, words)
        if output.form == "table":
            click.echo_via_pager(page.text)
        else:
            output.one(page._asdict())


def write_pages(directory: Path) -> Iterator[Path]:
    """Write a page for each command."""
    directory.mkdir(parents=True, exist_ok=True)
    for page in pages(cli):
        file = directory / f"{page.name.replace(' ', '-')}.1"
        file.write_text(roff(page, exit_code_rows()), encoding="utf-8")
        yield file


def exit_code_rows() -> list[tuple[int, str]]:
    """All exit codes with their meanings."""
    return [(code.value, MEANINGS[code]) for code in ExitCode]


def document() -> str:
    """`docs/cli.md`."""
    return reference(cli, exit_code_rows())
