"""Writes `docs/states.md` from the table of transitions; run it after the table has changed."""

from pathlib import Path

from dart.broker.core.lifecycle import page

if __name__ == "__main__":
    Path(__file__).with_name("states.md").write_text(page(), encoding="utf-8")
