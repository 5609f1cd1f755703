"""The small faults that `make mutations` tries follow the core that they break."""

import pytest

from mutations import CORE, MUTATIONS, ROOT


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, text, _ in MUTATIONS])
def test_the_text_stands_there_once(name, text):
    """Elsewhere it would break nothing, or two things."""
    assert (ROOT / CORE / name).read_text(encoding="utf-8").count(text) == 1
