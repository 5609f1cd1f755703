"""Facts that the owner asks for: versions of libraries, and what the owner's probe modules find out."""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from dart.agent.capabilities import probe
from dart.agent.config import AgentConfig
from dart.agent.confinement import Confinement
from dart.agent.policy import Policy
from dart.limits import Limits

_PROBE = Path(__file__).resolve().parent / "runner_probe.py"
_ANSWER_BYTES_MAX = 256 * 1024

log = logging.getLogger("dart.agent.probing")


def facts_of(config: AgentConfig, policy: Policy, limits: Limits, confinement: Confinement) -> dict[str, str]:
    """All that this agent tells of itself. What cannot be found out is left out and logged.

    Waits for the probes, `probe_seconds_max` at most. They are confined as tasks are, which can write their modules.
    """
    facts = probe()
    if config.libraries or config.probes:
        found, faults = asked(config, policy, limits, confinement, libraries=config.libraries, probes=config.probes)
        for fault in faults:
            log.warning("a probe failed, its facts are left out: %.500s", fault)
        facts.update(_acceptable(found, limits, room=limits.facts_max - len(facts) - _RUNNER_FACTS))
    return facts


_RUNNER_FACTS = 2
"""Python and its implementation, told by the first runner."""


def asked(
    config: AgentConfig,
    policy: Policy,
    limits: Limits,
    confinement: Confinement,
    *,
    libraries: Sequence[str],
    probes: Sequence[str],
    about: bool = False,
) -> tuple[dict[str, str], tuple[str, ...]]:
    """What `ask` tells of the Python of this agent's tasks, confined as they are.

    Raises:
        OSError: There is no room for its scratch directory.
    """
    scratch = confinement.fresh_scratch(0)
    try:
        return ask(
            config.python_home / "bin" / "python3" if config.python_home else Path(sys.executable),
            config.module_prefix,
            limits,
            libraries=libraries,
            probes=probes,
            environment=policy.passed_on(os.environ) | confinement.environment(scratch),
            start=partial(confinement.start, scratch),
            about=about,
        )
    finally:
        confinement.drop_scratch(scratch)


def ask(
    python: Path,
    module_prefix: Path,
    limits: Limits,
    *,
    libraries: Sequence[str],
    probes: Sequence[str],
    environment: Mapping[str, str],
    start: "Callable[..., subprocess.Popen[bytes]]" = subprocess.Popen,
    about: bool = False,
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Facts and faults, as the owner's Python tells them; with `about` also which Python that is."""
    # A file in memory: a pipe would hold up whoever tells much, and stay open in what a probe leaves running.
    with open(os.memfd_create("dart-probe"), "rb") as answer:  # noqa: PTH123 - a descriptor, not a path
        asked = {
            "prefix": str(module_prefix),
            "libraries": libraries,
            "probes": probes,
            "about": about,
            "out": answer.fileno(),
        }
        try:
            process = start(
                [str(python), str(_PROBE), json.dumps(asked)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[answer.fileno()],
                cwd=module_prefix,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            return {}, (f"{python} cannot be started: {error.strerror}",)
        try:
            code = process.wait(limits.probe_seconds_max)
        except subprocess.TimeoutExpired:
            return {}, (f"the probes took more than {limits.probe_seconds_max:g} s (limit probe_seconds_max)",)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        answer.seek(0)
        told = answer.read(_ANSWER_BYTES_MAX)
    try:
        members = json.loads(told)
        return dict(members["facts"]), tuple(members["faults"])
    except (ValueError, KeyError, TypeError):
        return {}, (f"the process of the probes ended with code {code} and told nothing that can be read",)


def _acceptable(found: dict[str, str], limits: Limits, *, room: int) -> dict[str, str]:
    """Those that HELLO can carry."""
    facts: dict[str, str] = {}
    for key, value in found.items():
        if len(facts) >= room:
            log.warning(
                "more than %d facts (limit facts_max): those from %.100r on are left out", limits.facts_max, key
            )
            break
        fits = 0 < len(key) <= limits.name_chars_max and 0 < len(value) <= limits.name_chars_max
        if fits and key.isprintable() and value.isprintable():
            facts[key] = value
        else:
            log.warning("the fact %.100r is no printable text of at most %d characters", key, limits.name_chars_max)
    return facts
