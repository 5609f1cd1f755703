"""Memory in descriptors, with and without the kernel's own kind."""

import os
from pathlib import Path

import pytest

from dart.agent.shared_block import SharedBlock, passed_block


@pytest.fixture(params=["memfd", "file"], autouse=True)
def kind(request, monkeypatch):
    """Old kernels have no memfd_create; a file without a name does the same."""
    if request.param == "file":
        monkeypatch.delattr(os, "memfd_create")


def test_a_passed_block_holds_the_bytes():
    """From bytes and from a view, also none at all."""
    for data in (b"", b"abc", memoryview(b"x" * 100_000)):
        block = passed_block(data)
        assert os.pread(block, 200_000, 0) == bytes(data)
        assert os.fstat(block).st_nlink == 0
        os.close(block)


def test_a_shared_block_is_zero_and_of_its_size():
    """It is closed once, however often that is asked."""
    block = SharedBlock(5000)
    assert os.pread(block.descriptor, 6000, 0) == bytes(5000)
    block.close()
    block.close()


@pytest.mark.parametrize("size", [1 << 60, -1])
def test_an_impossible_size_is_an_error(size):
    """More than the machine has, or less than nothing; no descriptor is left."""
    before = sorted(Path("/proc/self/fd").iterdir())
    with pytest.raises(OSError, match=r"memory|argument"):
        SharedBlock(size)
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_a_full_system_is_an_error(monkeypatch):
    """The descriptor is closed again."""
    before = sorted(Path("/proc/self/fd").iterdir())
    monkeypatch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "no space")))
    with pytest.raises(OSError, match="no space"):
        passed_block(b"abc")
    assert sorted(Path("/proc/self/fd").iterdir()) == before
