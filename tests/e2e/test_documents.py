"""The documents: their code is run as it stands there, their commands exist, their links lead somewhere."""

import ast
import re

import click
import pytest

from dart.cli.main import cli
from harness.documents import Tour
from harness.pages import ROOT, blocks, commands, missing_tests, pages, unmarked

RUN_PAGES = [page for page in pages() if any(block.step for block in blocks(page))]
EVERY = [block for page in pages() for block in blocks(page)]


@pytest.fixture(scope="module")
def tour(tmp_path_factory):
    it = Tour(tmp_path_factory.mktemp("documents"))
    try:
        it.start(next(block.text for block in blocks(ROOT / "README.md") if block.step[:1] == ["background"]))
        yield it
    finally:
        it.stop()


@pytest.mark.parametrize("page", RUN_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_tour_does_what_it_says(tour, page):
    """Files are written, commands and programs run in order, and each printed output is the very one that is shown."""
    tour.run(blocks(page))


def test_each_block_of_code_is_run_or_says_why_not():
    """No page has code that nobody tries without a reason."""
    assert unmarked() == []


@pytest.mark.parametrize(
    ("why", "gone"),
    [
        ("tests/e2e/test_documents.py and test_hosts.py, and tests/crossarch, do the same", []),
        ("tests/e2e/test_gone.py does the same", ["tests/e2e/test_gone.py"]),
        ("tests/e2e/test_documents.py and test_gone.py; tests/none", ["test_gone.py", "tests/none"]),
    ],
)
def test_a_reason_names_tests_that_are_there(why, gone):
    """A test that was renamed is not claimed any longer."""
    assert missing_tests(f"<!-- not run: {why} -->") == gone


def test_the_readme_and_the_tutorial_are_run():
    """A mark that is misspelt does not quietly take the tour away."""
    kinds = {str(page.relative_to(ROOT)): [block.step[0] for block in blocks(page) if block.step] for page in RUN_PAGES}
    assert kinds["README.md"].count("output") >= 3
    assert kinds["docs/tutorial.md"].count("output") >= 5


def options_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that some words call, and those that look like options."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"there is no command dart .. {words[0]}"
        command, words = found, words[1:]
    return command, [word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)]


def test_commands_in_the_documents_exist():
    """Also those that are not run: each command and each of its options is known."""
    seen = 0
    for block in EVERY:
        if block.language != "sh":
            continue
        for words in commands(block.text):
            command, given = options_of(words)
            known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
            assert set(given) <= known | {"--help", "--version"}, (block.where, words)
            seen += 1
    assert seen > 40


def test_python_in_the_documents_is_python():
    """Also what is not run can be read."""
    for block in EVERY:
        if block.language == "python":
            ast.parse(block.text, block.where)


def test_documents_link_to_files_that_are_there():
    """A link to a file that does not exist is a fault of the page; `make docs` checks the anchors, too."""
    missing = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages()
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert missing == []


def test_the_makefile_has_the_commands_of_the_readme():
    """`make NAME` in any document is a target."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"(?:^|`| )make ([\w-]+)", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE))
        assert named <= targets, page
        assert named
