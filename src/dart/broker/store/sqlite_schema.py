"""The tables of the SQLite store, as numbered migrations.

A migration, once released, is never edited: a change of the tables is a new entry at the end of `MIGRATIONS`.
`user_version` of a database is the number of migrations it has seen.
"""

from dart.broker.core import lifecycle
from dart.broker.core.model import TaskState

APPLICATION_ID = 0x44415254
"""`DART`, in the database's header: what else SQLite could open is not ours."""

CANCELLED = int(TaskState.CANCELLED)

FINAL_STATES = f"({', '.join(str(int(state)) for state in lifecycle.FINAL_STATES)})"
"""All states of outcomes, for `IN`."""

_TABLES = (
    # One row: what must never go back.
    """CREATE TABLE meta (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        store_id TEXT NOT NULL,
        incarnation INTEGER NOT NULL,
        highest_id INTEGER NOT NULL,
        highest_sequence INTEGER NOT NULL,
        probes INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE job (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        status INTEGER NOT NULL,
        defined_at_ms INTEGER NOT NULL,
        stopped_at_ms INTEGER NOT NULL,
        config BLOB NOT NULL
    ) STRICT""",
    # The parameter is the last column, so that reading the others never follows its overflow pages.
    """CREATE TABLE task (
        id INTEGER PRIMARY KEY,
        job_id INTEGER NOT NULL,
        policy BLOB NOT NULL,
        tag TEXT NOT NULL,
        parameter BLOB NOT NULL
    ) STRICT""",
    "CREATE INDEX task_of_job ON task (job_id)",
    # Apart from the task: changing a row rewrites all of it, its parameter too, and few tasks ever fail.
    """CREATE TABLE attempt_count (
        task_id INTEGER PRIMARY KEY REFERENCES task (id) ON DELETE CASCADE,
        errors INTEGER NOT NULL,
        losses INTEGER NOT NULL
    ) STRICT""",
    # Submissions whose last slice has not come; void ones are being deleted.
    """CREATE TABLE submission (
        first_id INTEGER PRIMARY KEY,
        last_id INTEGER NOT NULL,
        void INTEGER NOT NULL
    ) STRICT""",
    # Jobs that are gone but for rows which are still being deleted.
    "CREATE TABLE forgotten (job_id INTEGER PRIMARY KEY) STRICT",
    """CREATE VIEW open_task AS
        SELECT * FROM task
        WHERE job_id IN (SELECT id FROM job)
        AND NOT EXISTS (SELECT 1 FROM submission WHERE void AND task.id BETWEEN first_id AND last_id)""",
    # The payload is the last column for the same reason as the parameter.
    """CREATE TABLE outcome (
        sequence INTEGER PRIMARY KEY,
        id INTEGER NOT NULL,
        job_id INTEGER NOT NULL,
        state INTEGER NOT NULL,
        worker TEXT NOT NULL,
        host TEXT NOT NULL,
        location TEXT NOT NULL,
        tag TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        start_time_ms INTEGER NOT NULL,
        duration_seconds REAL,
        error_code INTEGER NOT NULL,
        finished_at_ms INTEGER NOT NULL,
        payload BLOB NOT NULL
    ) STRICT""",
    # Each index ends with the sequence by itself, since that is the row's number.
    "CREATE INDEX outcome_of_task ON outcome (job_id, state, id)",
    f"CREATE INDEX outcome_of_job ON outcome (job_id) WHERE state <> {CANCELLED}",
    f"CREATE INDEX outcome_of_worker ON outcome (job_id, worker) WHERE state <> {CANCELLED}",
    """CREATE TABLE tally (
        job_id INTEGER NOT NULL,
        worker TEXT NOT NULL,
        state INTEGER NOT NULL,
        n INTEGER NOT NULL,
        UNIQUE (job_id, worker, state)
    ) STRICT""",
    # What there is of each job's results, so that nobody has to count them.
    """CREATE TABLE kept (
        job_id INTEGER PRIMARY KEY,
        results INTEGER NOT NULL,
        payload_bytes INTEGER NOT NULL
    ) STRICT""",
    # Bounds that may not hold yet: oldest results are being deleted until they do.
    """CREATE TABLE bound (
        job_id INTEGER PRIMARY KEY,
        before_ms INTEGER NOT NULL,
        results INTEGER NOT NULL,
        payload_bytes INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE lease (
        id INTEGER PRIMARY KEY,
        agent_id TEXT NOT NULL,
        attempts BLOB NOT NULL
    ) STRICT""",
    """CREATE TABLE enrolment (
        agent_id TEXT PRIMARY KEY,
        public_key BLOB NOT NULL,
        name TEXT NOT NULL,
        enrolled_at_ms INTEGER NOT NULL
    ) STRICT""",
    # Ids given after the backup that this database was restored from: nothing is known of them.
    """CREATE TABLE gap (
        first_id INTEGER PRIMARY KEY,
        last_id INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE request (
        sequence INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        digest BLOB NOT NULL,
        answer INTEGER NOT NULL,
        expires_at_ms INTEGER NOT NULL
    ) STRICT""",
    "INSERT INTO meta VALUES (1, lower(hex(randomblob(16))), 0, 0, 0, 0)",
)

_ACCESS = (
    "ALTER TABLE enrolment ADD COLUMN revoked_at_ms INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE enrolment ADD COLUMN token_id TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE enrolment ADD COLUMN name_is_pattern INTEGER NOT NULL DEFAULT 0",
    """CREATE TABLE api_key (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        digest BLOB NOT NULL,
        pepper TEXT NOT NULL,
        is_weak INTEGER NOT NULL,
        scope INTEGER NOT NULL,
        jobs BLOB NOT NULL,
        workers BLOB NOT NULL,
        created_at_ms INTEGER NOT NULL,
        expires_at_ms INTEGER NOT NULL,
        last_used_at_ms INTEGER NOT NULL,
        revoked_at_ms INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE join_token (
        id TEXT PRIMARY KEY,
        digest BLOB NOT NULL,
        name TEXT NOT NULL,
        name_is_pattern INTEGER NOT NULL,
        created_at_ms INTEGER NOT NULL,
        expires_at_ms INTEGER NOT NULL,
        uses_max INTEGER NOT NULL,
        uses INTEGER NOT NULL,
        revoked_at_ms INTEGER NOT NULL,
        created_by TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE audit (
        sequence INTEGER PRIMARY KEY,
        at_ms INTEGER NOT NULL,
        who TEXT NOT NULL,
        what TEXT NOT NULL,
        target TEXT NOT NULL,
        outcome TEXT NOT NULL,
        address TEXT NOT NULL,
        request_id TEXT NOT NULL
    ) STRICT""",
    "ALTER TABLE meta ADD COLUMN highest_audit INTEGER NOT NULL DEFAULT 0",
    # How many entries there are, so that nobody has to count them.
    "ALTER TABLE meta ADD COLUMN audit_rows INTEGER NOT NULL DEFAULT 0",
)

_BLOBS = (
    # Rows whose payload may refer to a blob: where this mark of a reference stands.
    "CREATE INDEX task_with_blob ON task (id) WHERE instr(parameter, x'c72803') > 0",
    "CREATE INDEX outcome_with_blob ON outcome (id) WHERE instr(payload, x'c72803') > 0",
)

_STOPS = ("ALTER TABLE job ADD COLUMN doomed_through INTEGER NOT NULL DEFAULT 0",)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_TABLES, _ACCESS, _BLOBS, _STOPS)
"""Statements that lead from one version to the next, from an empty file on."""
