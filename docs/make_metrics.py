"""Writes the table of `docs/monitoring.md` from the table of metrics; what stands around it is kept."""

from pathlib import Path

from dart.rest.metrics import FAMILIES

BEGIN, END = "<!-- made by `make docs` -->\n", "<!-- end -->"
PAGE = Path(__file__).with_name("monitoring.md")


def renewed(page: str) -> str:
    """The page with the table as it should be."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    rows = [f"| `{name}` | {it.kind} | {it.label} | {it.about} |" for name, it in FAMILIES.items()]
    table = "\n".join(["| metric | kind | label | what |", "| --- | --- | --- | --- |", *rows, ""])
    return f"{before}{BEGIN}{table}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
