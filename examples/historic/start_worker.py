"""Starts a worker with the arguments of the first DART: AGENT_PORT SERVER NAME [CAPABILITY ..].

For container images and scripts that call it so. `worker.json` is read where the program is started, else beside this
file. The first start needs a join token in DART_JOIN_TOKEN (`dart agent token --name NAME` on the server), or on the
server's own machine its state directory; after that the agent's home has its key.
"""

import os
import sys
from pathlib import Path

USAGE = "usage: start_worker.py AGENT_PORT SERVER NAME [CAPABILITY ..]"


def agent_arguments(words: list[str], folders: tuple[Path, ...]) -> list[str]:
    """The same for today's agent; ValueError if these are none."""
    if len(words) < 3:
        raise ValueError(USAGE)
    port, server, name, *capabilities = words
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
        raise ValueError(f"{USAGE}\nAGENT_PORT {port!r} is no port.")
    host = f"[{server}]" if ":" in server else server
    config = next((folder / "worker.json" for folder in folders if (folder / "worker.json").is_file()), None)
    return [
        f"--name={name}",
        f"--server=tcp://{host}:{port}",
        *(f"--capability={one}" for one in capabilities),
        *([f"--config={config}"] if config else []),
    ]


def main() -> None:
    """Become the agent: signals reach it, and its exit code is this program's."""
    try:
        arguments = agent_arguments(sys.argv[1:], (Path.cwd(), Path(__file__).resolve().parent))
    except ValueError as error:
        sys.exit(str(error))
    os.execv(sys.executable, [sys.executable, "-m", "dart.agent", *arguments])  # noqa: S606 - no shell wanted


if __name__ == "__main__":
    main()
