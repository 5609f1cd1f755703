"""The owner's policy on an agent, pure: what its file may say, and what then may run.

Nothing of it is ever sent, and nothing that a broker sends can change it. `policy_file.py` finds and reads the file;
`docs/policy.md` is written for owners.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from dart.agent.isolation import Isolation, read_isolation
from dart.agent.policy_rules import Rule, canonical, matches, read_rule
from dart.agent.runner_modules import ModuleFaultError, demand, plain_method, relative_path
from dart.errors import ConfigError, TaskErrorCode

ENVIRONMENT: Final = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TMPDIR", "TZ", "LANG", "LANGUAGE", "LC_*"),
    *("LD_LIBRARY_PATH", "CUDA_*", "NVIDIA_*", "ROCR_*", "HIP_*", "OMP_*", "MKL_*", "OPENBLAS_*", "NUMEXPR_*"),
)
"""Variables that tasks get without a policy: where things are, language and hardware; nothing that is ever a secret."""
NEVER_PASSED: Final = ("DART_", "PYTHON", "MSGPACK_")
"""Variables that begin like this never reach a task: they are DART's own, or would change the owner's Python."""
_JUDGED_MAX: Final = 10_000
"""Calls whose verdict is remembered; then it is begun anew."""
_BYTES_MAX: Final = 1 << 62
_MEMORY_BYTES_LEAST: Final = 32 << 20


class Refusal(NamedTuple):
    """Why a call does not run."""

    error_code: int
    """`errors.TaskErrorCode`."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the owner decided; without arguments, what holds where there is no file."""

    allow: tuple[Rule, ...] | None = None
    """None: whatever the modules below `module_prefix` offer."""
    deny: tuple[Rule, ...] = ()
    """Stronger than `allow`."""
    parameter_bytes_max: int | None = None
    result_bytes_max: int | None = None
    task_seconds_max: float | None = None
    memory_bytes_max: int | None = None
    """Of one task's process."""
    accept_pickle: bool = False
    """Whether parameters may hold pickles, which run code when they are read."""
    accept_code: bool = False
    """Whether a task may bring its own code."""
    accept_modules: bool = False
    """Whether the server's administrators may push modules, to lie below `pushed/`."""
    environment: tuple[str, ...] = ENVIRONMENT
    """Names and patterns of the agent's variables that tasks get."""
    audit: bool = True
    """Whether each task gets its line in the audit log."""
    isolation: Isolation = field(default_factory=Isolation)
    path: str = ""
    """The file; empty: none, these are the defaults."""
    sha256: str = ""
    """Of the file's bytes, in hex."""
    _judged: dict[tuple[str, str], Refusal | None] = field(
        default_factory=dict, init=False, repr=False, compare=False, hash=False
    )

    _named: frozenset[tuple[str, str]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Keep at hand what is asked for each task."""
        object.__setattr__(self, "_named", frozenset(rule for rule in self.allow or () if rule.exact))

    @property
    def has_rules(self) -> bool:
        """Whether names matter: then a method counts under its own module only, and links are not followed."""
        return self.allow is not None or bool(self.deny)

    def refusal(
        self, module_path: str, method: str, *, parameter_bytes: int = 0, ships_code: bool = False
    ) -> Refusal | None:
        """Why this call may not run here; None: it may, as far as can be told without its module."""
        key = (module_path, method)
        try:
            refusal = self._judged[key]
        except KeyError:
            if len(self._judged) >= _JUDGED_MAX:
                self._judged.clear()
            refusal = self._judged[key] = self._judge(module_path, method)
        if refusal is not None:
            return refusal
        if ships_code and not self.accept_code:
            return _refused("tasks that bring their own code are not accepted (accept_code)")
        if self.parameter_bytes_max is not None and parameter_bytes > self.parameter_bytes_max:
            return _refused(
                f"the parameter has {parameter_bytes} bytes, at most {self.parameter_bytes_max} are accepted "
                "(parameter_bytes_max)"
            )
        return None

    def _judge(self, module_path: str, method: str) -> Refusal | None:
        try:
            relative = relative_path(module_path)
            plain_method(method)
        except ModuleFaultError as fault:
            return Refusal(fault.code, str(fault))
        if any(matches(rule, canonical(relative), canonical(method)) for rule in self.deny):
            return _refused(f"{relative + ':' + method!r} is denied (deny)")
        if self.allow is not None and not any(matches(rule, relative, method) for rule in self.allow):
            return _refused(f"{relative + ':' + method!r} is not among what is allowed (allow)")
        return None

    def names(self, module_path: str, method: str) -> bool:
        """Whether a rule without patterns allows just this: the owner wants it to run, whatever it is."""
        return bool(self._named) and (demand(module_path)[0].removeprefix("/"), method) in self._named

    def result_refusal(self, result_bytes: int, *, least: int = 0) -> Refusal | None:
        """Why this result does not leave; None: it may. So many bytes as `least` may in any case."""
        if self.result_bytes_max is None or result_bytes <= max(self.result_bytes_max, least):
            return None
        return _refused(
            f"the result has {result_bytes} bytes, at most {self.result_bytes_max} are let out (result_bytes_max)"
        )

    def seconds_max(self, timeout_seconds: float) -> float:
        """How long a task with this timeout (0: none) may run; 0: as long as it likes."""
        if self.task_seconds_max is None:
            return timeout_seconds
        return min(timeout_seconds, self.task_seconds_max) if timeout_seconds > 0 else self.task_seconds_max

    def passed_on(self, environment: Mapping[str, str]) -> dict[str, str]:
        """What tasks get of the agent's variables."""
        return {
            name: text
            for name, text in environment.items()
            if not name.startswith(NEVER_PASSED) and any(_is_meant(pattern, name) for pattern in self.environment)
        }


def _refused(text: str) -> Refusal:
    return Refusal(TaskErrorCode.POLICY_REFUSED, f"The policy of this worker's owner refuses this task: {text}.")


def _is_meant(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


# ---- reading ----


def read_policy(members: object, *, path: str = "", sha256: str = "") -> Policy:
    """The policy that a file's content says.

    Raises:
        ConfigError: It is no object, a member is unknown or of a wrong type; the message names it.
    """
    if not isinstance(members, dict):
        raise ConfigError("it must be an object with members such as `allow`")
    unknown = sorted(str(name) for name in members if name not in _READERS)
    if unknown:
        raise ConfigError(f"{unknown[0]!r:.80} is no member of a policy; those are {', '.join(sorted(_READERS))}")
    read: dict[str, Any] = {name: _READERS[name](name, value) for name, value in members.items()}
    return Policy(**read, path=path, sha256=sha256)


def _texts(name: str, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ConfigError(f"{name} must be a list of texts")
    return value


def _rules(name: str, value: object) -> tuple[Rule, ...]:
    return tuple(read_rule(name, text) for text in _texts(name, value))


def _deny(name: str, value: object) -> tuple[Rule, ...]:
    return tuple(
        rule._replace(module=canonical(rule.module), method=canonical(rule.method)) for rule in _rules(name, value)
    )


def _yes_or_no(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be true or false")
    return value


def _bytes(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _BYTES_MAX:
        raise ConfigError(f"{name} must be a whole number of bytes, 0 or more")
    return value


def _memory(name: str, value: object) -> int:
    size = _bytes(name, value)
    if size < _MEMORY_BYTES_LEAST:
        raise ConfigError(f"{name} must be at least {_MEMORY_BYTES_LEAST}: an empty Python needs as much")
    return size


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1e9:
        raise ConfigError(f"{name} must be a number of seconds, more than 0")
    return float(value)


def _variables(name: str, value: object) -> tuple[str, ...]:
    variables = _texts(name, value)
    for variable in variables:
        plain = variable.removesuffix("*")
        if not variable or not variable.isprintable() or "=" in plain or "*" in plain:
            raise ConfigError(f"{name}: {variable!r:.80} is no variable's name, nor one that ends in `*`")
        if plain.startswith(NEVER_PASSED):
            raise ConfigError(f"{name}: {variable!r:.80} can never be passed on; {', '.join(NEVER_PASSED)}... are not")
    return tuple(variables)


def _isolation(name: str, value: object) -> Isolation:
    if not isinstance(value, dict):
        raise ConfigError(f"{name} must be an object")
    return read_isolation(value)


_READERS: Final[dict[str, Callable[[str, object], object]]] = {
    "allow": _rules,
    "deny": _deny,
    "parameter_bytes_max": _bytes,
    "result_bytes_max": _bytes,
    "task_seconds_max": _seconds,
    "memory_bytes_max": _memory,
    "accept_pickle": _yes_or_no,
    "accept_code": _yes_or_no,
    "accept_modules": _yes_or_no,
    "environment": _variables,
    "audit": _yes_or_no,
    "isolation": _isolation,
}
