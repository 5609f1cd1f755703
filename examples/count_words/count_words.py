"""Counts the words of many files on named workers, with the historic REST calls and nothing but the standard library.

Start a server and some agents first (see README.md), or let `demo.py` do all of it.
"""

import argparse
import base64
import http.client
import itertools
import json
import pickle
import ssl
import string
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

POLL_SECONDS = 0.2
LETTERS = frozenset(string.ascii_letters)


class Server:
    """The historic calls: JSON bodies on every method, the key in the body, one connection.

    Args:
        url: `https://HOST:PORT`.
        key: The API key.
        certificate: The server's own certificate, `server.crt` of its state directory; the only one that is trusted.
    """

    def __init__(self, url: str, key: str, certificate: str) -> None:
        parts = urlsplit(url)
        context = ssl.create_default_context(cafile=certificate)
        context.check_hostname = False  # the certificate itself is known, so its names say nothing more
        self.key = key
        self.connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port or 443, context=context, timeout=60
        )

    def call(self, verb: str, path: str, /, **members: Any) -> Any:
        """One call; an answer other than 200 ends the program with the server's explanation."""
        body = json.dumps({"key": self.key, **members})
        self.connection.request(verb, path, body, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        data = answer.read()
        if answer.status != http.client.OK:
            sys.exit(f"{verb} {path}: {answer.status} {data.decode(errors='replace')}")
        return json.loads(data)


def count_at_workers(
    server: Server, job: str, workers: list[str], texts: list[str]
) -> tuple[Counter[str], Counter[str]]:
    """The count of all words, and how many texts each worker counted."""
    path = f"/job/{quote(job)}/"
    server.call("POST", "/job/", name=job, module_path="count_words_worker", method="count")
    tasks = [
        {"location": worker, "parameter": text} for worker, text in zip(itertools.cycle(workers), texts, strict=False)
    ]
    server.call("POST", path + "tasks/", location_and_parameters=tasks)
    words: Counter[str] = Counter()
    shares: Counter[str] = Counter()
    while shares.total() < len(texts):
        results = server.call("GET", path + "results/", amount=len(texts), worker_regex="")["results"]
        for result in results:
            if "error" in result:
                sys.exit(f"worker {result['worker']} on {result['host']} failed:\n{result['error']}")
            # Unpickling trusts the workers: these are our own, and run our own module.
            words.update(pickle.loads(base64.b64decode(result["success"])))  # noqa: S301
            shares[result["worker"]] += 1
            server.call("DELETE", f"{path}results/{result['id']}/")
        if not results:
            time.sleep(POLL_SECONDS)
    server.call("DELETE", path)
    return words, shares


def count_here(texts: list[str]) -> Counter[str]:
    """The same count by other means, to compare with."""
    return Counter(
        "".join(run).lower()
        for text in texts
        for is_word, run in itertools.groupby(text, LETTERS.__contains__)
        if is_word
    )


def main() -> int:
    """Count, compare, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--url", required=True, help="https://HOST:PORT")
    parser.add_argument("--key", required=True, help="API key, or @FILE that holds it")
    parser.add_argument("--certificate", required=True, help="server.crt of the server's state directory")
    parser.add_argument("--worker", action="append", required=True, help="name of a worker; repeatable")
    parser.add_argument("files", nargs="+", type=Path)
    options = parser.parse_args()
    key = Path(options.key[1:]).read_text(encoding="utf-8").strip() if options.key[0] == "@" else options.key
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in options.files]
    began = time.monotonic()
    words, shares = count_at_workers(
        Server(options.url, key, options.certificate), f"count_words_{time.time_ns()}", options.worker, texts
    )
    seconds = time.monotonic() - began
    print(f"{words.total()} words, {len(words)} different, in {len(texts)} files in {seconds:.1f} s")
    print("most frequent: " + ", ".join(f"{word} {count}" for word, count in words.most_common(5)))
    for worker in options.worker:
        print(f"worker {worker}: {shares[worker]} files")
    if words != count_here(texts):
        print("the workers' count differs from the one made here", file=sys.stderr)
        return 1
    print("the same as counted here by other means")
    return 0


if __name__ == "__main__":
    sys.exit(main())
