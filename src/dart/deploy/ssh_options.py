"""How hosts are reached; apart from `ssh.py`, so that whoever only says it does not load fabric."""

from dataclasses import dataclass, field
from pathlib import Path

KNOWN, ACCEPT_NEW = "known", "accept-new"


@dataclass(frozen=True, slots=True, kw_only=True)
class SshOptions:
    """How hosts are reached."""

    username: str = ""
    """Empty: as `~/.ssh/config` says, or the server's own user."""
    port: int = 0
    """0: as `~/.ssh/config` says, or 22."""
    private_key: Path | None = None
    passphrase: str = field(default="", repr=False)
    host_keys: str = KNOWN
    """`known`, `accept-new`, or fingerprints (`SHA256:...`) with commas between them."""
    known_hosts: Path | None = None
    """Where accepted keys are kept, beside the user's and the system's own files."""
