"""Checks `values.py` against the vectors; a program of the standard library, to be run in any Python from 3.9 on.

    python -I -S check_values.py VALUES_PY VECTORS_DIRECTORY [MSGPACK_DIRECTORY]

loads `values.py` by its path, as a runner does, with msgpack under its private name in the pure-Python form. Ends with
code 1 and a line for each vector that fails.
"""

import importlib.util
import json
import os
import struct
import sys
from pathlib import Path


def untag(tagged, values):  # noqa: PLR0911 - one branch a tag
    """The Python value that tagged JSON means; arrays and pickles in their opaque form."""
    if isinstance(tagged, list):
        return [untag(item, values) for item in tagged]
    if not isinstance(tagged, dict):
        return tagged
    ((tag, content),) = tagged.items()
    if tag == "$int":
        return int(content)
    if tag == "$float":
        return struct.unpack(">d", bytes.fromhex(content))[0]
    if tag == "$bytes":
        return bytes.fromhex(content)
    if tag == "$map":
        return {untag(key, values): untag(item, values) for key, item in content}
    if tag == "$timestamp":
        return values.Timestamp(int(content[0]), content[1])
    if tag == "$array":
        return values.Array(content["dtype"], tuple(content["shape"]), bytes.fromhex(content["data"]))
    if tag == "$blob":
        return values.BlobReference(
            bytes.fromhex(content["sha256"]), int(content["size"]), encoded=content.get("encoded", False)
        )
    version = tuple(content["version"])
    return values.Pickled(content["implementation"], version, content["protocol"], bytes.fromhex(content["data"]))


def same(found, expected, values):
    """Equality to the bit and the type; a datetime is the same as the timestamp it stands for."""
    if isinstance(expected, values.Timestamp) and type(found).__name__ == "datetime":
        epoch = type(found)(1970, 1, 1, tzinfo=found.tzinfo)
        since = found - epoch
        seconds = since.days * 86400 + since.seconds
        return (seconds, since.microseconds * 1000) == (expected.seconds, expected.nanoseconds)
    if type(found) is not type(expected):
        return False
    if isinstance(expected, float):
        return struct.pack(">d", found) == struct.pack(">d", expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(same(a, b, values) for a, b in zip(found, expected))  # noqa: B905
    if isinstance(expected, dict):
        return same([list(p) for p in found.items()], [list(p) for p in expected.items()], values)
    return found == expected


def check(values, vectors):
    """One line for each vector that fails."""
    failures = []
    for vector in json.loads((Path(vectors) / "values.json").read_text()):
        data = bytes.fromhex(vector["hex"])
        expected = untag(vector["value"], values)
        found = values.decode(data, opaque=True)
        if not same(found, expected, values):
            failures.append(f"{vector['name']}: decoded {found!r:.80}")
        written = vector.get("written", True)
        failures.extend(
            f"{vector['name']}: {value!r:.80} encoded {values.encode(value).hex():.80}"
            for value in (expected, found)
            if (values.encode(value) == data) is not written
        )
    for vector in json.loads((Path(vectors) / "refused.json").read_text())["values"]:
        try:
            found = values.decode(bytes.fromhex(vector["hex"]))
        except values.BadValue as error:
            if not str(error):
                failures.append(f"{vector['name']}: refused without a word")
        else:
            failures.append(f"{vector['name']}: not refused but {found!r:.80}")
    return failures


def load(name, path):
    """A module or package under a name of our own, without `sys.path`."""
    places = [str(Path(path).parent)] if Path(path).name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=places)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def main(values_path, vectors, msgpack_directory):
    """Load everything privately and check."""
    os.environ["MSGPACK_PUREPYTHON"] = "1"
    package = load("_dart_msgpack", Path(msgpack_directory) / "__init__.py")
    values = load("_dart_values", values_path)
    failures = check(values, vectors)
    foreign = sorted(name for name in sys.modules if name in ("msgpack", "numpy") or name.split(".")[0] == "dart")
    if foreign:
        failures.append(f"imported {foreign}")
    if package.Packer.__module__ != "_dart_msgpack.fallback":
        failures.append(f"msgpack is not its pure form but {package.Packer.__module__}")
    print("\n".join(failures) or "all vectors pass")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
