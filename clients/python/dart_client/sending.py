"""Functions by value: the source of their module is pushed to the workers, whose owners must allow it."""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from typing import TYPE_CHECKING, Any, Callable

from dart_client.errors import ForbiddenError

if TYPE_CHECKING:
    from dart_client.client import Client


def push_function(client: Client, function: Callable[[Any], Any], location: str) -> tuple[str, str]:
    """Bring a function to the workers; module path, with the hash of this very source, and method.

    Args:
        client: Its key must be an administrator's.
        function: Of a module with a source, or of the main program or a notebook: then it is sent alone.
        location: The worker that must take it; empty: all that are connected.

    Raises:
        ValueError: It has no name or no source.
        ForbiddenError: A worker did not take it; the message says which and why.
    """
    name, source = source_of(function)
    agents = client.push_module(name, source, worker_regex=re.escape(location))
    refused = [f"{agent['worker']}: {agent['error']}" for agent in agents if "error" in agent]
    if refused or not agents:
        raise ForbiddenError(
            f"The module {name!r} did not get to all workers: {'; '.join(refused) or 'none is connected'}. "
            "Their owners allow it by `accept_modules` in their policies; `location=` names one worker."
        )
    return f"pushed/{name}@sha256:{agents[0]['modules'][name]}", function.__name__


def source_of(function: Callable[[Any], Any]) -> tuple[str, str]:
    """Name and text of the module that has the function: its own, or for one of the main program, it alone.

    Raises:
        ValueError: It has no name, or there is no source.
    """
    module = getattr(function, "__module__", None) or ""
    if not getattr(function, "__qualname__", "").isidentifier() or module not in sys.modules:
        raise ValueError(f"{function!r} has no name in a module: lambdas, methods and inner functions cannot be sent.")
    try:
        if module == "__main__":
            return f"{function.__name__}_alone", textwrap.dedent(inspect.getsource(function))
        return module.rpartition(".")[2], inspect.getsource(sys.modules[module])
    except (OSError, TypeError) as error:
        raise ValueError(f"{function!r} has no source that could be sent; write it to a file.") from error
