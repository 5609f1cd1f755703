"""From what an owner decides about runners to what each of them is started with."""

import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path

from dart.agent.blob_cache import BlobCache
from dart.agent.confinement import Confinement, Surroundings
from dart.agent.policy import Policy
from dart.agent.shared_block import SharedBlock
from dart.errors import ConfigError
from dart.limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorOptions:
    """What an agent's owner decides about runners."""

    slots: int
    worker: str
    host: str
    module_prefix: Path
    output_directory: Path
    python_home: Path | None = None
    """Prefix of the Python that runs the tasks; None: the agent's own."""
    shared_bytes: int = 0
    """Memory shared by all slots; 0: none."""
    policy: Policy = field(default_factory=Policy)
    home: Path | None = None
    """The agent's, which is kept from tasks; None: there is none, and this process is not an agent alone."""
    secret: tuple[Path, ...] = ()
    """Further folders that are kept from tasks."""
    blobs: BlobCache | None = None
    """What tasks read and write; None: there is none, and no task may name one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerPlan:
    """What each runner of an agent is started with."""

    python: Path
    """The interpreter: `python_home/bin/python3`."""
    module_prefix: Path
    worker: str
    host: str
    msgpack: Path
    """Folder of the msgpack package."""
    shared: SharedBlock | None
    policy: Policy
    confinement: Confinement
    limits: Limits
    blobs: BlobCache | None

    def close(self) -> None:
        """After the last runner."""
        self.confinement.close()
        if self.shared is not None:
            self.shared.close()


def runner_plan(options: SupervisorOptions, limits: Limits) -> RunnerPlan:
    """Make what all runners share.

    Raises:
        ConfigError: There is not so much shared memory, or tasks cannot be confined as the owner wants.
    """
    msgpack = _msgpack_folder()
    pythons = (options.python_home,) if options.python_home else (Path(sys.prefix), Path(sys.base_prefix))
    surroundings = Surroundings(
        home=options.home,
        secret=options.secret,
        module_prefix=options.module_prefix,
        needed=(*pythons, Path(__file__).resolve().parents[1], msgpack),
        memory_bytes=options.policy.memory_bytes_max or 0,
    )
    confinement = Confinement(options.policy.isolation, surroundings)
    try:
        shared = SharedBlock(options.shared_bytes) if options.shared_bytes else None
    except OSError as error:
        confinement.close()
        raise ConfigError(f"shm_size {options.shared_bytes}: {error.strerror}. Ask for less shared memory.") from None
    return RunnerPlan(
        python=options.python_home / "bin" / "python3" if options.python_home else Path(sys.executable),
        module_prefix=options.module_prefix.absolute(),
        worker=options.worker,
        host=options.host,
        msgpack=msgpack,
        shared=shared,
        policy=options.policy,
        confinement=confinement,
        limits=limits,
        blobs=options.blobs,
    )


def _msgpack_folder() -> Path:
    spec = importlib.util.find_spec("msgpack")
    if spec is None or spec.origin is None:
        raise ConfigError("The package msgpack is not installed in the agent's Python.")
    return Path(spec.origin).parent
