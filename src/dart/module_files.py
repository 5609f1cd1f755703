"""What may be pushed to workers as a module: one file `NAME.py`, or a package `NAME/...` with its `__init__.py`."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

from dart.errors import InvalidRequestError
from dart.limits import Limits

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_FILE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
"""One part of a path below a package: nothing hidden, nothing that climbs."""
DEPTH_MAX: Final = 16


def name_of(files: Mapping[str, bytes], limits: Limits) -> str:
    """The name of the module that these files are.

    Args:
        files: By path, `/` between folders.
        limits: How many, and how large together.

    Raises:
        InvalidRequestError: They are no module; the message says why.
    """
    if not files or len(files) > limits.module_files_max:
        raise InvalidRequestError(f"A module has 1 to {limits.module_files_max} files (limit module_files_max).")
    size = sum(map(len, files.values()))
    if size > limits.module_bytes_max:
        raise InvalidRequestError(
            f"The module has {size} bytes, at most {limits.module_bytes_max} are taken (limit module_bytes_max)."
        )
    for path in files:
        parts = path.split("/")
        if len(parts) > DEPTH_MAX or not all(_FILE.fullmatch(part) for part in parts):
            raise InvalidRequestError(
                f"{path!r:.200} is no path of a module's file: parts of letters, digits, `_`, `-` and `.`, none of "
                f"which begins with a dot, at most {DEPTH_MAX} of them."
            )
    if any(str(folder) in files for path in files for folder in PurePosixPath(path).parents):
        raise InvalidRequestError("A path of the module is a file and a folder.")
    first = next(iter(files))
    name = first.partition("/")[0]
    if len(files) == 1 and "/" not in first:
        name = first.removesuffix(".py") if first.endswith(".py") else ""
    elif f"{name}/__init__.py" not in files or any(path.partition("/")[0] != name or "/" not in path for path in files):
        name = ""
    if not _NAME.fullmatch(name):
        raise InvalidRequestError(
            "The files must be one NAME.py, or all below one NAME/ with a NAME/__init__.py; NAME is a Python name."
        )
    return name
