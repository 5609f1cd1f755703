"""What goes into the owner's audit log: each attempt that ran or was refused, once, when it has ended."""

from dart.agent.core.state import Held, State
from dart.agent.events import Audit, AuditEntry
from dart.errors import TaskErrorCode
from dart.wire.messages import Result

_WORDS = {
    TaskErrorCode.RUNNER_DIED: "died",
    TaskErrorCode.TIMED_OUT: "timed out",
    TaskErrorCode.REFUSED: "refused",
    TaskErrorCode.POLICY_REFUSED: "refused",
}


def note(state: State, held: Held, result: Result) -> None:
    """An attempt has this result. A refusal by the policy is told to people as well."""
    refused = result.error_code == TaskErrorCode.POLICY_REFUSED and not result.success
    if refused:
        lease = held.lease
        call = f"{lease.module_path}:{lease.method}"
        state.say(
            "warning",
            f"the policy refused task {lease.ref.task_id} of job {lease.job!r:.200}, {call!r:.200}; its error says why",
            bounded=True,
        )
    word = "success" if result.success else _WORDS.get(result.error_code, "error")
    _note(state, AuditEntry(held.lease, held.store_id, word, *result[3:5], result.error_code, result.payload))


def note_end(state: State, held: Held, word: str, start: float, duration: float) -> None:
    """An attempt ended without result: nobody waits for one, or it runs again."""
    _note(state, AuditEntry(held.lease, held.store_id, word, int(start * 1000), duration, 0, b""))


def _note(state: State, entry: AuditEntry) -> None:
    if state.identity.policy.audit:
        state.audited.append(entry)


def hand_over(state: State) -> None:
    """Let what has ended in this turn be written."""
    if state.audited:
        state.commands.append(Audit(tuple(state.audited)))
        state.audited.clear()
