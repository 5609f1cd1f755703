"""Values on a foreign architecture: every vector, decoded and encoded there, and sent there and back to the bit."""

import json
from pathlib import Path

import msgpack
import numpy as np
import pytest

from dart.wire import values
from harness.foreign import PROJECT

VECTORS = json.loads((PROJECT / "tests/vectors/values.json").read_text())
PICKLES = [bytes.fromhex(row["hex"]) for row in VECTORS if "$pickle" in str(row["value"])]
PORTABLE = [row for row in VECTORS if "$pickle" not in str(row["value"]) and "$blob" not in str(row["value"])]
"""Sent to tasks there: a reference to a blob that is nowhere is refused."""
DTYPES = ["|b1", "|i1", "|u1", *(f"{order}{kind}" for order in "<>" for kind in ("i2", "u4", "i8", "f2", "f4", "f8"))]
DTYPES += [f"{order}{kind}" for order in "<>" for kind in ("c8", "c16", "U2", "M8[s]", "m8[ns]")]


@pytest.mark.parametrize("origin", ["the distribution's", "the newest"])
def test_the_module_of_values_passes_all_vectors_there(foreign, origin):
    """As a runner loads it: nothing installed, msgpack in its pure form, of the oldest and the newest version."""
    package = foreign.packages / "msgpack" if origin == "the distribution's" else Path(msgpack.__file__).parent
    done = foreign.run(
        "-I", "-S", "tests/harness/check_values.py", "src/dart/wire/values.py", "tests/vectors", str(package)
    )
    assert (done.returncode, done.stdout) == (0, "all vectors pass\n"), done.stdout + done.stderr


@pytest.mark.parametrize("worker", ["plain", "numpy"])
def test_every_value_comes_back_to_the_bit(installation, worker):
    """From a native client through a native server to a task there, and back; longer forms come back as shortest."""
    sent = [bytes.fromhex(row["hex"]) for row in PORTABLE]
    shortest = [values.encode(values.decode(data, opaque=True)) for data in sent]
    assert [data for data, row in zip(sent, PORTABLE, strict=True) if row.get("written", True)] == [
        data for data, row in zip(shortest, PORTABLE, strict=True) if row.get("written", True)
    ]
    back = installation.exchange("echo", sent, worker)
    wrong = {row["name"]: came for row, came, wanted in zip(PORTABLE, back, shortest, strict=True) if came != wanted}
    assert wrong == {}


def test_a_pickle_is_refused_there(installation):
    """Nobody has allowed it, and the error says what it was."""
    assert PICKLES
    for answer in installation.exchange("echo", PICKLES, "plain"):
        assert isinstance(answer, str)
        assert "pickle" in answer


def test_arrays_of_both_byte_orders_are_the_same_numbers_there(installation):
    """Numpy there reads what numpy here wrote, element by element, whatever the order of either machine."""
    arrays = [_samples(dtype) for dtype in DTYPES]
    (answer,) = installation.exchange("numbers", [values.encode(arrays)], "numpy")
    assert isinstance(answer, bytes), answer
    assert values.decode(answer) == [[one.dtype.str, ascii(one.tolist())] for one in arrays]


def test_arrays_made_there_are_the_same_numbers_here(installation):
    """Native arrays of that machine carry their byte order; others keep theirs."""
    native = ["i2", "i4", "i8", "f4", "f8", "c16"]
    both = [f"{order}{kind}" for order in "<>" for kind in ("i2", "f2", "f8")]
    (answer,) = installation.exchange("made", [values.encode([*native, *both])], "numpy")
    assert isinstance(answer, bytes), answer
    (told,) = installation.exchange("word_and_order", [values.encode(None)], "numpy")
    order = {"little": "<", "big": ">"}[values.decode(told)[1]]
    arrays = values.decode(answer)
    assert [array.dtype.str for array in arrays] == [order + kind for kind in native] + both
    for array in arrays:
        expected = (np.arange(6).reshape(2, 3) - 1.5).astype(array.dtype)
        assert array.tobytes() == expected.tobytes()


def _samples(dtype: str):
    """Six numbers that use all bytes of the type, in two dimensions."""
    kind = np.dtype(dtype).kind
    if kind in "iu":
        info = np.iinfo(dtype)
        return np.array([[info.min, info.max, 1], [2, 3, info.max // 3]], dtype)
    if kind == "U":
        return np.array([["a", "é", "中"], ["😀", "", "zz"]], dtype)
    return (np.arange(6).reshape(2, 3) * 3 - 2).astype(dtype)
