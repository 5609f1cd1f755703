"""The owner's audit log: a JSON line for each attempt that ran or was refused, in HOME/audit.jsonl.

The loop makes the lines of small tasks, which costs microseconds; large values are hashed by a thread, which also does
all the writing, so a slow disk holds nobody up. What cannot be written is kept and told: the agent begins no task then.
"""

import contextlib
import hashlib
import json
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dart.agent.events import AuditEntry, AuditGoesOn, AuditStuck, Event
from dart.agent.worker_log import open_log
from dart.errors import ConfigError
from dart.limits import Limits

_LOG = logging.getLogger("dart.agent.audit")
FILE = "audit.jsonl"
_SMALL_BYTES = 64 * 1024
"""Input and output together that the loop hashes itself: less than a tenth of a millisecond on a small machine."""
_RETRY_SECONDS = 1.0
_HEADS_MAX = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND_MAX = 253_402_300_799
"""The last one of the year 9999."""
_REMEDY = "give the agent another --home"


class AuditLog:
    """The open audit log of one agent.

    Args:
        home: The agent's home directory.
        limits: Size and number of files, and how long lines gather.
        emit: Takes `AuditStuck` and `AuditGoesOn`; called from the log's thread.
        broker: The broker's public key: for whom tasks run here.

    Raises:
        ConfigError: The file is a link, not ours, or cannot be opened.
    """

    def __init__(self, home: Path, limits: Limits, emit: Callable[[Event], None], *, broker: str) -> None:
        self.path = home / FILE
        self._limits = limits
        self._emit = emit
        self._lines = AuditLines(broker)
        self._file = open_log(self.path, _REMEDY)
        self._rest = b"\n" if self._ends_in_mid_line() else b""
        """Made and not written yet."""
        self._stuck = False
        self._condition = threading.Condition()
        self._waiting: deque[AuditEntry | bytes] = deque()
        self._waiting_bytes = 0
        """Inputs and outputs that wait to be hashed."""
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="audit", daemon=True)
        self._thread.start()

    # ---- called by the loop ----

    def write(self, entries: tuple[AuditEntry, ...]) -> None:
        """Have these written."""
        made: list[AuditEntry | bytes] = []
        more_bytes = 0
        for entry in entries:
            size = len(entry.lease.parameter) + len(entry.output)
            later = size > _SMALL_BYTES
            if later and self._waiting_bytes + more_bytes + size <= self._limits.audit_waiting_bytes_max:
                more_bytes += size
                made.append(entry)
            else:
                made.append(self._lines.line(entry))
        with self._condition:
            if not self._waiting:
                self._condition.notify()
            self._waiting.extend(made)
            self._waiting_bytes += more_bytes

    def close(self, timeout_seconds: float = 10.0) -> bool:
        """Write what is left and end the thread; what cannot be written goes to the agent's own log.

        Returns:
            Whether everything is in the file.
        """
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join(timeout_seconds)
        lost = self._rest
        if lost:
            _LOG.error("the audit log %s could not be written at the end; its last lines follow here", self.path)
            for line in lost.decode("utf-8").splitlines():
                _LOG.error("%s", line)
        return not lost and not self._thread.is_alive()

    # ---- the thread ----

    def _work(self) -> None:
        closing = False
        while not closing:
            with self._condition:
                while not (self._waiting or self._rest or self._closing):
                    self._condition.wait()
                if not self._closing:
                    seconds = _RETRY_SECONDS if self._stuck else self._limits.audit_gather_seconds
                    self._condition.wait_for(lambda: self._closing, seconds)
                closing = self._closing
                taken = list(self._waiting)
                self._waiting.clear()
            self._rest += b"".join(self._made(each) for each in taken)
            del taken
            self._write_rest()
        os.close(self._file)

    def _made(self, each: AuditEntry | bytes) -> bytes:
        if isinstance(each, bytes):
            return each
        line = self._lines.line(each)
        with self._condition:
            self._waiting_bytes -= len(each.lease.parameter) + len(each.output)
        return line

    def _write_rest(self) -> None:
        try:
            while self._rest:
                # Whole lines, as many as go into this file.
                room = self._room()
                end = self._rest.rfind(b"\n", 0, room) + 1 or self._rest.find(b"\n") + 1
                done = os.write(self._file, self._rest[:end])
                self._rest = self._rest[done:]
        except (OSError, ConfigError) as error:
            if not self._stuck:
                self._stuck = True
                self._emit(AuditStuck(f"{self.path}: {getattr(error, 'strerror', None) or error}"))
            return
        if self._stuck:
            self._stuck = False
            self._emit(AuditGoesOn())

    def _room(self) -> int:
        """Bytes that go into the present file; a full one is renamed first."""
        size = os.fstat(self._file).st_size
        if size < self._limits.audit_bytes_max:
            return self._limits.audit_bytes_max - size
        # Renamed already, if what should follow it could not be opened then.
        if self.path.exists() and os.path.samestat(os.fstat(self._file), self.path.lstat()):
            self._make_older()
        fresh = open_log(self.path, _REMEDY)
        os.close(self._file)
        self._file = fresh
        return self._limits.audit_bytes_max

    def _make_older(self) -> None:
        for number in range(self._limits.audit_files_max - 1, 0, -1):
            newer = self.path if number == 1 else Path(f"{self.path}.{number - 1}")
            with contextlib.suppress(FileNotFoundError):
                newer.replace(f"{self.path}.{number}")
        if self._limits.audit_files_max <= 1:
            self.path.unlink()

    def _ends_in_mid_line(self) -> bool:
        """Whether the power went while a line was written."""
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            return size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"


class AuditLines:
    """Makes the lines.

    Args:
        broker: The broker's public key.
    """

    def __init__(self, broker: str) -> None:
        self._broker = json.dumps(broker)
        self._heads: dict[tuple[str, str, str, str], str] = {}
        self._second = -1
        self._second_text = ""

    def line(self, entry: AuditEntry) -> bytes:
        """The line of one attempt, with its end."""
        lease = entry.lease
        key = (lease.job, lease.module_path, lease.method, entry.store_id)
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) >= _HEADS_MAX:
                self._heads.clear()
            head = self._heads[key] = self._head(*key)
        (task_id, (incarnation, number)), parameter = lease.ref, lease.parameter
        # A task can write what it likes into its runner's answers, infinity and the year 300,000 as well.
        seconds = entry.duration_seconds if 0 <= entry.duration_seconds < 1e9 else 0.0
        return (
            f'{{"start":"{self._time(entry.start_time_ms)}",'
            f'"seconds":{seconds:.6f},"outcome":"{entry.outcome}",'
            f'"error_code":{entry.error_code},"task":{task_id},"attempt":"{incarnation}.{number}",{head},'
            f'"input_bytes":{len(parameter)},"input_sha256":"{hashlib.sha256(parameter).hexdigest()}",'
            f'"output_bytes":{len(entry.output)},"output_sha256":"{hashlib.sha256(entry.output).hexdigest()}"}}\n'
        ).encode()

    def _head(self, job: str, module_path: str, method: str, store_id: str) -> str:
        # The protocol does not say who submitted a task; where it does one day, the name goes here.
        members = {"job": job, "module": module_path, "method": method, "store": store_id, "submitter": None}
        return json.dumps(members, separators=(",", ":"))[1:-1] + f',"broker":{self._broker}'

    def _time(self, start_time_ms: int) -> str:
        second, milliseconds = divmod(start_time_ms, 1000)
        if second != self._second:
            # Not gmtime(): time_t has 32 bits on some of the machines this runs on.
            moment = _EPOCH + timedelta(seconds=min(max(second, 0), _SECOND_MAX))
            self._second_text = moment.strftime("%Y-%m-%dT%H:%M:%S")
            self._second = second
        return f"{self._second_text}.{milliseconds:03d}Z"
