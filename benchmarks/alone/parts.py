"""Each part alone, in one table: codec, the two cores, store, REST.

python benchmarks/alone/parts.py [--seconds 3] [--short] [--write]     (PYTHONPATH has to name `tests`)

REST is a server of its own and eight connections that are kept, over TLS, each with one request at a time; the client
is a few lines of asyncio, so the server's CPU a request says more than the requests a second.
"""

import argparse
import asyncio
import json
import ssl
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cores  # before ours, for the tests' `harness` is the one that it means

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import store
from figures import Others, write
from installation import Installation, installation

from dart.broker.core.model import JobConfig
from dart.broker.core.records import JobAdded
from dart.broker.store.sqlite import SqliteStore
from dart.limits import Limits

CONNECTIONS = 8


def request(verb: str, path: str, key: str, body: Any = None) -> bytes:
    """As bytes."""
    content = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{verb} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def ask(url: str, asked: bytes, until: float) -> int:
    """One connection; how many answers came."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    at = urlsplit(url)
    reader, writer = await asyncio.open_connection(at.hostname, at.port, ssl=context)
    answers = 0
    try:
        while time.monotonic() < until:
            writer.write(asked)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert b" 200 " in head.partition(b"\r\n")[0], head
            await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
            answers += 1
    finally:
        writer.close()
    return answers


async def load(url: str, asked: bytes, seconds: float) -> int:
    """All connections together."""
    until = time.monotonic() + seconds
    return sum(await asyncio.gather(*(ask(url, asked, until) for _ in range(CONNECTIONS))))


def rest(installed: Installation, seconds: float) -> list[dict[str, Any]]:
    """The calls that matter."""
    with installed.client() as client:
        client.define_job("j", "m", "f")
        url = client.url
    key = (installed.state / "admin.key").read_text().strip()
    task = {"location": "", "parameter": 7}

    def post(tasks: int) -> bytes:
        return request("POST", "/job/j/tasks/", key, {"location_and_parameters": [task] * tasks})

    rows = []
    for label, asked, tasks in (
        ("REST: GET /healthz", request("GET", "/healthz", key), 1),
        ("REST: POST of 1 task, durable", post(1), 1),
        ("REST: POST of 1,000 tasks, a task", post(1000), 1000),
        ("REST: GET one job", request("GET", "/job/j/", key), 1),
    ):
        asyncio.run(load(url, asked, seconds / 5))
        before, began = installed.server_cpu(), time.monotonic()
        answers = asyncio.run(load(url, asked, seconds)) * tasks
        took = time.monotonic() - began
        cpu = (installed.server_cpu() - before) / answers * 1e6
        rows.append({"part": label, "cpu_us": round(cpu, 1), "per_s": round(answers / took)})
        print(f"{label:<44}{cpu:8.1f} us of the server's CPU{answers / took:12.0f}/s", flush=True)
    return rows


def main() -> None:
    """All of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each call of REST")
    parser.add_argument("--short", action="store_true", help="not with 1,000,000 queued")
    parser.add_argument("--write", action="store_true", help="into benchmarks/data, for docs/performance.md")
    options = parser.parse_args()
    others = Others()
    cores.main((1000, 10_000) if options.short else (1000, 100_000, 1_000_000))
    rows = list(cores.ROWS)
    with tempfile.TemporaryDirectory() as folder:
        kept = SqliteStore(Path(folder) / "dart.db", Limits())
        kept.recover()
        kept.commit([JobAdded(1, "job", JobConfig("module", "method", {}), 1)])
        for size, microseconds in store.measure_groups(kept):
            rows.append({"part": f"store: a task, both writes, groups of {size:,}", "cpu_us": microseconds})
        kept.close()
    with tempfile.TemporaryDirectory(prefix="dart-parts-") as folder, installation(Path(folder)) as installed:
        rows += rest(installed, options.seconds)
    if options.write:
        write("parts", rows, others_percent=others.percent())


if __name__ == "__main__":
    main()
