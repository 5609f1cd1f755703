"""Runs on the workers: counts the words of one text. Text in, base64 of a pickle out, as modules of 2021 do it."""

import base64
import pickle
import re

WORD = re.compile("[A-Za-z]+")


def count(text: str) -> bytes:
    """How often each word, a run of ASCII letters in lower case, is in the text."""
    counts: dict[str, int] = {}
    for match in WORD.finditer(text):
        word = match[0].lower()
        counts[word] = counts.get(word, 0) + 1
    return base64.b64encode(pickle.dumps(counts))
