"""Every bound of the system in one place: unit in the name, reason beside it.

A bound is refused with an error that names it. Server and agent read overrides from `DART_LIMIT_<NAME>`
(upper case); a value below the given minimum is refused at start.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from dart.errors import ConfigError

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """All bounds; one instance is made at start and handed down."""

    # Values and frames
    value_depth_max: int = 100
    """Nesting of one value; recursion in every decoder stays far below any stack."""
    value_bytes_max: int = 256 * MIB
    """One parameter or result; old programs post models as base64 text."""
    frame_bytes_max: int = 272 * MIB
    """One ZeroMQ frame (MAXMSGSIZE): a value and its envelope. Larger ones close the connection."""
    header_bytes_max: int = 4 * MIB
    """The MessagePack header of one message."""
    batch_items_max: int = 4096
    """Tasks, results or attempts in one message; senders split."""
    batch_bytes_max: int = 8 * MIB
    """Payload bytes put together in one message, unless one value alone is larger."""
    frames_per_message_max: int = 256
    """Payload frames of one message."""
    hello_items_max: int = 100_000
    """Attempts or results in each list of HELLO and WELCOME; further results are sent without being asked for."""
    facts_max: int = 64
    """Facts an agent tells of itself."""
    text_chars_max: int = 4096
    """Free text in a message: a reason, a fact, a line of a log; senders cut it."""

    # Names
    name_chars_max: int = 255
    """Names of jobs, workers, capabilities, tags."""
    module_path_chars_max: int = 1024
    """Module path of a job."""
    capabilities_max: int = 256
    """Capabilities of one agent, or required by one task."""
    pattern_chars_max: int = 1000
    """A `worker_regex`."""
    pattern_milliseconds_max: int = 20
    """Matching one pattern against all worker names of a job."""
    patterns_cached_max: int = 256
    """Patterns whose matches are remembered."""

    # REST
    historic_body_bytes_max: int = 256 * MIB
    """Body of the twelve historic calls."""
    body_bytes_max: int = 64 * MIB
    """Body of every other call."""
    bodies_in_flight_bytes_max: int = 512 * MIB
    """Bodies held in memory at once, over all requests."""
    key_scan_bytes_max: int = 4 * KIB
    """How far into a body member `key` is looked for before the caller counts as a stranger."""
    key_chars_max: int = 512
    """An API key."""
    json_values_max: int = 8_000_000
    """Values in one JSON body, told by its commas and opening brackets, those in texts too: each may take 70 bytes."""
    body_depth_max: int = 128
    """Nesting of a request body."""
    connections_max: int = 1000
    """REST connections at once."""
    request_seconds_max: float = 60.0
    """From the first byte of a request head or between two pieces of a body; half-open connections end here."""
    slow_bytes_per_second_min: int = KIB
    """Whoever sends a body or reads an answer more slowly, after `request_seconds_max`, is cut off."""
    keepalive_seconds: float = 75.0
    """An idle REST connection."""
    wait_seconds_max: float = 60.0
    """A long poll; longer waits are cut to this."""
    waiters_max: int = 10_000
    """Long polls at once."""
    event_streams_max: int = 200
    """Streams of events that are read at once."""
    events_kept_max: int = 20_000
    """Events kept in memory for readers that are slow or come back; the oldest go first."""
    events_kept_bytes_max: int = 16 * MIB
    """The same in bytes, roughly: printed lines are what takes room."""
    changes_kept_max: int = 1000
    """Older events of workers and jobs, kept for those who read only such: events of tasks do not push them out."""
    event_quiet_seconds: float = 10.0
    """A stream of events in which nothing happens carries a comment so often: its reader knows that it lives."""
    page_items_max: int = 1000
    """Rows of one page of a list."""
    answer_page_bytes_max: int = 4 * MIB
    """Result bytes read from the store at a time while an answer is streamed."""
    idempotency_seconds: float = 86_400.0
    """How long the answer to an `Idempotency-Key` is remembered."""
    idempotency_keys_max: int = 1_000_000
    """Remembered answers; the oldest go first."""
    tasks_per_request_max: int = 1_000_000
    """Tasks of one submission."""

    # Broker
    jobs_max: int = 100_000
    """Jobs defined, stopped ones included."""
    queued_tasks_max: int = 10_000_000
    """Tasks that are not finished."""
    keys_max: int = 1000
    """API keys; expired and revoked ones make room for new ones."""
    sessions_per_key_max: int = 20
    """Browsers that are logged in with one key; the oldest go."""
    session_seconds: float = 43_200.0
    """How long a session lasts, whatever happens in it: a working day."""
    session_idle_seconds: float = 3_600.0
    """A session that nobody used for so long has ended: its page was closed."""
    key_use_seconds: float = 60.0
    """How rough the last use of a key is remembered: one record a key in so long."""
    key_failures_max: int = 20
    """Wrong keys from one address in a row; then they get 429, and texts that could be guessed are not looked at."""
    key_failure_seconds: float = 3.0
    """After so long one wrong key of an address is forgiven."""
    key_failures_overall_max: int = 1000
    """Wrong keys from all addresses in a row; 20 are forgiven a second."""
    key_addresses_max: int = 10_000
    """Addresses whose wrong keys are counted, and of which it is known that they have a chosen key."""
    join_tokens_max: int = 1000
    """Join tokens; expired, spent and revoked ones make room for new ones."""
    revoked_agents_max: int = 10_000
    """Keys of agents that are remembered as revoked; those of long ago are as unknown as any other."""
    join_token_seconds_max: float = 30 * 86_400.0
    """How long a join token may count."""
    enrolment_body_bytes_max: int = 16 * KIB
    """Body of `POST /enroll/`, which strangers may send."""
    blob_bytes_max: int = 16 * 1024 * MIB
    """One blob."""
    blobs_bytes_max: int = 128 * 1024 * MIB
    """All blobs of the server and uploads of them."""
    blob_idle_seconds: float = 86_400.0
    """Blobs that nothing refers to, and interrupted uploads, go so long after their last use."""
    blob_check_seconds: float = 600.0
    """Between looks at which blobs may go."""
    blob_piece_bytes: int = 256 * KIB
    """One piece of a blob on its way to an agent: on a slow link it holds up what comes behind it."""
    blob_pieces_max: int = 64
    """Pieces that one agent has asked for and that wait to be read; more are dropped, and asked for again."""
    blob_pieces_bytes_max: int = 4 * MIB
    """Pieces on their way to one agent, of which it has not shown that they have arrived."""
    blob_retry_seconds: float = 5.0
    """A result whose blob has no room on the server's disk is tried again after this."""
    audit_rows_max: int = 1_000_000
    """Entries of the audit that are kept, the newest; about 200 bytes each."""
    agents_max: int = 10_000
    """Enrolled agents with a session."""
    strangers_bytes_max: int = 64 * MIB
    """Received on the agents' port over connections of which no message is complete yet, all together."""
    slots_max: int = 4096
    """Slots of one agent."""
    slice_tasks_max: int = 500
    """Tasks of a submission handled in one piece: at most about 5 ms of loop time."""
    interactive_tasks_max: int = 16
    """Tasks of a submission whose sender is taken to wait for their results."""
    interactive_backlog_min: int = 1000
    """Ready tasks beside which such a submission is given room: for some time agents are given less work ahead."""
    interactive_seconds: float = 10.0
    """For how long after the last such submission."""
    interactive_leases_max: int = 96
    """Tasks that all agents together are given beyond their slots then, at least 8 each; and tasks of one slice."""
    drain_messages_max: int = 500
    """Frames read from the socket before the loop runs on."""
    cache_bytes_max: int = 64 * MIB
    """Parameters of queued tasks kept in memory; the rest waits in the store."""
    group_records_max: int = 20_000
    """Records of one commit group."""
    sweep_rows_max: int = 500
    """Rows of forgotten jobs deleted with one commit group, besides as many as the group itself changed."""
    kept_result_seconds: float = 0.0
    """Results older than this are dropped, unless their job says otherwise; 0: never."""
    kept_results_max: int = 0
    """Results kept of one job, the newest, unless it says otherwise; 0: all."""
    kept_result_bytes_max: int = 0
    """Payload kept of one job's results, unless it says otherwise; 0: all."""
    stopped_job_seconds: float = 30 * 86_400.0
    """Stopped jobs without open tasks are forgotten after this, results and all; 0: never."""
    retention_check_seconds: float = 10.0
    """Between looks at what is to be dropped, at least."""
    outbox_bytes_max: int = 512 * MIB
    """Answers and messages that wait for their commit."""
    store_spare_bytes: int = 32 * MIB
    """Room on the store's disk that is left for outcomes of tasks that are known already: no submission takes it."""
    heartbeat_seconds: float = 5.0
    """Both ways, on a quiet link."""
    silence_seconds: float = 15.0
    """A link silent for so long is torn down and rebuilt."""
    lease_seconds: float = 60.0
    """How long a silent agent keeps its tasks."""
    return_seconds_max: float = 600.0
    """For so long after a start of the server each agent that comes back gives the others `lease_seconds` from then."""
    retry_seconds_max: float = 300.0
    """Longest wait before a task runs again; `retry_delay` and `lost_retry_delay` double up to this."""
    stop_seconds: float = 8.0
    """Good order at the end of the server, less than the promised 10."""

    # Agent
    prefetch_max: int = 1024
    """Tasks an agent takes beyond its slots."""
    prefetch_seconds: float = 0.25
    """Work an agent likes to have waiting, in seconds of its slots."""
    credit_bytes_max: int = 256 * MIB
    """Parameters an agent holds that have not run yet."""
    pipeline_max: int = 256
    """Tasks handed to one runner ahead of the one it runs; they can be taken back."""
    inline_bytes_max: int = 32 * KIB
    """Larger parameters reach the runner through shared memory."""
    blob_cache_bytes_max: int = 8 * 1024 * MIB
    """Blobs that an agent keeps; those go first that no task used for longest. A larger blob cannot be used there."""
    blobs_per_task_max: int = 64
    """Blobs that one parameter or one result names."""
    blob_fetches_max: int = 8
    """Blobs that an agent fetches at the same time, and that the server fetches from it."""
    blob_fetch_bytes_max: int = 2 * MIB
    """Pieces that an agent, or the server of one agent, has asked for and not written down; less on a slow link."""
    blob_tasks_max: int = 256
    """Tasks that wait for their blobs and do not count as prefetched."""
    spool_bytes_max: int = 512 * MIB
    """Results not yet acknowledged; at this the agent takes no more tasks."""
    spool_segment_bytes: int = 16 * MIB
    """One spool file."""
    spool_gather_seconds: float = 0.025
    """How long results gather before they are written and synced together; those acknowledged by then never are. Longer
    spares a memory card, and loses more with the agent's process: such tasks run again."""
    audit_gather_seconds: float = 0.05
    """The same for lines of an agent's audit log, which are not synced."""
    spool_lazy_seconds: float = 0.5
    """With `spool = lazy`: how long a result may be without ACK before it is written."""
    started_after_seconds: float = 0.1
    """STARTED is told of tasks that run at least so long; shorter ones end first."""
    reconnect_seconds_min: float = 0.1
    """First wait after a lost link; doubles with jitter."""
    reconnect_seconds_max: float = 30.0
    """Longest wait between attempts to connect."""
    kill_grace_seconds: float = 1.0
    """From SIGTERM to SIGKILL when a task is cancelled or timed out."""
    runner_start_seconds_max: float = 60.0
    """A runner that has not said it is ready by then counts as broken."""
    log_bytes_max: int = 10 * MIB
    """A worker's log file is rotated at this size."""
    audit_bytes_max: int = 32 * MIB
    """One file of an agent's audit log; then it is renamed to `audit.jsonl.1`, that to `.2`, and so on."""
    audit_files_max: int = 8
    """Files of it; the oldest one goes."""
    audit_waiting_bytes_max: int = 64 * MIB
    """Large parameters and results that wait to be hashed; what comes beyond that is hashed at once."""
    policy_bytes_max: int = 256 * KIB
    """The file of the owner's policy."""
    module_bytes_max: int = 8 * MIB
    """All files of a pushed module together."""
    module_files_max: int = 1000
    """Files of a pushed module."""
    pushed_modules_max: int = 100
    """Pushed modules that an agent keeps."""
    probe_seconds_max: float = 30.0
    """How long an agent waits at its start for the probes that its owner asked for."""
    runner_retry_seconds_max: float = 30.0
    """Longest wait before a runner that cannot start is tried again; from 0.5 s, doubling."""
    error_chars_max: int = 64 * KIB
    """Text of a task's error; the middle of longer ones is left out."""
    printed_line_chars_max: int = 2000
    """A printed line as the broker sees it; the log file has it whole."""
    printed_lines_per_second_max: int = 100
    """Printed lines of one slot that are passed on; the log file has all."""
    progress_chars_max: int = 1000
    """Text of one progress report."""

    # Hosts over SSH
    ssh_hosts_at_once_max: int = 32
    """Hosts that are worked on at the same time, each in a thread."""
    ssh_connect_seconds: float = 10.0
    """Until a host's SSH server has answered, and again until it has let somebody in."""
    ssh_step_seconds: float = 60.0
    """One step on a host, such as putting a bundle there."""
    ssh_join_seconds: float = 30.0
    """How long a started agent may take until the broker has welcomed it."""
    ssh_drain_seconds: float = 10.0
    """How long an agent that is to be removed may finish what it runs; then it is stopped, and its tasks run again."""
    ssh_stop_seconds: float = 8.0
    """How long it may take to stop, before it is killed."""
    ssh_host_seconds: float = 180.0
    """All steps on one host."""
    ssh_upgrade_drain_seconds: float = 600.0
    """How long an agent that is to be replaced may finish what it runs; then its tasks run again elsewhere."""
    ssh_upgrade_seconds: float = 3600.0
    """Replacing all agents of one host."""

    # Bundles
    bundle_bytes_max: int = 64 * MIB
    """An agent's bundle, unpacked or not; one has about 5 MB."""


MINIMUM = {
    "value_bytes_max": KIB,
    "frame_bytes_max": 64 * KIB,
    "batch_items_max": 1,
    "slow_bytes_per_second_min": 1,
    "blob_piece_bytes": 1,
    "heartbeat_seconds": 0.05,
}


def limits_from_environment(environment: Mapping[str, str] = os.environ) -> Limits:
    """The defaults with `DART_LIMIT_*` overrides.

    Raises:
        ConfigError: A variable is no number, names no limit, or is below the minimum.
    """
    known = {field.name: field.type for field in fields(Limits)}
    overrides: dict[str, int | float] = {}
    for variable, text in environment.items():
        if not variable.startswith("DART_LIMIT_"):
            continue
        name = variable.removeprefix("DART_LIMIT_").lower()
        if name not in known:
            raise ConfigError(f"{variable} names no limit; the names are in the reference of limits.")
        try:
            value = float(text) if known[name] is float else int(text)
        except ValueError:
            raise ConfigError(f"{variable}={text!r} is not a number.") from None
        if not MINIMUM.get(name, 0) <= value < float("inf"):
            raise ConfigError(f"{variable}={text} is below {MINIMUM.get(name, 0)} or not finite.")
        overrides[name] = value
    return replace(Limits(), **overrides)  # type: ignore[arg-type]  # each value was read as its field's type
