"""Programs that use the server: they submit, wait, look, cancel and delete, over links that may fail them."""

from hashlib import sha256

from dart.broker.core.events import ServerMoves
from dart.broker.core.model import Idempotency, JobConfig, Retention, Standing, TaskPolicy, TaskSpec, TaskState
from dart.broker.core.tokens import token_of
from dart.errors import (
    ConflictError,
    DartError,
    ForbiddenError,
    JobExistsError,
    LimitError,
    UnavailableError,
    UnknownJobError,
    UnknownWorkerError,
)
from dart.wire.messages import NextServer
from simulation.world import EPOCH

LATENCY_SECONDS = 0.003
TRIES_MAX = 200
CONFIG = JobConfig("work", "run", {})
STANDING = "prepare"
AFTER = "after the standing job"
"""Stands among what a planned task requires until it is submitted."""
DAY_MS = 86_400_000


class Client:
    """All clients of a world.

    Args:
        world: Its clock.
        broker: The server's machine.
        ledger: Learns what clients were told.
    """

    def __init__(self, world, broker, ledger):
        self.world = world
        self.broker = broker
        self.ledger = ledger
        self.pending = 0
        """Programs that still want something."""
        self.retentions = {}
        """Of jobs, by name; the others keep all results."""
        self._chance = world.random_for("client")

    # ---- what programs do ----

    def enroll(self, host, enrolled):
        """Make a machine's key known; repeated until it is."""

        def done(_value, error):
            if error is None:
                enrolled()
            elif not (isinstance(error, ForbiddenError) and host.revoked):
                self._again(ask)

        def ask():
            self._ask("enroll", lambda gateway: gateway.enrolments.enroll(host.public_key, host.name), done)

        ask()

    def revoke(self, host, then):
        """Let a machine's key count no more; repeated until it does not."""

        def verify(_amount):
            if not host.revoked:
                self.world.fail(f"the revocation of {host.label} was answered before it was durable")

        def done(_amount, error):
            # A repeated request finds nobody any more; an early one nobody yet.
            if error is None or (isinstance(error, UnknownWorkerError) and host.revoked):
                then()
            else:
                self._again(ask)

        def ask():
            what = f"revoke {host.label}"
            self._ask(what, lambda gateway: gateway.enrolments.revoke(host.name, host.agent_id), done, verify)

        ask()

    def define(self, name, then=lambda: None, config=None):
        """Define a job; repeated until it is there."""
        config = config or CONFIG._replace(module_path=name, retention=self.retentions.get(name, Retention()))

        def verify(_value):
            if name not in self.ledger.jobs_ever.values():
                self.world.fail(f"the definition of job {name} was answered before it was durable")

        def done(_value, error):
            if error is None or isinstance(error, JobExistsError):
                then()
            else:
                self._again(ask)

        def ask():
            self._ask(f"define {name}", lambda gateway: gateway.define_job(name, config), done, verify)

        ask()

    def submit(self, name, specs, *, key="", copies=1, leave_after=None):
        """Submit tasks. With a key it is repeated until it is answered, and `copies` requests are made at once.

        Those that are to come after the standing job do so if that is there.
        """
        tries = [0]
        specs = [TaskSpec(self._after(policy), parameter) for policy, parameter in specs]
        digest = sha256(repr((name, specs)).encode()).digest()
        idempotency = Idempotency(key, digest, int(EPOCH * 1000) + DAY_MS) if key else None

        def verify(ids):
            self._verify_submission(ids, specs, key)

        def done(ids, error):
            if error is None:
                for task_id in ids:
                    self.ledger.acknowledged[task_id] = name
            elif isinstance(error, UnknownJobError) and tries[0] < 5:
                self.define(name, ask)
            elif key and isinstance(error, (ConnectionError, UnavailableError, LimitError)):
                self._again(ask)
            elif not isinstance(error, (ConnectionError, DartError)):
                self.world.fail(f"a submission ended in {error!r}")

        def ask():
            tries[0] += 1
            if tries[0] > TRIES_MAX:
                self.world.fail(f"a submission was not answered after {TRIES_MAX} tries")
            self._ask(
                f"submit {len(specs)} tasks to {name}",
                lambda gateway: gateway.submit(name, specs, idempotency=idempotency),
                done,
                verify,
                leave_after=leave_after if tries[0] == 1 else None,
            )

        for _ in range(copies):
            ask()

    def define_standing(self, parameter):
        """Define the standing job, whose tasks must not fail in the end, or others would wait for ever."""
        policy = TaskPolicy(retries=1000, lost_retries=1000, retry_delay_seconds=0.0)
        self.define(STANDING, config=CONFIG._replace(standing=Standing(parameter, "", policy)))

    def _after(self, policy):
        if AFTER not in policy.requires:
            return policy
        tokens = [token_of(job_id) for job_id, known in self.ledger.jobs.items() if known == STANDING]
        return policy._replace(requires=tuple(sorted({*policy.requires, *tokens} - {AFTER})))

    def poll(self, name):
        """Look at all results of a job."""

        async def look(gateway):
            job = await gateway.job(name)
            pages = gateway.results(job, workers=None, after=0, amount=1000)
            return job.id, [row async for page in pages for row in page]

        def done(value, error):
            if error is None:
                job_id, rows = value
                for row in rows:
                    self._see(job_id, row)

        self._ask(f"poll {name}", look, done)

    def wait(self, name, seconds):
        """Wait for the outcomes of all tasks of a job that are known to be promised."""
        ids = sorted(task_id for task_id, job in self.ledger.acknowledged.items() if job == name)

        async def look(gateway):
            job = await gateway.job(name)
            return job.id, await gateway.wait_for_tasks(name, ids, seconds)

        def done(value, error):
            if error is None:
                job_id, rows = value
                for row in rows:
                    self._see(job_id, row)

        self._ask(f"wait for {name}", look, done)

    def list_tasks(self, name):
        """Look at its tasks."""
        self._ask(f"list {name}", lambda gateway: gateway.tasks(name, after=0, amount=50), lambda _value, _error: None)

    def cancel(self, choice):
        """Cancel a promised task."""
        # Mostly tasks that are not finished: to cancel others is soon known to do nothing.
        promised = list(self.ledger.acknowledged.items())
        unfinished = [(task_id, name) for task_id, name in promised if task_id in self.ledger.open]
        promised = unfinished if unfinished and choice % 5 else promised
        if not promised:
            return
        task_id, name = promised[choice % len(promised)]
        self.ledger.cancels_asked.add(task_id)

        def verify(cancelled):
            record = self.ledger.finished.get(task_id)
            durable = record is not None and record.state is TaskState.CANCELLED
            if cancelled and not durable and self.ledger.tasks[task_id][0] not in self.ledger.purged:
                self.world.fail(f"the cancelling of task {task_id} was answered before it was durable")

        self._ask(f"cancel {task_id}", lambda gateway: gateway.cancel_task(name, task_id), self._ignore, verify)

    def stop(self, name):
        """Stop a job."""
        ledger = self.ledger
        ledger.stops_asked.add(name)
        before = {job_id for job_id, known in ledger.jobs.items() if known == name}

        def verify(_cancelled):
            running = before & ledger.jobs.keys() - ledger.stopped
            if running and len([known for known in ledger.jobs_ever.values() if known == name]) == 1:
                self.world.fail(f"the stopping of job {name} was answered before it was durable")

        self._ask(f"stop {name}", lambda gateway: gateway.stop_job(name), self._ignore, verify)

    def purge(self, name):
        """Forget a job."""
        before = {job_id for job_id, known in self.ledger.jobs.items() if known == name}

        def verify(_purged):
            if before & self.ledger.jobs.keys():
                self.world.fail(f"the purging of job {name} was answered before it was durable")

        self._ask(f"purge {name}", lambda gateway: gateway.purge_jobs([name]), self._ignore, verify)

    def delete(self, choice):
        """Delete a result that was seen."""
        seen = list(self.ledger.seen)
        if not seen:
            return
        task_id = seen[choice % len(seen)]
        job_id = self.ledger.tasks[task_id][0]
        name = self.ledger.jobs_ever[job_id]

        def verify(_value):
            if task_id not in self.ledger.deleted and job_id not in self.ledger.purged:
                self.world.fail(f"the deletion of result {task_id} was answered before it was durable")

        self._ask(f"delete {task_id}", lambda gateway: gateway.delete_result(name, task_id), self._ignore, verify)

    def drain(self, name):
        """Ask the agents of a name to leave."""
        self._ask(f"drain {name}", lambda gateway: gateway.drain(name), self._ignore)

    def change_key(self, port):
        """Begin to change the broker's key, as `KeyRotation` does; the network here does not mind ports."""

        async def begin(gateway):
            service = gateway._service
            service.next_server = NextServer(port, sha256(str(port).encode()).digest())
            await service.ask(lambda token: ServerMoves(token, service.next_server))

        self._ask(f"change the key, port {port}", begin, self._ignore)

    # ---- the way there and back ----

    def _ask(self, what, make, done, verify=lambda _value: None, leave_after=None):
        self.pending += 1
        self.world.note("client:", what)

        def answered(value, error):
            # At the server, as it lets the answer out.
            self.world.note("answer:", what, error if error is not None else value)
            if error is None:
                verify(value)
            elif not isinstance(error, (DartError, ConnectionError)):
                self.world.fail(f"{what}: {error!r}")
            self.world.after(self._chance.random() * LATENCY_SECONDS, told, value, error)

        def told(value, error):
            self.pending -= 1
            done(value, error)

        def arrive():
            number = self.broker.request(make, answered)
            if leave_after is not None:
                self.world.after(leave_after, self.broker.leave, number)

        self.world.after(self._chance.random() * LATENCY_SECONDS, arrive)

    def _again(self, ask):
        self.pending += 1

        def once_more():
            self.pending -= 1
            ask()

        self.world.after(0.3 + self._chance.random(), once_more)

    def _ignore(self, _value, error):
        if isinstance(error, ConflictError):
            self.world.fail(f"a conflict nobody caused: {error!r}")

    def _verify_submission(self, ids, specs, key):
        ledger = self.ledger
        for task_id, spec in zip(ids, specs, strict=True):
            known = ledger.tasks.get(task_id)
            if known is None:
                self.world.fail(f"task {task_id} was promised before it was durable")
            elif known[2] != spec.parameter:
                self.world.fail(f"task {task_id} was promised and is another one")
            elif task_id not in ledger.open and task_id not in ledger.finished and known[0] not in ledger.purged:
                self.world.fail(f"task {task_id} was promised and is void")
        if key and ledger.keys.setdefault(key, ids) != ids:
            self.world.fail(f"the request {key} was answered {ledger.keys[key]} and {ids}")

    def _see(self, job_id, row):
        seen = (job_id, row.state, row.payload)
        before = self.ledger.seen.setdefault(row.id, seen)
        if before != seen:
            self.world.fail(f"the result of task {row.id} was {before} and is {seen}")
