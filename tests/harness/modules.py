"""Task modules written into a folder, with the `worker.json` that points at it."""

import json
import textwrap
from pathlib import Path


def write_modules(folder: Path, **sources: str) -> Path:
    """Write each source as a module (`a__b` becomes `a/b.py`) and a `worker.json` beside; gives the latter's path."""
    prefix = folder / "modules"
    for name, source in sources.items():
        path = prefix / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
    (folder / "logs").mkdir(exist_ok=True)
    config = folder / "worker.json"
    config.write_text(json.dumps({"module_prefix": "modules", "output_directory": "logs"}))
    return config
