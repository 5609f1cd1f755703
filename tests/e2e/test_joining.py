"""Agents on other machines: they join by a token alone, are cut off for good, follow the broker to another key."""

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import dart_client
from chaos.scene import Scene, quick_limits
from harness.cluster import Cluster, cluster, read_line
from harness.network import missing, network
from harness.waiting import wait_until

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"no machines apart: {missing()}")


def start(running: Cluster, prefix: tuple[str, ...], token: str, home: str, *options: str):
    """An agent that is given a token and nothing else of the server; and its log."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DART_")}
    arguments = (
        "agent",
        "start",
        "--home",
        str(running.folder / home),
        "--config",
        str(running.folder / "worker.json"),
    )
    return running._spawn(
        home, *running.program, *arguments, *options, prefix=prefix,
        environment={**environment, **({"DART_JOIN_TOKEN": token} if token else {})},
    )  # fmt: skip


def joined(running: Cluster, prefix: tuple[str, ...], token: str, home: str, *options: str):
    process, log = start(running, prefix, token, home, *options)
    assert read_line(process, seconds=30.0, log=log).startswith("joined ")
    return process, log


def ended(agent) -> tuple[int, str]:
    """How an agent that was not let in ends."""
    process, log = agent
    return process.wait(30), log.read_text()


@contextlib.contextmanager
def client_of(running: Cluster):
    with dart_client.Client(state_dir=running.state_dir) as client:
        yield client


def test_joins_by_token_alone_and_is_cut_off_in_the_middle_of_a_task(tmp_path: Path):
    """One key per token, for its names; who is revoked stops at once, and comes back neither by key nor by token."""
    with (
        network(1) as lines,
        cluster(tmp_path, "--host", lines.address, "--agent-host", lines.address) as running,
        client_of(running) as client,
    ):
        inside = lines.inside(1)
        scene = Scene(running, on_lost="fail")
        made = client.make_token("edge-*")
        agent, log = joined(running, inside, made["text"], "home", "--name", "edge-1")
        # The token was needed for a moment only.
        for file in ("cmdline", "environ"):
            assert b"dart-join" not in Path(f"/proc/{agent.pid}/{file}").read_bytes()
        assert made["text"] not in log.read_text() + Path(tmp_path / "home" / "enrolment.json").read_text()
        scene.submit("short")
        assert scene.finish() == {"short": "short"}
        assert [one["state"] for one in client.tokens()] == ["used up"]
        (key,) = client.worker("edge-1")["agents"]
        assert (key["connected"], key["token"]) == (True, made["token"]["id"])

        scene.submit("long", seconds=600)
        scene.wait_for_lines("begin long")
        assert client.revoke_worker("edge-1") == 1
        code, text = agent.wait(15), log.read_text()
        assert (code, "the key of this agent was revoked" in text) == (4, True), text
        assert "was revoked" in scene.rest.call("GET", "/job/scene/results/?amount=9")["results"][-1]["error"]
        with pytest.raises(dart_client.UnknownWorkerError):
            client.worker("edge-1")

        # It knows, and ends at once; a copy of its home from before is not let in by the broker.
        code, text = ended(start(running, inside, "", "home", "--name", "edge-1"))
        assert (code, "has revoked the key" in text) == (4, True), text
        shutil.copytree(tmp_path / "home", tmp_path / "copy")
        members = json.loads((tmp_path / "copy" / "enrolment.json").read_text())
        (tmp_path / "copy" / "enrolment.json").write_text(json.dumps({**members, "revoked": False}))
        ghost, ghost_log = start(running, inside, "", "copy", "--name", "edge-1")
        wait_until(lambda: "does not know this agent's key" in ghost_log.read_text(), timeout=20, explain="refused")
        assert [worker["name"] for worker in client.workers()] == []
        running.end(ghost)

        # The token is of no use to anybody else, nor for another name.
        code, text = ended(start(running, inside, made["text"], "thief", "--name", "edge-1"))
        assert (code, "was used 1 times" in text) == (4, True), text
        code, text = ended(start(running, inside, made["text"], "other", "--name", "core-1"))
        assert (code, "what the token is for" in text) == (2, True), text
        log_of_server = next(tmp_path.glob("server.*.log")).read_text()
        assert "not let in as 'edge-1' by token" in log_of_server
        assert made["text"] not in log_of_server

        # With a token of its own it joins as a new agent, from the same home.
        joined(running, inside, client.make_token("edge-1")["text"], "home")
        assert client.worker("edge-1")["agents"][0]["id"] != key["id"]


def test_the_brokers_key_changes_while_tasks_run(tmp_path: Path):
    """Nothing is lost or run twice, though the server is killed in the middle and one agent is away for a while."""
    environment = quick_limits(lease=40.0)
    with (
        network(2) as lines,
        cluster(tmp_path, "--host", lines.address, "--agent-host", lines.address, environment=environment) as running,
    ):
        scene = Scene(running)
        with client_of(running) as client:
            token = client.make_token("edge-*", uses=2)["text"]
            homes = [tmp_path / f"home-{number}" for number in (1, 2)]
            for number, home in enumerate(homes, 1):
                joined(running, lines.inside(number), token, home.name, "--name", f"edge-{number}")
            names = [f"{place}-{number}" for place in (1, 2) for number in range(4)]
            for name in names:
                scene.submit(name, seconds=1.5, location=f"edge-{name[0]}")
            scene.wait_for_lines("begin 1-0", "begin 2-0")
            lines.cut(2)
            before = running.server.agents_url
            rotation = client.begin_rotation()
            assert (rotation["on"], rotation["former_agents_url"]) == (True, before)
            assert rotation["agents_url"] != before
            wait_until(lambda: client.rotation()["moved"] == 1, timeout=20, explain=client.rotation)
            assert [agent["name"] for agent in client.rotation()["left"]] == ["edge-2"]
            with pytest.raises(dart_client.ConflictError, match="1 agents have not come"):
                client.finish_rotation()
        running.kill_server()
        running.start_server("--agent-port", before.rpartition(":")[2])
        lines.heal(2)
        with client_of(running) as client:
            wait_until(lambda: client.rotation()["left"] == [], timeout=30, explain=client.rotation)
            after = client.finish_rotation()
            assert (after["on"], after["agents_url"]) == (False, rotation["agents_url"])
            assert scene.finish() == {name: name for name in names}
            assert sorted(scene.lines()) == sorted(f"{word} {name}" for word in ("begin", "end") for name in names)
            assert {json.loads((home / "enrolment.json").read_text())["agents_url"] for home in homes} == {
                rotation["agents_url"]
            }
        # Options of old times do not send the server back to where nobody looks for it.
        running.kill_server()
        running.start_server("--agent-port", before.rpartition(":")[2])
        assert running.server.agents_url == rotation["agents_url"]
        scene.submit("last", location="edge-2")
        assert scene.finish()["last"] == "last"


def test_the_command_line_makes_tokens_and_rotates(tmp_path: Path):
    """What a person types, and what it says; a server that only its own machine reaches says so."""

    def dart(running: Cluster, *words: str) -> tuple[int, str, str]:
        environment = {**os.environ, "DART_STATE_DIR": str(running.state_dir)}
        done = subprocess.run(
            [*running.program, *words], capture_output=True, text=True, check=False, timeout=60, env=environment
        )
        return done.returncode, done.stdout, done.stderr

    with cluster(tmp_path) as running:
        code, _, error = dart(running, "agent", "token", "--name", "edge-1")
        assert (code, "their own machine" in error) == (1, True), error
        code, token, note = dart(running, "agent", "token", "--name", "edge-1", "--local", "--expires", "15m")
        assert (code, token.startswith("dart-join-1."), "not shown again" in note) == (0, True, True)
        code, listed, _ = dart(running, "agent", "token", "--list", "--output", "json")
        (row,) = json.loads(listed)
        assert (row["name"], row["state"], token.strip() in listed) == ("edge-1", "valid", False)
        assert dart(running, "agent", "token", "--revoke", row["id"])[0] == 0
        assert "revoked" in dart(running, "agent", "token", "--list")[1]
        assert dart(running, "agent", "token", "--revoke", "0" * 16)[0] == 1
        assert dart(running, "agent", "token", "--name", "x", "--expires", "soon")[0] == 2
        assert dart(running, "agent", "token")[0] == 2
        assert "one key" in dart(running, "server", "rotate-key", "--status")[1]
        code, _, error = dart(running, "server", "rotate-key", "--finish")
        assert (code, "not being changed" in error) == (1, True)
        running.start_agent("w")
        code, said, _ = dart(running, "server", "rotate-key")
        assert (code, "Agents go from" in said) == (0, True)
        wait_until(
            lambda: "1 have followed" in dart(running, "server", "rotate-key", "--status")[1],
            timeout=20,
            explain="moves",
        )
        assert dart(running, "server", "rotate-key", "--finish")[0] == 0
        assert dart(running, "worker", "revoke", "w", "--agent", "0" * 16)[0] == 1
        code, said, _ = dart(running, "worker", "revoke", "w")
        assert (code, "1 agents of w are revoked" in said) == (0, True)
