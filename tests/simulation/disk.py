"""Disks: the broker's, which can fail and lie, and an agent's, which forgets what was not synced when power goes."""

from dart.agent.events import SpoolFull, SpoolRoom, SpoolSynced
from dart.broker.store.memory import MemoryStore
from dart.errors import StoreError
from dart.ids import StoreId


class Disk(MemoryStore):
    """The broker's: outlives its processes, shows the ledger what becomes durable.

    Attributes:
        lie_next: The next group is written and reported as failed all the same.
    """

    def __init__(self, ledger, limits, seed):
        super().__init__(limits)
        self._store_id = StoreId(f"{seed % (1 << 128):032x}")
        self._ledger = ledger
        self.lie_next = False

    def recover(self, *, forget_jobs=False):
        recovered = super().recover(forget_jobs=forget_jobs)
        self._ledger.recovered(recovered)
        return recovered

    def commit(self, records):
        super().commit(records)
        self._ledger.committed(records)
        if self.lie_next:
            self.lie_next = False
            raise StoreError("A group was written and nobody knows: a planted failure.")


class Spool:
    """An agent's spool directory, and the thread that writes it, of one process.

    Args:
        world: Its clock.
        card: What is on the medium; outlives the process.
        emit: Takes its events.
    """

    def __init__(self, world, card, emit, *, gather):
        self._world = world
        self._card = card
        self._emit = emit
        self._gather_seconds = 0.005 if gather else 0.0
        self._writes = []
        self._forgets = set()
        self._number = 0
        self._due = False
        self._full = False
        self._ended = False
        self.stored = card.load()

    def write(self, number, store_id, results):
        self._writes.append((number, store_id, results))
        self._soon(self._gather_seconds)

    def forget(self, refs):
        self._forgets.update(refs)
        self._soon(self._gather_seconds)

    def end(self, *, order):
        """The process ends: in good order all is written first."""
        if order and not self._card.full:
            self._write()
            self._card.sync()
        self._ended = True

    def _soon(self, seconds):
        if not self._due:
            self._due = True
            self._world.after(seconds, self._work)

    def _write(self):
        writes, forgets = self._writes, self._forgets
        self._writes, self._forgets = [], set()
        self._card.forget(forgets)
        for _number, store_id, results in writes:
            self._card.write((result.ref, (store_id, result)) for result in results if result.ref not in forgets)
        return writes

    def _work(self):
        self._due = False
        if self._ended:
            return
        if self._card.full:
            if not self._full:
                self._full = True
                self._emit(SpoolFull("no space left on device"))
            self._soon(1.0)
            return
        writes = self._write()
        self._world.after(self._card.sync_seconds(), self._synced, writes)

    def _synced(self, writes):
        if self._ended:
            return
        self._card.sync()
        if self._full:
            self._full = False
            self._emit(SpoolRoom())
        if writes:
            # Syncs overlap here; the word of an earlier one may come after that of a later one.
            self._number = max(self._number, writes[-1][0])
            self._emit(SpoolSynced(self._number))
        if self._writes or self._forgets:
            self._soon(0.0)


class Card:
    """What is on an agent's medium."""

    def __init__(self, chance):
        self._chance = chance
        self._synced = {}
        self._written = {}
        """Not synced: survives the process, but not the power."""
        self._forgotten = set()
        """Marks that are not synced."""
        self.full = False
        self.slow = False

    def __len__(self):
        return len(self.refs())

    def refs(self):
        """Results that a process started now would find, if all that was written stays."""
        return (self._synced.keys() | self._written.keys()) - self._forgotten

    def has_synced(self, ref):
        return ref in self._synced

    def sync_seconds(self):
        return self._chance.random() * (0.6 if self.slow else 0.01)

    def write(self, entries):
        self._written.update(entries)

    def forget(self, refs):
        self._forgotten |= refs & (self._synced.keys() | self._written.keys())

    def sync(self):
        self._synced.update(self._written)
        self._written.clear()
        for ref in self._forgotten:
            self._synced.pop(ref, None)
        self._forgotten.clear()

    def lose_power(self):
        """Of what was not synced, a part is there."""
        self._written = {ref: entry for ref, entry in self._written.items() if self._chance.random() < 0.5}
        self._forgotten = {ref for ref in sorted(self._forgotten) if self._chance.random() < 0.5}

    def load_copy(self):
        """What a copy of this medium holds."""
        return [entry for ref, entry in self._synced.items() if ref not in self._forgotten]

    def load(self):
        """What a new process finds, oldest first."""
        self.sync()
        return tuple(self._synced.values())
