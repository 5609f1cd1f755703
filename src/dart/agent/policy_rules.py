"""Rules of a policy: `module:method`, exact or with `*`, and how they are compared with what a task names."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from dart.agent.runner_modules import ModuleFaultError, plain_method, relative_path
from dart.errors import ConfigError

_ANY_PARTS = "**"


class Rule(NamedTuple):
    """One rule. `*` stands for any letters within a part of a path, `**` for any number of parts."""

    module: str
    method: str

    @property
    def exact(self) -> bool:
        """Whether it is just one name."""
        return "*" not in self.module + self.method


def read_rule(name: str, text: str) -> Rule:
    """The rule that a text of the member `name` is.

    Raises:
        ConfigError: It could never match, or looks like something that it is not.
    """
    where = f"{name}: {text!r:.120}"
    module, colon, method = text.partition(":")
    if not colon or not module or not method or ":" in method:
        raise ConfigError(f"{where} must be MODULE:METHOD, such as folder/module:method or folder/**:*")
    if not text.isprintable() or any(sign in text for sign in "?[]{}\\"):
        raise ConfigError(f"{where} has a letter with no meaning in a rule; patterns are made of * and ** only")
    if module.startswith("/"):
        raise ConfigError(f"{where}: paths are relative to the module prefix, without a leading /")
    parts = module.split("/")
    if "**" in method or any("**" in part and part != _ANY_PARTS for part in parts):
        raise ConfigError(f"{where}: ** stands alone between two / of a path, for any number of parts")
    if module.endswith((".py", "/__init__")):
        raise ConfigError(f"{where}: a module is named without .py, a package by its folder")
    try:
        relative_path(module)
        plain_method(method.replace("*", "a"))
    except ModuleFaultError as fault:
        raise ConfigError(f"{where} can never run: {fault}") from None
    if canonical(method) != method:
        raise ConfigError(f"{where}: Python spells this method {canonical(method)!r}")
    return Rule(module, method)


def canonical(text: str) -> str:
    """One spelling for what Python, or a file system, may take for the same name."""
    if text.isascii():
        return text
    import unicodedata  # noqa: PLC0415 - a megabyte, for names that are seldom

    return unicodedata.normalize("NFKC", text)


def matches(rule: Rule, module: str, method: str) -> bool:
    """Whether a rule means this method."""
    if rule.method != "*" and not _fits(rule.method, method):
        return False
    if "*" not in rule.module:
        return rule.module == module
    return _wild(rule.module.split("/"), module.split("/"), _ANY_PARTS, _fits)


def _fits(pattern: str, text: str) -> bool:
    return pattern == text or ("*" in pattern and _wild(pattern, text, "*", _same))


def _same(one: str, other: str) -> bool:
    return one == other


def _wild(pattern: Sequence[str], text: Sequence[str], star: str, fits: Callable[[str, str], bool]) -> bool:
    """Whether they match, `star` standing for any run; time is at most the product of the lengths."""
    at = place = 0
    star_at, resume = -1, 0
    while place < len(text):
        if at < len(pattern) and pattern[at] == star:
            star_at, resume = at, place
            at += 1
        elif at < len(pattern) and fits(pattern[at], text[place]):
            at += 1
            place += 1
        elif star_at >= 0:
            # The last star takes one more.
            resume += 1
            at, place = star_at + 1, resume
        else:
            return False
    return all(part == star for part in pattern[at:])
