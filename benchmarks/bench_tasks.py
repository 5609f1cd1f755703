"""What the benchmarks run: the same functions under every peer, by name."""

import collections
import os
import re
import time
from pathlib import Path

WORD = re.compile(r"[a-z']+")


def noop(value):
    return value


def echo(data):
    return bytes(data)


def count_words(path):
    return dict(collections.Counter(WORD.findall(Path(path).read_text(encoding="utf-8").lower())))


def gate(path):
    """Holds one worker back until the file is there."""
    Path(f"{path}.{os.getpid()}").touch()
    while not Path(path).exists():
        time.sleep(0.02)
    return 0


def pause(seconds):
    """Occupies a slot, and no processor."""
    time.sleep(seconds)
    return seconds
