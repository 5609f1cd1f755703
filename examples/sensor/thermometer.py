"""Lives on the machines that have a thermometer: reads it some times and tells what it read."""

import os
import time
from pathlib import Path

import dart_task

ZONES = Path(os.environ.get("THERMOMETER", "/sys/class/thermal"))


def probe():
    """What `worker.json` names as a probe: the machine tells whether it has one, nobody has to declare it."""
    return {"thermometer": any(ZONES.glob("thermal_zone*/temp"))}


def read(parameter):
    """Temperatures in degrees Celsius, as many as wanted."""
    source = next(iter(sorted(ZONES.glob("thermal_zone*/temp"))))
    readings = []
    for number in range(parameter["count"]):
        if dart_task.cancelled():
            break
        readings.append(int(source.read_text()) / 1000)
        dart_task.progress((number + 1) / parameter["count"], f"{readings[-1]} C")
        time.sleep(parameter["pause"])
    return {"host": dart_task.host, "readings": readings}
