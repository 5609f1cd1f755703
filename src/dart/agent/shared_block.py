"""Memory that is passed to runners as a descriptor: anonymous, gone with its last user."""

import contextlib
import errno
import os

from dart.wire.messages import Buffer


class SharedBlock:
    """Memory that all runners of an agent map: `dart_task.shared_memory()`.

    Args:
        size: Bytes; all zero at first.

    Raises:
        OSError: The system does not give so much.
    """

    def __init__(self, size: int) -> None:
        if size > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
            # The kernel would agree, and kill the task that writes to the part that does not exist.
            raise OSError(errno.ENOMEM, "this machine has less memory")
        self.size = size
        self.descriptor = _anonymous("dart-shared")
        try:
            os.ftruncate(self.descriptor, size)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close it here; the runners keep what they have mapped."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def passed_block(data: Buffer) -> int:
    """A descriptor of a file in memory with these bytes; the caller closes it.

    Raises:
        OSError: No memory or no descriptor left.
    """
    descriptor = _anonymous("dart-parameter")
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _anonymous(name: str) -> int:
    with contextlib.suppress(AttributeError, OSError):
        return os.memfd_create(name)
    import tempfile  # noqa: PLC0415 - needed on old kernels and some emulators only, and large

    descriptor, path = tempfile.mkstemp(prefix=name)
    os.unlink(path)  # noqa: PTH108 - the descriptor is what counts
    return descriptor
