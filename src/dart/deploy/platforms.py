"""Names of platforms, and which wheels run on each."""

import re
from typing import NamedTuple

from dart.errors import ConfigError

PYTHON_LEAST = (3, 11)
"""The oldest Python that the agent runs on."""
_GLIBC_LEAST, _MUSL_NEWEST = 17, 2
_OLD_NAMES = {17: "manylinux2014"}
_GLIBC_NEWEST = {
    # What hosts with such a Python have: Red Hat 8 and whatever came later,
    "x86_64": 28,
    "aarch64": 28,
    "i686": 28,
    # or Debian 12, or for the newest machine 13.
    "armv6l": 36,
    "armv7l": 36,
    "ppc64le": 36,
    "s390x": 36,
    "riscv64": 41,
}
NAMES = (*(f"linux_{machine}" for machine in _GLIBC_NEWEST), "musllinux_x86_64", "musllinux_aarch64")
"""What `--platform` takes: the C library's kind and the machine, as Python calls it."""


class Target(NamedTuple):
    """What a bundle is made for."""

    platform: str
    python: tuple[int, int]

    @property
    def python_text(self) -> str:
        """`3.11`."""
        return ".".join(map(str, self.python))

    @property
    def tags(self) -> tuple[str, ...]:
        """Platform tags of wheels that run there, best first."""
        system, _, machine = self.platform.partition("_")
        if system == "musllinux":
            return tuple(f"musllinux_1_{minor}_{machine}" for minor in range(_MUSL_NEWEST, 0, -1))
        minors = range(_GLIBC_NEWEST[machine], _GLIBC_LEAST - 1, -1)
        new = [f"manylinux_2_{minor}_{machine}" for minor in minors]
        old = [f"{_OLD_NAMES[minor]}_{machine}" for minor in minors if minor in _OLD_NAMES]
        return (*new, *old, self.platform)


def target(platform: str, python: str) -> Target:
    """From what a person wrote.

    Raises:
        ConfigError: There is no such platform, or the agent does not run on such a Python.
    """
    if platform not in NAMES:
        raise ConfigError(f"--platform {platform!r} is none that is known; there are {', '.join(NAMES)}.")
    version = re.fullmatch(r"3\.([0-9]{1,2})", python)
    if version is None or (3, int(version[1])) < PYTHON_LEAST:
        raise ConfigError(f"--python {python!r} must be a version from 3.11 on, such as 3.11.")
    return Target(platform, (3, int(version[1])))
