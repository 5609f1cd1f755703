"""Facts about this machine and the agent's Python: what tasks may require, and what people see of a worker."""

import os
import platform
import struct
import sys

from dart import __version__

_MEMORY_FILE = "/proc/meminfo"


def probe() -> dict[str, str]:
    """Architecture, word size, byte order, system, cores, memory, Python and version of this agent.

    `architecture` is the kernel's: a Raspberry Pi with a 64-bit kernel and 32-bit programs says aarch64, so
    `word_bits` tells what its programs are.
    """
    facts = {
        "architecture": platform.machine(),
        "word_bits": str(struct.calcsize("P") * 8),
        "byte_order": sys.byteorder,
        "system": sys.platform,
        "cores": str(len(os.sched_getaffinity(0))),
        "agent_python": platform.python_version(),
        "agent_implementation": platform.python_implementation(),
        "agent_version": __version__,
    }
    memory = memory_bytes(_MEMORY_FILE)
    if memory is not None:
        facts["memory_bytes"] = str(memory)
        # As people name machines: what the kernel keeps for itself is not counted as missing.
        facts["memory_gib"] = str(round(memory / 2**30))
    return facts


def memory_bytes(path: str) -> int | None:
    """Physical memory as the kernel tells it; None where it does not."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a fixed path
            for line in file:
                words = line.split()
                if len(words) > 1 and words[0] == b"MemTotal:":
                    return int(words[1]) * 1024
    except (OSError, ValueError):
        return None
    return None
