"""Facts that the owner asks for, found out by the Python that runs the tasks."""

import logging
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from dart.agent.config import read_config
from dart.agent.confinement import Confinement, Surroundings
from dart.agent.isolation import Isolation
from dart.agent.policy import Policy
from dart.agent.probing import ask, facts_of
from dart.limits import Limits

LIMITS = Limits(probe_seconds_max=20.0)
PYTHON = Path(sys.executable)


@pytest.fixture
def confinement(tmp_path):
    held = Confinement(Isolation(), Surroundings(module_prefix=tmp_path))
    yield held
    held.close()


def probe(folder, body, name="found"):
    (folder / f"{name}.py").write_text(f"def probe():\n    {body}\n")


def test_versions_and_what_probes_tell(tmp_path):
    """Libraries that are not there and facts that are None are left out; the rest becomes text."""
    (tmp_path / "probes").mkdir()
    probe(
        tmp_path / "probes", "print('noise'); return {'gpu': True, 'cameras': 2, 'bus': 'i2c', 'none': None, 'f': 0.5}"
    )
    facts, faults = asked(tmp_path, ["msgpack", "no-such-package"], ["probes/found"])
    assert facts == {"msgpack": metadata.version("msgpack"), "gpu": "true", "cameras": "2", "bus": "i2c", "f": "0.5"}
    assert faults == ()


def test_a_probe_may_stand_beside_tasks(tmp_path):
    """Its module may import what tasks import."""
    (tmp_path / "both.py").write_text("import dart_task\n\ndef probe():\n    return {'worker': dart_task.worker}\n")
    assert asked(tmp_path, [], ["both"]) == ({"worker": ""}, ())


def asked(folder, libraries, probes, limits=LIMITS, python=PYTHON):
    return ask(python, folder, limits, libraries=libraries, probes=probes, environment={})


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("return 1 // 0", "ZeroDivisionError: integer division"),
        ("raise SystemExit('no')", "SystemExit: no"),
        ("return ['gpu']", "must return a dict, not list"),
        ("return {'a': [1]}", "'a': list"),
        ("return {1: 'a'}", "1: str"),
    ],
)
def test_a_probe_that_fails_costs_its_facts_only(tmp_path, body, fault):
    """The others are told all the same."""
    probe(tmp_path, body, "bad")
    probe(tmp_path, "return {'good': 1}", "good")
    facts, (said,) = asked(tmp_path, [], ["bad", "good"])
    assert facts == {"good": "1"}
    assert said.startswith("bad: ")
    assert fault in said


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("import os; os._exit(3)", "ended with code 3 and told nothing"),
        ("import time; time.sleep(60)", "took more than 1 s (limit probe_seconds_max)"),
    ],
)
def test_a_probe_that_dies_or_hangs_is_ended(tmp_path, body, fault):
    """Within its time, with what it started."""
    probe(tmp_path, body)
    assert asked(tmp_path, [], ["found"], replace(LIMITS, probe_seconds_max=1.0)) == ({}, (_Containing(fault),))


def test_a_probe_that_is_not_there_or_climbs_out_is_refused(tmp_path):
    """As for tasks; and so is a Python that is none."""
    _, faults = asked(tmp_path, [], ["nowhere", "../up"], LIMITS)
    assert ["There is no module 'nowhere'" in faults[0], "climbs out" in faults[1]] == [True, True]
    assert asked(tmp_path, ["x"], [], python=tmp_path / "python3")[1] == (_Containing("cannot be started"),)


def test_facts_of_an_agent(tmp_path, caplog, confinement):
    """What HELLO cannot carry is left out and logged; without probes no process is started."""
    probe(tmp_path, "return {'ok': 'yes', 'bad': 'two\\nlines', 'long': 'x' * 300, '': 'empty'}")
    (tmp_path / "worker.json").write_text('{"name": "w", "probes": ["found"], "libraries": ["msgpack"]}')
    config = read_config(["--config", str(tmp_path / "worker.json")], LIMITS)
    assert (config.libraries, config.probes) == (("msgpack",), ("found",))
    with caplog.at_level(logging.WARNING):
        facts = facts_of(config, Policy(), LIMITS, confinement)
    assert (facts["ok"], facts["msgpack"]) == ("yes", metadata.version("msgpack"))
    assert not {"bad", "long", ""} & set(facts)
    assert len(caplog.records) == 3
    few = facts_of(config, Policy(), replace(LIMITS, facts_max=12), confinement)
    assert len(few) <= 12 - 2
    assert "facts_max" in caplog.records[-1].getMessage()
    assert "msgpack" not in facts_of(replace(config, libraries=(), probes=()), Policy(), LIMITS, confinement)


def test_failing_probes_are_logged(tmp_path, caplog, confinement):
    """The agent goes on without their facts."""
    config = read_config(["--name", "w", "--probe", "nowhere", "--module-prefix", str(tmp_path)], LIMITS)
    facts_of(config, Policy(), LIMITS, confinement)
    assert "a probe failed" in caplog.records[0].getMessage()


def test_probes_are_confined_as_tasks_are(tmp_path, confinement):
    """A task may have changed their modules; they have a scratch directory too, which is gone afterwards."""
    body = """status = open('/proc/self/status').read()
    return {'nnp': status.split('NoNewPrivs:')[1].split()[0], 'place': __import__('tempfile').gettempdir()}"""
    probe(tmp_path, body)
    config = read_config(["--name", "w", "--probe", "found", "--module-prefix", str(tmp_path)], LIMITS)
    facts = facts_of(config, Policy(), LIMITS, confinement)
    assert facts["nnp"] == "1"
    assert Path(facts["place"]).name.startswith("0-")
    assert not Path(facts["place"]).exists()


class _Containing(str):
    """Equal to every text that contains it."""

    __slots__ = ()

    def __eq__(self, other):
        return str(self) in other

    __hash__ = str.__hash__
