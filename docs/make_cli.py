"""Writes `docs/cli.md` from the commands."""

from pathlib import Path

from dart.cli.help import document

if __name__ == "__main__":
    Path(__file__).with_name("cli.md").write_text(document(), encoding="utf-8")
