"""Finding and importing the owner's modules in a runner; standard library only, Python 3.9 or later.

A module path is relative to the worker's `module_prefix`, `/` between folders, no `.py`. The module is loaded from its
very file, never looked up by name, and kept under its full relative path; its folder is appended to `sys.path`,
so that what lies beside it can be imported but never stands in front of anything else.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys

TYPE_CHECKING = False  # importing `typing` would cost every runner memory
if TYPE_CHECKING:
    from typing import Any

_OFFERED_MAX = 1000  # methods remembered as offered; then it is begun anew
PUSHED = "pushed"
"""Modules that a server sent lie below this folder of the prefix."""
_DEMAND = "@sha256:"
_LIBRARIES = ("site-packages", "dist-packages", "__pypackages__")
_INSTALLED = "Libraries are for modules to import, not for tasks to call; write a module that offers what is wanted."


class ModuleFaultError(Exception):
    """What is asked for cannot be run; the message says why, `code` is the task's error code."""

    code = 0


class RefusedError(ModuleFaultError):
    """This path is never run here."""

    code = 103


class NotThereError(ModuleFaultError):
    """There is no such module or method where it was looked for."""

    code = 102


class NotOfferedError(ModuleFaultError):
    """The module has this, but does not offer it to whoever submits tasks."""

    code = 106


class DiffersError(ModuleFaultError):
    """The module here is another than the job names."""

    code = 108


class Modules:
    """The modules of one runner, each imported once and kept.

    Args:
        prefix: The folder that module paths are relative to.
        files: The module `runner_files`.
        by_rules: Whether the owner has rules about names. Then a method counts under its own module only, and no
            module has a second path.
    """

    fault = ModuleFaultError

    def __init__(self, prefix: str, files: Any, *, by_rules: bool = False) -> None:
        self._prefix = prefix
        self._files = files
        self._by_rules = by_rules
        self._kept: dict[str, object] = {}
        self._offered: dict[tuple[str, str], object] = {}
        self._hashes: dict[str, str] = {}
        self._places: dict[str, tuple[str, bool, int]] = {}  # file, whether a package, and its state at the import

    def find(self, module_path: str, method: str, *, named: bool = False) -> object:
        """The callable of this name in this module.

        With `named` the owner has allowed just this one, whatever it is; else the module must offer it.

        Raises:
            RefusedError: The path leads out of the prefix.
            NotThereError: No such file, or no such callable in it.
            NotOfferedError: The module does not offer it.
            DiffersError: The path demands a module with another SHA-256.
            BaseException: Whatever the module raised while it was imported; it is tried again next time.
        """
        offered = self._offered.get((module_path, method))
        if offered is None:
            plain_method(method)
        module = self._kept.get(module_path)
        if module is None:
            relative = relative_path(module_path)
            # Before any of its code runs.
            self._check_demand(relative, demand(module_path)[1])
            module = self._kept.get(relative)
            if module is None:
                module = self._kept[relative] = self._load(relative)
            self._kept[module_path] = module
        try:
            found = getattr(module, method)
        except AttributeError:
            raise NotThereError(f"Module {module_path!r} has no {method!r} (file {module.__file__}).") from None  # type: ignore[attr-defined]
        if offered is not found or found is None:
            if not callable(found):
                raise NotThereError(f"{method!r} of module {module_path!r} is a {type(found).__name__}, not callable.")
            if not named:
                self._check_offered(module, module_path, method, found)
                if len(self._offered) >= _OFFERED_MAX:
                    self._offered.clear()
                self._offered[module_path, method] = found
        return found

    def _check_demand(self, relative: str, wanted: str) -> None:
        """Let pass a module that is what the job wants it to be."""
        if not wanted:
            return
        found = self._hashes.get(relative)
        if found is None:
            path, package, state = self._places.get(relative) or (*self._file(relative), 0)
            try:
                found = self._files.hash_on_disk(self._prefix, os.path.relpath(path, self._prefix), package=package)
                changed = state and state != self._files.state_on_disk(path, package=package)
            except OSError as error:
                raise DiffersError(f"Module {relative!r} has no SHA-256 that could be compared: {error}.") from None
            if changed:
                raise DiffersError(
                    f"Module {relative!r} was changed on this worker after it was imported here, so its SHA-256 is "
                    "not known; a new start of the worker imports what lies there now."
                )
            if state:
                self._hashes[relative] = found
        if found != wanted:
            raise DiffersError(
                f"Module {relative!r} of this worker has SHA-256 {found}, the job wants {wanted}. "
                "`dart module push` brings workers the same one, `dart module list` shows what each has."
            )

    def _check_offered(self, module: object, module_path: str, method: str, found: object) -> None:
        """Let pass what the module's `__all__` names, and public things that it made itself."""
        listed = getattr(module, "__all__", None)
        if isinstance(listed, (list, tuple)) and method in listed:
            return
        if method.startswith("_"):
            why = "begins with _, so the module keeps it to itself"
        else:
            origin = self._origin(module, found)
            if not origin:
                return
            why = f"was imported there from {origin!r}"
        raise NotOfferedError(
            f"{method!r} of module {module_path!r} {why}; it is not offered to tasks. The worker's owner can offer it "
            f"with __all__ = [{method!r}] in the module, or by allowing {module_path + ':' + method!r} in the policy."
        )

    def _origin(self, module: object, found: object) -> str:
        """The module of somebody else that this was imported from; empty: it was made here."""
        made_in = getattr(found, "__module__", None)
        home = sys.modules.get(made_in) if isinstance(made_in, str) else None
        if home is not None and self._is_own(module, home):
            return ""
        for name, other in list(sys.modules.items()):
            members = {} if self._is_own(module, other) else getattr(other, "__dict__", {})
            if any(member is found for member in list(members.values())):
                return name
        return ""

    def _is_own(self, module: object, other: object) -> bool:
        """Whether what `other` holds counts as the module's: only its own where names matter, else all of the owner."""
        if other is module:
            return True
        file = None if self._by_rules else getattr(other, "__dict__", {}).get("__file__")
        if not isinstance(file, str):
            return False
        places = tuple(place.rstrip("/") + "/" for place in (self._prefix, os.path.realpath(self._prefix)))
        below = next((file[len(place) :] for place in places if file.startswith(place)), None)
        # An environment of Python that lies there is not the owner's work.
        return below is not None and not is_installed(below)

    def _load(self, relative: str) -> object:
        path, package = self._file(relative)
        folder = os.path.dirname(os.path.dirname(path) if package else path)
        if folder not in sys.path:
            sys.path.append(folder)
        # A file may have been added since the folder was last listed.
        importlib.invalidate_caches()
        name = _free_name(relative, path)
        places = [os.path.dirname(path)] if package else None
        loader = self._files.SourceLoader(name, path, self._prefix, exact=self._by_rules)
        self._places[relative] = (path, package, self._files.state_on_disk(path, package=package))
        spec = importlib.util.spec_from_file_location(name, path, loader=loader, submodule_search_locations=places)
        if spec is None or spec.loader is None:
            raise NotThereError(f"{path} is no Python module.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except self._files.EscapeError as error:
            sys.modules.pop(name, None)
            raise RefusedError(f"Module path {relative!r} is not read from {path}: {error}.") from None
        except BaseException:
            sys.modules.pop(name, None)
            raise
        # A module may put something else in its place, as `import` allows it to.
        return sys.modules.get(name, module)

    def _file(self, relative: str) -> tuple[str, bool]:
        base = os.path.join(self._prefix, version_of(self._prefix, relative))
        for path, package in ((os.path.join(base, "__init__.py"), True), (base + ".py", False)):
            if os.path.isfile(path):
                real = os.path.realpath(path)
                root = os.path.realpath(self._prefix)
                if os.path.commonpath((real, root)) != root:
                    raise RefusedError(
                        f"Module path {relative!r} leads out of the worker's module_prefix {root}, to {real}; "
                        "links may not do that."
                    )
                if is_installed(os.path.relpath(real, root)):
                    raise RefusedError(f"Module path {relative!r} leads to {real}. {_INSTALLED}")
                return path, package
        raise NotThereError(
            f"There is no module {relative!r} on this worker; looked for {base}.py "
            f"and {os.path.join(base, '__init__.py')}."
        )


def demand(module_path: str) -> tuple[str, str]:
    """The path alone, and the SHA-256 that it demands as in `train@sha256:9f86..`; empty: none."""
    path, mark, wanted = module_path.rpartition(_DEMAND)
    return (path, wanted) if mark else (module_path, "")


def version_of(prefix: str, relative: str) -> str:
    """Where the present version of a pushed module lies; of others, the path itself.

    A file beside it names the version, so that one rename switches all of a package at once.
    """
    folder, _, rest = relative.partition("/")
    if folder != PUSHED:
        return relative
    name, slash, inner = rest.partition("/")
    try:
        with open(os.path.join(prefix, PUSHED, name + ".version"), encoding="ascii") as file:
            version = file.read(64)
    except (OSError, ValueError):
        return relative
    return f"{PUSHED}/{name}.{version}/{name}{slash}{inner}" if version.isalnum() else relative


def relative_path(module_path: str) -> str:
    """The path without its one allowed leading `/`, and without what it demands.

    Raises:
        RefusedError: It is absolute, climbs out, or is no path at all.
    """
    relative = demand(module_path)[0].removeprefix("/")
    if relative.startswith("/"):
        raise RefusedError(f"Module path {module_path!r} is absolute; give it relative to the worker's module_prefix.")
    parts = relative.split("/")
    if ".." in parts:
        raise RefusedError(
            f"Module path {module_path!r} climbs out of the worker's module_prefix; `..` is not allowed."
        )
    if "" in parts or "." in parts or "\0" in relative:
        raise RefusedError(f"Module path {module_path!r} is no path of a module, such as `folder/module`.")
    if any(_is_dunder(part) for part in parts):
        # `folder/__init__` would be another name of `folder`; the others are Python's own.
        raise RefusedError(
            f"Module path {module_path!r} has a part with __ around it; a package is named by its folder."
        )
    if is_installed(relative):
        raise RefusedError(f"Module path {module_path!r} leads into an installed Python. {_INSTALLED}")
    return relative


def is_installed(relative: str) -> bool:
    """Whether a path leads into a Python's library: `lib/python3.11`, `site-packages` and the like.

    Environments often lie below `module_prefix`. What is installed there offers a shell to whoever may choose a module.
    """
    parts = relative.casefold().split("/")  # some file systems do not tell upper from lower case
    return any(
        part in _LIBRARIES or (before in ("lib", "lib64") and part.startswith(("python", "pypy")))
        for before, part in zip(["", *parts], parts)
    )


def plain_method(method: str) -> None:
    """Let pass what may be the name of a method.

    Raises:
        NotOfferedError: It is no plain name, such as `os.system`, or one of Python's own, such as `__init__`.
    """
    if not method.isidentifier() or _is_dunder(method):
        raise NotOfferedError(
            f"Method {method!r} is never run: it must be a plain name of a function, without dots or __ around it."
        )


def _is_dunder(name: str) -> bool:
    return len(name) > 3 and name.startswith("__") and name.endswith("__")


def _free_name(relative: str, path: str) -> str:
    """The name to keep a module under: its path, unless that name means another module to `import`.

    A plain `train` may also be imported by what lies beside it, and finds the same module. A `random` must not
    become everybody's `random`: it gets a leading `/`, which no import statement can spell.
    """
    if "/" in relative and "." not in relative:
        return relative
    if not relative.isidentifier():
        return "/" + relative
    known = sys.modules.get(relative)
    if known is not None:
        same = os.path.realpath(getattr(known, "__file__", None) or "") == os.path.realpath(path)
        return relative if same else "/" + relative
    spec = importlib.util.find_spec(relative)
    same = spec is not None and os.path.realpath(spec.origin or "") == os.path.realpath(path)
    return relative if same else "/" + relative
