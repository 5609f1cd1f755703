"""The examples, run as their READMEs say; the word count is in `test_demo.py`."""

import re
import subprocess
import sys
from pathlib import Path

from dart_client.testing import installation

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(script: Path, *words: str, **options) -> str:
    done = subprocess.run(
        [sys.executable, script, *words], capture_output=True, text=True, check=False, timeout=100, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_federated_averaging_learns_from_all_three():
    """Each worker prepares itself once and takes part; the averaged model is right on more than nine in ten rows."""
    told = run(EXAMPLES / "federated" / "average.py")
    rows = {name: int(count) for name, count in re.findall(r"(\w+) has (\d+) rows", told)}
    assert set(rows) == {"north", "south", "west"}
    assert sum(rows.values()) == 150
    assert "round 12: 3 answers" in told
    assert float(re.findall(r"([\d.]+)% of all flowers", told)[0]) > 94


def test_a_sweep_draws_its_plot_and_goes_on_after_an_interruption(tmp_path):
    """A row for each combination and a picture; begun again, nothing that was done is asked for a second time."""
    with installation(EXAMPLES / "sweep", slots=2) as dart:
        script = EXAMPLES / "sweep" / "sweep.py"
        told = run(script, "--running", "--output", str(tmp_path), env=dart.environment)
        assert told.startswith("432 runs in ")
        first = (tmp_path / "sweep.csv").read_text()
        run(script, "--running", "--output", str(tmp_path), env=dart.environment)
        assert dart.client.job_info("epidemic-sweep")["tasks"] == {"succeeded": 432}
    assert (tmp_path / "sweep.csv").read_text() == first
    assert first.count("\n") == 433
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_a_thermometer_is_found_by_what_the_machine_tells(tmp_path, monkeypatch):
    """Only the worker whose probe finds one is asked."""
    zone = tmp_path / "thermal" / "thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "temp").write_text("47250\n")
    monkeypatch.setenv("THERMOMETER", str(zone.parent))
    policy = tmp_path / "policy.json"
    policy.write_text('{"environment": ["PATH", "THERMOMETER"]}')
    policy.chmod(0o600)
    config = str(EXAMPLES / "sensor" / "worker.json")
    with installation(EXAMPLES / "sensor", workers=["plain"]) as dart:
        dart.start_worker("pi", "--config", config, "--policy", str(policy))
        told = run(EXAMPLES / "sensor" / "measure.py", env=dart.environment)
    assert told == "pi: 47.2 to 47.2 C\none more, from pi\n"
