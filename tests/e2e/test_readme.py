"""The README's tour, run as it stands there."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from harness.cluster import read_line

ROOT = Path(__file__).resolve().parents[2]
STEP = re.compile(r"<!-- tour: (?P<kind>\w+) ?(?P<name>\S*) -->\n```\w*\n(?P<text>.*?)```\n", re.DOTALL)


def start(command: str, folder: Path, environment: dict[str, str], log: Path) -> subprocess.Popen[str]:
    """What the tour runs in a terminal of its own."""
    with log.open("w") as stderr:
        return subprocess.Popen(
            ["/bin/sh", "-c", "exec " + command],
            cwd=folder,
            env=environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )


def test_the_tour_does_what_it_says(tmp_path):
    """Files are written, commands run in order, and each printed output is the very one that is shown."""
    steps = [match.groupdict() for match in STEP.finditer((ROOT / "README.md").read_text(encoding="utf-8"))]
    assert [step["kind"] for step in steps].count("output") >= 3
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DART_")}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
        "HOME": str(tmp_path / "home"),
        "XDG_STATE_HOME": str(tmp_path / "home" / "state"),
        "XDG_CONFIG_HOME": str(tmp_path / "home" / "config"),
        # Ports of the system's choice: another server may run here.
        "DART_SERVER_PORT": "0",
        "DART_SERVER_AGENT_PORT": "0",
    }
    folder = tmp_path / "tour"
    folder.mkdir()
    background: list[subprocess.Popen[str]] = []
    printed = ""
    try:
        for step in steps:
            if step["kind"] == "file":
                (folder / step["name"]).write_text(step["text"])
            elif step["kind"] == "background":
                log = tmp_path / "background.log"
                background.append(start(step["text"], folder, environment, log))
                while not read_line(background[-1], seconds=30, log=log).startswith("joined "):
                    pass
            elif step["kind"] == "sh":
                done = subprocess.run(
                    ["/bin/sh", "-e", "-c", step["text"]],
                    cwd=folder,
                    env=environment,
                    check=False,
                    capture_output=True,
                    text=True,
                    timeout=60,
                )
                assert done.returncode == 0, (step["text"], done.stdout, done.stderr)
                printed = done.stdout
            else:
                assert printed == step["text"]
    finally:
        for process in background:
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
            process.stdout.close()


def test_documents_link_to_files_that_are_there():
    """A link to a file that does not exist is a fault of the page."""
    pages = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("examples/*/README.md")]
    pages += [ROOT / "clients" / "README.md"]
    missing = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert missing == []


def test_the_makefile_has_the_commands_of_the_readme():
    """`make NAME` in any document is a target."""
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"(?:^|`| )make (\w+)", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE))
        assert named <= targets, page
        assert named
