"""The server is killed in the middle of a run, again and again: nothing that was answered is lost."""

import gc
import random
import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import msgpack
import pytest
import requests

from harness.cluster import Cluster, cluster
from harness.historic import HistoricClient
from harness.modules import write_modules
from harness.waiting import wait_until

TASKS = 5_000
KILLS = 3
BATCH = 250
APPEND = """
    import os, time

    def run(parameter):
        number, path = parameter.split(" ", 1)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, (number + "\\n").encode())
        os.close(descriptor)
        time.sleep(0.008)
        return number
"""


class Stored(NamedTuple):
    """What the store holds at a kill."""

    recorded: int
    leased: int
    queued: int


def read_store(running: Cluster) -> Stored:
    """Count in the database itself; only to be called while no server runs or in a read transaction beside it."""
    connection = sqlite3.connect(f"file:{running.state_dir / 'dart.db'}?mode=ro", uri=True, timeout=10)
    try:
        recorded = connection.execute("SELECT count(*) FROM outcome").fetchone()[0]
        open_tasks = {row[0] for row in connection.execute("SELECT id FROM task")}
        leased: set[int] = set()
        for (blob,) in connection.execute("SELECT attempts FROM lease"):
            leased |= set(msgpack.unpackb(blob)[::3]) & open_tasks  # (task, incarnation, number) each
    finally:
        connection.close()
    return Stored(recorded, len(leased), len(open_tasks) - len(leased))


def ready_to_kill(at: Stored, least: int) -> bool:
    """Enough of everything for a kill to hurt, with a margin for what happens until it comes."""
    return at.recorded >= least and at.leased >= 30 and at.queued >= 600


class Watcher(threading.Thread):
    """Polls results throughout, as a client does, and remembers what it saw vanish."""

    def __init__(self, client: HistoricClient) -> None:
        super().__init__(daemon=True)
        self.client, self.done = client, threading.Event()
        self.seen: dict[str, str] = {}
        self.vanished: set[str] = set()
        self.errors: list[str] = []

    def run(self) -> None:
        while not self.done.wait(0.3):
            try:
                answer = self.client.call("GET", "/job/j/results/", amount=TASKS * 2)
            except requests.RequestException:
                continue  # the server is down: a client tries again
            if answer.status_code != requests.codes.ok:
                self.errors.append(f"{answer.status_code} {answer.text[:200]}")
                continue
            now = {result["id"]: result["success"] for result in answer.json()["results"]}
            self.vanished |= self.seen.keys() - now.keys()
            self.seen.update(now)


def submit_all(client: HistoricClient, path: Path, accepted: list[tuple[str, int]]) -> None:
    """POST batches; one that is not answered 200 is not accepted and is sent again under other numbers."""
    number = 0
    while len(accepted) < TASKS:
        batch = list(range(number, number + BATCH))
        number += BATCH
        try:
            ids = client.add_tasks("j", *((("left", "right")[n % 2], f"{n} {path}") for n in batch))
        except (requests.RequestException, AssertionError):
            time.sleep(0.1)
            continue
        accepted += zip(ids, batch, strict=True)


# urllib3 leaves a connection whose answer was cut off in the middle to the collector of garbage.
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
@pytest.mark.parametrize("seed", [1])
def test_three_kills_lose_nothing(tmp_path: Path, seed: int):
    """Every accepted task has exactly one result; repeats are no more than what was leased; no result vanishes."""
    chance = random.Random(seed)
    written = tmp_path / "written"
    with cluster(tmp_path) as running:
        config = write_modules(tmp_path, append=APPEND)
        running.start_agent("left", slots=2, config=config)
        running.start_agent("right", slots=2, config=config)
        client = HistoricClient(running.server.url, running.server.key)
        client.add_job("j", "append", "run")
        accepted: list[tuple[str, int]] = []
        submitter = threading.Thread(target=submit_all, args=(client, written, accepted), daemon=True)
        watcher = Watcher(client)
        submitter.start()
        watcher.start()

        kills: list[Stored] = []
        while len(kills) < KILLS:
            least = 500 + 900 * len(kills) + chance.randrange(300)
            wait_until(
                lambda least=least: ready_to_kill(read_store(running), least),
                timeout=60,
                explain=lambda: read_store(running),
            )
            time.sleep(chance.random() * 0.1)
            running.kill_server()
            kills.append(read_store(running))
            running.start_server()
        for at in kills:
            assert at.recorded >= 500, kills
            assert at.leased >= 10, kills
            assert at.queued >= 500, kills

        submitter.join(60)
        assert not submitter.is_alive()
        # Not by their number: batches whose answer was lost with the server may have been recorded, and run as well.
        wait_until(
            lambda: {task for task, _ in accepted} <= {result["id"] for result in client.results("j", TASKS * 2)},
            timeout=90,
            interval=0.5,
            explain=lambda: (len(client.results("j", TASKS * 2)), len(accepted), client.workers()),
        )
        watcher.done.set()
        watcher.join(30)

        results = client.results("j", TASKS * 2)
        by_id = Counter(result["id"] for result in results)
        assert max(by_id.values()) == 1
        answers = {result["id"]: result["success"] for result in results}
        assert {task: answers.get(task) for task, _ in accepted} == {task: str(number) for task, number in accepted}
        assert not watcher.vanished
        assert not watcher.errors
        ran = Counter(int(line) for line in written.read_text().split())
        assert {number for _, number in accepted} <= ran.keys()
        repeats = sum(times - 1 for times in ran.values())
        assert repeats <= sum(at.leased for at in kills), (repeats, kills)
        print(f"kills: {kills}; accepted {len(accepted)}, results {len(results)}, repeats {repeats}")
    gc.collect()  # here, and not in another test
