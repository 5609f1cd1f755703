"""What the README says of another machine, run as it stands there by two machines with a network between them."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cluster import read_line
from harness.network import missing, network
from harness.pages import APART, ROOT, blocks

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"no machines apart: {missing()}")


def test_an_agent_on_another_machine_is_there_in_five_commands(tmp_path: Path):
    """Server, token, copy, agent, result: with a home of its own each, and nothing in common but what was copied."""
    background: list[subprocess.Popen[str]] = []
    printed = ""
    with network(1) as lines:
        inside = {"here": (), "there": lines.inside(1)}
        folders, environments = {}, {}
        for machine in inside:
            folders[machine] = tmp_path / machine / "work"
            folders[machine].mkdir(parents=True)
            environments[machine] = {name: it for name, it in os.environ.items() if not name.startswith("DART_")} | {
                "HOME": str(tmp_path / machine),
                "XDG_STATE_HOME": str(tmp_path / machine / "state"),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                # Other servers run here, and this machine has further networks.
                "DART_SERVER_PORT": "0",
                "DART_SERVER_AGENT_PORT": "0",
                "DART_SERVER_ADVERTISE": lines.address,
            }
        page = blocks(ROOT / "README.md")
        words = next(block.text for block in page if block.step == ["file", "words.py"])
        (folders["here"] / "words.py").write_text(words)
        steps = [block for block in page if block.mark.startswith(APART)]
        assert len(steps) == 6
        try:
            for block in steps:
                kind, *rest = block.mark.removeprefix(APART).removesuffix(" -->").split()
                if kind == "copy":
                    for name in rest:
                        shutil.copy2(folders["here"] / name, folders["there"] / name)
                    continue
                if kind == "output":
                    assert printed == block.text
                    continue
                how = {"cwd": folders[rest[0]], "env": environments[rest[0]], "text": True}
                if kind == "background":
                    log = tmp_path / f"{rest[0]}.log"
                    with log.open("w") as stderr:
                        process = subprocess.Popen(
                            [*inside[rest[0]], "/bin/sh", "-c", "exec " + block.text],
                            stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE,
                            stderr=stderr,
                            start_new_session=True,
                            **how,
                        )
                    background.append(process)
                    assert read_line(process, seconds=30, log=log).startswith(("ready ", "joined there "))
                else:
                    done = subprocess.run(
                        [*inside[rest[0]], "/bin/sh", "-e", "-c", block.text],
                        check=False,
                        capture_output=True,
                        timeout=60,
                        **how,
                    )
                    assert done.returncode == 0, (block.where, done.stdout, done.stderr)
                    printed = done.stdout
        finally:
            for process in reversed(background):
                process.send_signal(signal.SIGINT)
                assert process.wait(30) == 0
                process.stdout.close()
