"""DART, the Distributed Analytics RunTime: Python functions that live on named workers, called from anywhere."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dart_client import Client as Client

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Give `dart.Client` without loading the SDK into agents, which never ask for it."""
    if name == "Client":
        from dart_client import Client  # noqa: PLC0415 - lazy on purpose

        return Client
    raise AttributeError(f"module 'dart' has no attribute {name!r}")
