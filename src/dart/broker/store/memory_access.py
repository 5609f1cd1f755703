"""The part of the store in memory that knows who may do what, and what was done."""

from functools import singledispatchmethod
from itertools import islice

from dart.broker.core import records as r
from dart.broker.core.access import ApiKey, AuditEntry, AuditRow, JoinToken
from dart.broker.core.model import Enrolment
from dart.broker.store.memory_table import Table, Undo
from dart.ids import AgentId, JoinTokenId, KeyId
from dart.limits import Limits


class AccessTables:
    """Enrolments, keys, join tokens, the audit. One caller at a time."""

    def __init__(self, undo: Undo, limits: Limits) -> None:
        self._limits = limits
        self._enrolments: Table[AgentId, Enrolment] = Table(undo)
        self._keys: Table[KeyId, ApiKey] = Table(undo)
        self._tokens: Table[JoinTokenId, JoinToken] = Table(undo)
        self._audit: Table[int, AuditEntry] = Table(undo)
        self._numbers: Table[str, int] = Table(undo)
        self._numbers.update(highest_audit=0)

    def all_enrolments(self) -> tuple[Enrolment, ...]:
        """By agent id."""
        return tuple(enrolment for _, enrolment in sorted(self._enrolments.items()))

    def all_keys(self) -> tuple[ApiKey, ...]:
        """By id."""
        return tuple(key for _, key in sorted(self._keys.items()))

    def all_join_tokens(self) -> tuple[JoinToken, ...]:
        """By id."""
        return tuple(token for _, token in sorted(self._tokens.items()))

    def audit(self, *, after: int, amount: int, newest_first: bool) -> list[AuditRow]:
        """See `Store.audit`; here the cost grows with all entries."""
        rows = [AuditRow(sequence, entry) for sequence, entry in sorted(self._audit.items(), reverse=newest_first)]
        beyond = (row for row in rows if not after or (row.sequence < after if newest_first else row.sequence > after))
        return list(islice(beyond, amount))

    @singledispatchmethod
    def apply(self, record: r.Record) -> None:
        """Do what a record says."""
        raise TypeError(f"No record: {record!r}")

    @apply.register
    def _(self, record: r.EnrolmentAdded) -> None:
        self._enrolments.put(record.enrolment.agent_id, record.enrolment)

    @apply.register
    def _(self, record: r.EnrolmentNamed) -> None:
        if enrolment := self._enrolments.get(record.agent_id):
            self._enrolments.put(record.agent_id, enrolment._replace(name=record.name, name_is_pattern=False))

    @apply.register
    def _(self, record: r.EnrolmentRevoked) -> None:
        if enrolment := self._enrolments.get(record.agent_id):
            self._enrolments.put(record.agent_id, enrolment._replace(revoked_at_ms=record.at_ms))

    @apply.register
    def _(self, record: r.EnrolmentForgotten) -> None:
        self._enrolments.drop(record.agent_id)

    @apply.register
    def _(self, record: r.KeyAdded) -> None:
        self._keys.add(record.key.id, record.key)

    @apply.register
    def _(self, record: r.KeyRevoked) -> None:
        if key := self._keys.get(record.id):
            self._keys.put(record.id, key._replace(revoked_at_ms=record.at_ms))

    @apply.register
    def _(self, record: r.KeysUsed) -> None:
        for key_id, at_ms in record.used_at_ms:
            if key := self._keys.get(key_id):
                self._keys.put(key_id, key._replace(last_used_at_ms=max(key.last_used_at_ms, at_ms)))

    @apply.register
    def _(self, record: r.KeyForgotten) -> None:
        self._keys.drop(record.id)

    @apply.register
    def _(self, record: r.TokenAdded) -> None:
        self._tokens.add(record.token.id, record.token)

    @apply.register
    def _(self, record: r.TokenSpent) -> None:
        if token := self._tokens.get(record.id):
            self._tokens.put(record.id, token._replace(uses=token.uses + 1))

    @apply.register
    def _(self, record: r.TokenRevoked) -> None:
        if token := self._tokens.get(record.id):
            self._tokens.put(record.id, token._replace(revoked_at_ms=record.at_ms))

    @apply.register
    def _(self, record: r.TokenForgotten) -> None:
        self._tokens.drop(record.id)

    @apply.register
    def _(self, record: r.AuditNoted) -> None:
        sequence = self._numbers["highest_audit"] + 1
        self._numbers.put("highest_audit", sequence)
        self._audit.add(sequence, record.entry)
        self._audit.drop(sequence - self._limits.audit_rows_max)
