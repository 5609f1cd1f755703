"""Code blocks of the documents: which there are, and what is said about running them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
MADE = {ROOT / "docs" / "cli.md", ROOT / "docs" / "states.md"}
RUN = "<!-- tour: "
APART = "<!-- apart: "
"""Run by `test_another_machine.py`, between two machines."""
NOT_RUN = "<!-- not run: "
CODE = frozenset({"sh", "python"})
"""Languages of blocks that are run, or say why not."""
COMMAND = re.compile(r"^(?:\$ )?(?:sudo )?(?:dart|curl|pip|python3?) ", re.MULTILINE)
_TESTS = re.compile(r"\btests/[\w/]+(?:\.py)?|\btest_\w+\.py")
"""A file or folder of tests, or the name of such a file whose folder was said before."""
_FENCE = re.compile(r"^```(?P<language>[\w-]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """One fenced block of a page."""

    page: str
    line: int
    language: str
    text: str
    mark: str
    """The comment on the line above it, or nothing."""

    @property
    def where(self) -> str:
        """For people who look for it."""
        return f"{self.page}:{self.line}"

    @property
    def step(self) -> list[str]:
        """What `tour` says: kind of step, and its argument; empty: it is not run."""
        return self.mark.removeprefix(RUN).removesuffix(" -->").split() if self.mark.startswith(RUN) else []


def pages() -> list[Path]:
    """Every page for people, but the decisions, the log of changes, and what is made of the code."""
    found = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md")]
    for folder in ("docs", "clients", "examples"):
        found += sorted(it for it in (ROOT / folder).rglob("*.md") if not {"adr", "node_modules"} & set(it.parts))
    return [page for page in found if page not in MADE]


def blocks(page: Path) -> list[Block]:
    """All blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        before = text[: match.start()]
        above = before.rstrip("\n").rpartition("\n")[2].strip()
        mark = above if above.startswith((RUN, APART, NOT_RUN)) else ""
        name = str(page.relative_to(ROOT))
        found.append(Block(name, before.count("\n") + 1, match["language"], match["text"], mark))
    return found


def commands(text: str) -> Iterator[list[str]]:
    """The words of each `dart` command in a block of shell."""
    lexer = shlex.shlex(text.replace("\\\n", " ").replace("\n", "\n\n"), posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace = " \t"
    words: list[str] = []
    for token in (*lexer, "\n"):
        if token[0] not in "();<>|&\n":
            # Before a command: variables, and who runs it.
            if words or not (token == "sudo" or re.fullmatch(r"[A-Z_]+=.*", token)):
                words.append(token)
            continue
        if words and words[0] == "dart":
            yield words[1:]
        words = []


def unmarked() -> list[str]:
    """Blocks of code that are neither run nor say why not, or name tests that there are not."""
    found = []
    for block in (block for page in pages() for block in blocks(page)):
        is_code = block.language in CODE or (not block.language and COMMAND.search(block.text) is not None)
        if is_code and not block.mark:
            found.append(
                f"{block.where}: nobody runs this code; above it stands `<!-- tour: ... -->`, so that a test does, or "
                "`<!-- not run: WHY -->` (docs/adr/0292-code-in-documents-is-run-in-one-tour.md)"
            )
        elif block.mark.startswith(NOT_RUN) and len(block.mark) < len(NOT_RUN) + 14:
            found.append(f"{block.where}: `{block.mark}` is no reason")
        if gone := missing_tests(block.mark):
            found.append(f"{block.where}: there is no {', no '.join(gone)}")
    return found


def missing_tests(mark: str) -> list[str]:
    """What a mark names as tests, and what does not exist."""
    named = _TESTS.findall(mark) if mark.startswith(NOT_RUN) else []
    return [it for it in named if not ((ROOT / it).exists() if "/" in it else [*(ROOT / "tests").rglob(it)])]
