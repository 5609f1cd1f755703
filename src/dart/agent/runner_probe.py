"""Asks the owner's Python what this machine has: versions of libraries, and what the owner's probe modules tell.

A process of its own, run once before the agent connects: what a probe imports costs no runner memory, and a probe that
hangs or crashes costs nothing but its facts. Standard library only, Python 3.9 or later.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys

_HERE = os.path.dirname(os.path.realpath(__file__))
TYPE_CHECKING = False  # as in the other files of runners
if TYPE_CHECKING:
    from typing import Any


def library_facts(names: list[str]) -> dict[str, str]:
    """Versions of those of these distributions that are installed."""
    from importlib import metadata  # noqa: PLC0415 - needed where libraries are asked for only

    found = {}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def python_facts() -> dict[str, str]:
    """Which Python this is, as runners name it."""
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "implementation": sys.implementation.name,
        "executable": sys.executable,
        "architecture": os.uname().machine,
        "byte_order": sys.byteorder,
    }


def told_facts(told: Any) -> dict[str, str]:
    """What a probe returned, as texts: None is left out, true and false are written so.

    Raises:
        TypeError: It is no dictionary of texts, numbers and truth values.
    """
    if not isinstance(told, dict):
        raise TypeError(f"probe() must return a dict, not {type(told).__name__}")
    facts = {}
    for key, value in told.items():
        if not isinstance(key, str) or not isinstance(value, (str, int, float, type(None))):
            raise TypeError(
                f"probe() returned {key!r}: {type(value).__name__}; texts, numbers and truth values are facts"
            )
        if value is not None:
            facts[key] = str(value).lower() if isinstance(value, bool) else str(value)
    return facts


def main(asked: dict[str, Any]) -> None:
    """Write facts, and faults of those that could not be found out, to the descriptor `out` as JSON."""
    sys.path.insert(0, _HERE)
    import runner_files  # type: ignore[import-not-found]  # noqa: PLC0415 - beside this file, wherever that is
    import runner_modules  # type: ignore[import-not-found]  # noqa: PLC0415
    import runner_task  # type: ignore[import-not-found]  # noqa: PLC0415

    del sys.path[0]
    # A module may hold tasks beside its probe, and import what tasks may.
    sys.modules["dart_task"] = sys.modules.pop("runner_task", runner_task)
    facts, faults = (python_facts() if asked["about"] else {}), []
    if asked["libraries"]:
        facts.update(library_facts(asked["libraries"]))
    modules = runner_modules.Modules(asked["prefix"], runner_files)
    for path in asked["probes"]:
        try:
            facts.update(told_facts(modules.find(path, "probe", named=True)()))
        except BaseException as error:  # noqa: BLE001, PERF203 - also SystemExit is the probe's fault; few probes
            faults.append(f"{path}: {type(error).__name__}: {error}")
    with open(asked["out"], "w", encoding="ascii") as file:
        json.dump({"facts": facts, "faults": faults}, file)


if __name__ == "__main__":
    if sys.path and os.path.realpath(sys.path[0]) == _HERE:
        del sys.path[0]
    given = json.loads(sys.argv[1])
    # As in runners: a module that reads the command line is to find none.
    del sys.argv[1:]
    main(given)
