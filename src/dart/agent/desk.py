"""What a broker may ask the agent itself, beside all tasks: what is here, and to take modules, if the owner allows it.

One question at a time, in a thread: it may start a process or write files. Whatever goes wrong is an answer.
"""

import logging
import queue
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Final

import msgpack
import zmq

from dart import __version__
from dart.agent import events
from dart.agent.config import AgentConfig
from dart.agent.confinement import Confinement
from dart.agent.policy import Policy
from dart.agent.probing import asked
from dart.agent.pushed_modules import PushedModules
from dart.errors import DartError
from dart.limits import Limits
from dart.wire import values
from dart.wire.messages import PROTOCOL_VERSION, Ask

_LOG = logging.getLogger("dart.agent")
_SHOWN: Final = ("numpy",)
"""Libraries whose versions are told beside those that `worker.json` names."""


class Desk:
    """Answers questions; give them with `take`.

    Args:
        policy: What the owner allows.
        modules: Where pushed modules lie.
        versions: Asks the owner's Python; what it told, and what went wrong.
        emit: Called from the thread with an `events.Answered`.
    """

    def __init__(
        self,
        policy: Policy,
        modules: PushedModules,
        versions: Callable[[], tuple[Mapping[str, str], tuple[str, ...]]],
        emit: Callable[[events.Answered], None],
    ) -> None:
        self._policy = policy
        self._modules = modules
        self._versions = versions
        self._emit = emit
        self._waiting: queue.SimpleQueue[Ask | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._does: dict[str, Callable[[Ask], dict[str, str]]] = {
            "about": self._tell_about,
            "modules": lambda _: self._modules.listed(),
            "push": self._push,
            "remove": self._remove,
        }

    def take(self, question: Ask) -> None:
        """Answer this when its turn comes; the core bounds how many wait."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="dart desk", daemon=True)
            self._thread.start()
        self._waiting.put(question)

    def close(self) -> None:
        """Answer nothing more; what is being answered is told to nobody."""
        self._emit = lambda _: None
        if self._thread is not None:
            self._waiting.put(None)

    def _run(self) -> None:
        while (question := self._waiting.get()) is not None:
            self._emit(self._answer(question))

    def _answer(self, question: Ask) -> events.Answered:
        do = self._does.get(question.what)
        if do is None:
            return events.Answered(question.nonce, f"this agent cannot tell {question.what!r:.100}", {})
        try:
            facts = do(question)
        except DartError as error:
            return events.Answered(question.nonce, error.message, {})
        except OSError as error:
            return events.Answered(question.nonce, f"{error.filename}: {error.strerror}", {})
        except Exception as error:  # noqa: BLE001 - a fault of ours must not leave the broker without an answer
            _LOG.exception("a question of the broker could not be answered")
            return events.Answered(question.nonce, f"it failed: {type(error).__name__}", {})
        return events.Answered(question.nonce, "", facts, renew=question.what in {"push", "remove"})

    def _tell_about(self, _: Ask) -> dict[str, str]:
        found, faults = self._versions()
        return {
            "agent_version": __version__,
            "protocol": str(PROTOCOL_VERSION),
            "agent_python": sys.version.split()[0],
            "pyzmq": zmq.__version__,
            "libzmq": zmq.zmq_version(),
            "msgpack": ".".join(map(str, msgpack.version)),
            **found,
            **({"fault": "; ".join(faults)} if faults else {}),
        }

    def _push(self, question: Ask) -> dict[str, str]:
        self._check_allowed()
        files = values.decode(question.data)
        if not isinstance(files, dict) or not all(
            isinstance(path, str) and isinstance(content, bytes) for path, content in files.items()
        ):
            raise _RefusedError("the files are no map from paths to bytes")
        name, version = self._modules.push(files)
        _LOG.info("module pushed/%s was pushed, SHA-256 %s", name, version)
        return {name: version}

    def _remove(self, question: Ask) -> dict[str, str]:
        self._check_allowed()
        if not self._modules.remove(question.name):
            raise _RefusedError(f"there is no pushed module {question.name!r:.200} here")
        _LOG.info("module pushed/%s was removed", question.name)
        return {}

    def _check_allowed(self) -> None:
        if not self._policy.accept_modules:
            raise _RefusedError("accept_modules is not set in the policy of this worker's owner")


class _RefusedError(DartError):
    """Not done; the message says why."""


def versions_of(
    config: AgentConfig, policy: Policy, limits: Limits, confinement: Confinement
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Versions and faults as the owner's Python tells them, in a process started and confined as runners are."""
    return asked(config, policy, limits, confinement, libraries=(*_SHOWN, *config.libraries), probes=(), about=True)
