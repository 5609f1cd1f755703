"""Writes and reads who may do what, and what was done: keys, join tokens, enrolments, the audit."""

import sqlite3
from collections.abc import Callable
from typing import Any

from dart.broker.core import records as r
from dart.broker.core.access import ApiKey, AuditEntry, AuditRow, JoinToken, Scope
from dart.broker.core.model import Enrolment
from dart.broker.store.sqlite_rows import pack_rule, unpack_rule
from dart.ids import AgentId, JoinTokenId, KeyId

_ADD_ENROLMENT = (
    "INSERT OR REPLACE INTO enrolment"
    " (agent_id, public_key, name, enrolled_at_ms, revoked_at_ms, token_id, name_is_pattern)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_ADD_KEY = (
    "INSERT INTO api_key (id, name, digest, pepper, is_weak, scope, jobs, workers,"
    " created_at_ms, expires_at_ms, last_used_at_ms, revoked_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_ADD_JOIN = (
    "INSERT INTO join_token (id, digest, name, name_is_pattern, created_at_ms, expires_at_ms,"
    " uses_max, uses, revoked_at_ms, created_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_ADD_NOTE = "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_DROP_OLDEST_NOTES = "DELETE FROM audit WHERE sequence IN (SELECT sequence FROM audit ORDER BY sequence LIMIT ?)"

_OLDEST_NOTES = "SELECT * FROM audit WHERE sequence > ? ORDER BY sequence LIMIT ?"
_NEWEST_NOTES = "SELECT * FROM audit WHERE sequence < ? ORDER BY sequence DESC LIMIT ?"
_SEQUENCE_MAX = (1 << 63) - 1


def _enrolments_added(connection: sqlite3.Connection, run: list[r.EnrolmentAdded]) -> None:
    connection.executemany(_ADD_ENROLMENT, [added.enrolment for added in run])


def _enrolments_named(connection: sqlite3.Connection, run: list[r.EnrolmentNamed]) -> None:
    connection.executemany(
        "UPDATE enrolment SET name = ?, name_is_pattern = 0 WHERE agent_id = ?", [(n.name, n.agent_id) for n in run]
    )


def _enrolments_revoked(connection: sqlite3.Connection, run: list[r.EnrolmentRevoked]) -> None:
    connection.executemany(
        "UPDATE enrolment SET revoked_at_ms = ? WHERE agent_id = ?", [(gone.at_ms, gone.agent_id) for gone in run]
    )


def _enrolments_forgotten(connection: sqlite3.Connection, run: list[r.EnrolmentForgotten]) -> None:
    connection.executemany("DELETE FROM enrolment WHERE agent_id = ?", [(gone.agent_id,) for gone in run])


def _keys_added(connection: sqlite3.Connection, run: list[r.KeyAdded]) -> None:
    keys = [added.key for added in run]
    rows = [key._replace(jobs=pack_rule(key.jobs), workers=pack_rule(key.workers)) for key in keys]  # type: ignore[arg-type]
    connection.executemany(_ADD_KEY, rows)


def _keys_revoked(connection: sqlite3.Connection, run: list[r.KeyRevoked]) -> None:
    connection.executemany("UPDATE api_key SET revoked_at_ms = ? WHERE id = ?", [(gone.at_ms, gone.id) for gone in run])


def _keys_used(connection: sqlite3.Connection, run: list[r.KeysUsed]) -> None:
    connection.executemany(
        "UPDATE api_key SET last_used_at_ms = max(last_used_at_ms, ?) WHERE id = ?",
        [(at_ms, key_id) for used in run for key_id, at_ms in used.used_at_ms],
    )


def _keys_forgotten(connection: sqlite3.Connection, run: list[r.KeyForgotten]) -> None:
    connection.executemany("DELETE FROM api_key WHERE id = ?", [(gone.id,) for gone in run])


def _tokens_added(connection: sqlite3.Connection, run: list[r.TokenAdded]) -> None:
    connection.executemany(_ADD_JOIN, [added.token for added in run])


def _tokens_spent(connection: sqlite3.Connection, run: list[r.TokenSpent]) -> None:
    connection.executemany("UPDATE join_token SET uses = uses + 1 WHERE id = ?", [(spent.id,) for spent in run])


def _tokens_revoked(connection: sqlite3.Connection, run: list[r.TokenRevoked]) -> None:
    connection.executemany(
        "UPDATE join_token SET revoked_at_ms = ? WHERE id = ?", [(gone.at_ms, gone.id) for gone in run]
    )


def _tokens_forgotten(connection: sqlite3.Connection, run: list[r.TokenForgotten]) -> None:
    connection.executemany("DELETE FROM join_token WHERE id = ?", [(gone.id,) for gone in run])


WRITERS: dict[type, Callable[[sqlite3.Connection, list[Any]], None]] = {
    r.EnrolmentAdded: _enrolments_added,
    r.EnrolmentNamed: _enrolments_named,
    r.EnrolmentRevoked: _enrolments_revoked,
    r.EnrolmentForgotten: _enrolments_forgotten,
    r.KeyAdded: _keys_added,
    r.KeyRevoked: _keys_revoked,
    r.KeysUsed: _keys_used,
    r.KeyForgotten: _keys_forgotten,
    r.TokenAdded: _tokens_added,
    r.TokenSpent: _tokens_spent,
    r.TokenRevoked: _tokens_revoked,
    r.TokenForgotten: _tokens_forgotten,
}
"""What each kind of record does; `AuditNoted` has a function of its own, since it has a bound."""


def note(connection: sqlite3.Connection, run: list[r.AuditNoted], rows_max: int) -> None:
    """Add entries; each makes room for itself: two of the oldest go for it while there are too many."""
    highest, rows = connection.execute("SELECT highest_audit, audit_rows FROM meta").fetchone()
    connection.executemany(_ADD_NOTE, [(highest + n, *noted.entry) for n, noted in enumerate(run, 1)])
    too_many = max(0, rows + len(run) - rows_max)
    gone = connection.execute(_DROP_OLDEST_NOTES, (min(too_many, 2 * len(run)),)).rowcount
    connection.execute(
        "UPDATE meta SET highest_audit = ?, audit_rows = ?", (highest + len(run), rows + len(run) - gone)
    )


def audit(connection: sqlite3.Connection, *, after: int, amount: int, newest_first: bool) -> list[AuditRow]:
    """See `Store.audit`."""
    statement = _NEWEST_NOTES if newest_first else _OLDEST_NOTES
    cursor = (after or _SEQUENCE_MAX) if newest_first else after
    return [AuditRow(row[0], AuditEntry._make(row[1:])) for row in connection.execute(statement, (cursor, amount))]


def enrolments(connection: sqlite3.Connection) -> tuple[Enrolment, ...]:
    """All enrolments."""
    return tuple(
        Enrolment(AgentId(agent_id), public_key, name, at_ms, revoked_at_ms, JoinTokenId(token_id), bool(is_pattern))
        for agent_id, public_key, name, at_ms, revoked_at_ms, token_id, is_pattern in connection.execute(
            "SELECT agent_id, public_key, name, enrolled_at_ms, revoked_at_ms, token_id, name_is_pattern"
            " FROM enrolment ORDER BY agent_id"
        )
    )


def keys(connection: sqlite3.Connection) -> tuple[ApiKey, ...]:
    """All API keys."""
    return tuple(
        ApiKey(
            KeyId(key_id),
            name,
            digest,
            pepper,
            bool(is_weak),
            Scope(scope),
            unpack_rule(jobs),
            unpack_rule(workers),
            *times,
        )
        for key_id, name, digest, pepper, is_weak, scope, jobs, workers, *times in connection.execute(
            "SELECT id, name, digest, pepper, is_weak, scope, jobs, workers,"
            " created_at_ms, expires_at_ms, last_used_at_ms, revoked_at_ms FROM api_key ORDER BY id"
        )
    )


def join_tokens(connection: sqlite3.Connection) -> tuple[JoinToken, ...]:
    """All join tokens."""
    return tuple(
        JoinToken(JoinTokenId(token_id), digest, name, bool(name_is_pattern), *rest)
        for token_id, digest, name, name_is_pattern, *rest in connection.execute(
            "SELECT id, digest, name, name_is_pattern, created_at_ms, expires_at_ms,"
            " uses_max, uses, revoked_at_ms, created_by FROM join_token ORDER BY id"
        )
    )
