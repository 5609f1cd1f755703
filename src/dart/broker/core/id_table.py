"""A table by id, for ids that follow one another: pages of neighbours, some 15 bytes an entry, in the order of ids.

A dictionary takes 40 to 100 bytes an entry, and each open task is in two of them; its order is that of coming, and a
page of a list wants that of ids. Where ids are far apart an entry costs a page, some 400 bytes.
"""

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from dart.ids import TaskId

V = TypeVar("V")

PAGE = 32
"""Entries of a page: what it costs itself hardly counts where all are there, and is not too much for a single one."""


class IdTable(Generic[V]):
    """Values by id, never None. As a dictionary in what it has; not to be changed while it is walked."""

    __slots__ = ("_pages", "_size")

    def __init__(self) -> None:
        self._pages: dict[int, list[Any]] = {}
        """Each has `PAGE` places, and at the end how many of them are taken."""
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __setitem__(self, task_id: TaskId, value: V) -> None:
        number, place = divmod(task_id, PAGE)
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = [None] * PAGE
            page.append(0)
        if page[place] is None:
            page[PAGE] += 1
            self._size += 1
        page[place] = value

    def __getitem__(self, task_id: TaskId) -> V:
        found = self.get(task_id)
        if found is None:
            raise KeyError(task_id)
        return found

    def get(self, task_id: TaskId) -> V | None:
        """The value, or None."""
        page = self._pages.get(task_id // PAGE)
        found: V | None = None if page is None else page[task_id % PAGE]
        return found

    def __contains__(self, task_id: TaskId) -> bool:
        return self.get(task_id) is not None

    def __delitem__(self, task_id: TaskId) -> None:
        self.pop(task_id)

    def pop(self, task_id: TaskId) -> V:
        """Take it out. Raises `KeyError`."""
        number, place = divmod(task_id, PAGE)
        page = self._pages.get(number)
        value: V | None = None if page is None else page[place]
        if page is None or value is None:
            raise KeyError(task_id)
        page[place] = None
        page[PAGE] -= 1
        self._size -= 1
        if not page[PAGE]:
            del self._pages[number]
        return value

    def page_numbers(self) -> list[int]:
        """What `in_page` takes, in the order of ids."""
        return sorted(self._pages)

    def in_page(self, number: int) -> list[V]:
        """What is in a page, in the order of ids; nothing if there is no such page any more."""
        return [value for value in self._pages.get(number, ())[:PAGE] if value is not None]

    def __iter__(self) -> Iterator[TaskId]:
        return (task_id for task_id, _ in self.items())

    def values(self, after: int = 0) -> Iterator[V]:
        """Those with an id above `after`, in the order of ids."""
        return (value for _, value in self.items(after))

    def items(self, after: int = 0) -> Iterator[tuple[TaskId, V]]:
        """The same with their ids."""
        first = after + 1
        for number in sorted(number for number in self._pages if number >= first // PAGE):
            start = number * PAGE
            for task_id, value in enumerate(self._pages[number][max(0, first - start) : PAGE], max(first, start)):
                if value is not None:
                    yield TaskId(task_id), value
