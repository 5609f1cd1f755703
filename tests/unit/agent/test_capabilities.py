"""What an agent finds out about its machine."""

import os
import struct
import sys

from dart import __version__
from dart.agent.capabilities import memory_bytes, probe


def test_facts_of_this_machine():
    """Texts only, so that they fit into HELLO."""
    facts = probe()
    assert facts["word_bits"] == str(struct.calcsize("P") * 8)
    assert facts["byte_order"] == sys.byteorder
    assert facts["agent_version"] == __version__
    assert int(facts["cores"]) == len(os.sched_getaffinity(0))
    assert int(facts["memory_bytes"]) > 2**20
    assert abs(int(facts["memory_gib"]) - int(facts["memory_bytes"]) / 2**30) <= 0.5
    assert all(isinstance(text, str) and text for text in facts.values())


def test_memory_that_cannot_be_told(tmp_path, monkeypatch):
    """No file, no line, no number: the fact is left out."""
    path = tmp_path / "meminfo"
    assert memory_bytes(str(path)) is None
    path.write_text("MemFree: 3 kB\n\n")
    assert memory_bytes(str(path)) is None
    path.write_text("MemTotal: lots kB\n")
    assert memory_bytes(str(path)) is None
    path.write_text("MemTotal:       1024 kB\n")
    assert memory_bytes(str(path)) == 2**20
    monkeypatch.setattr("dart.agent.capabilities._MEMORY_FILE", str(tmp_path / "none"))
    assert "memory_bytes" not in probe()
