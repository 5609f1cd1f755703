"""A dict whose changes can be taken back."""

from collections.abc import Callable
from typing import TypeVar

from dart.errors import StoreError

Key = TypeVar("Key")
Value = TypeVar("Value")

Undo = list[Callable[[], None]]
"""What takes back the changes since it was last emptied; to be called from the last to the first."""


class Table(dict[Key, Value]):
    """Changes through `add`, `put` and `drop` are noted in the undo list; those of dict are for good."""

    def __init__(self, undo: Undo) -> None:
        super().__init__()
        self._undo = undo

    def add(self, key: Key, value: Value) -> None:
        """A new entry; `StoreError` if there is one."""
        if key in self:
            raise StoreError(f"What is to be written contradicts what is there ({key!r}): report this fault.")
        self.put(key, value)

    def put(self, key: Key, value: Value) -> None:
        """A new entry in place of any old one."""
        self._note(key)
        self[key] = value

    def drop(self, key: Key) -> None:
        """No entry, whether or not there was one."""
        self._note(key)
        self.pop(key, None)

    def restore_order(self) -> None:
        """By key again: entries taken back came to the end."""
        entries = sorted(self.items(), key=lambda entry: entry[0])  # type: ignore[arg-type, return-value]
        self.clear()
        self.update(entries)

    def _note(self, key: Key) -> None:
        if key in self:
            self._undo.append(lambda value=self[key]: self.update({key: value}))  # type: ignore[misc]
        else:
            self._undo.append(lambda: self.pop(key, None))  # type: ignore[arg-type]
