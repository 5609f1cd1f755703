"""`dart job`: what runs on the workers."""

import time
from collections.abc import Iterable
from typing import Any

import click

from dart.cli.completion import JOBS
from dart.cli.event_lines import show_events
from dart.cli.options import OUTPUT, SERVER, ServerChoice
from dart.cli.progress import progress
from dart.cli.render import Output
from dart.cli.top_view import OUTCOMES

FIRST_LOOK_SECONDS, LOOK_SECONDS = 0.05, 1.0
STATUS = {0: "unknown", 1: "running", 2: "stopped"}


@click.group("job")
def job() -> None:
    """Jobs: a module and a method that live on the workers."""


@job.command("add", epilog="Example: dart job add count --module count_words_worker --method count")
@click.argument("name")
@click.option("--module", "module_path", required=True, metavar="PATH", help="Relative to the workers' module_prefix.")
@click.option("--method", required=True, help="A callable in that module.")
@SERVER
@OUTPUT
def add(name: str, module_path: str, method: str, server: ServerChoice, output: Output) -> None:
    """Define a job."""
    with server.client() as client:
        client.define_job(name, module_path, method)
    output.done(f"Job {name} is defined.", name=name, state="defined")


@job.command("list", epilog="Example: dart job list --output jsonl; dart job list --follow")
@click.option("--follow", is_flag=True, help="Go on with jobs that are defined and stopped, until Ctrl-C.")
@SERVER
@OUTPUT
def list_(*, follow: bool, server: ServerChoice, output: Output) -> None:
    """All jobs with the number of their tasks by state."""
    with server.client() as client:
        events = client.events(kinds=("job",)) if follow else ()
        jobs: Iterable[dict[str, Any]] = client.jobs()
        if output.form == "table":
            jobs = (_row(entry) for entry in jobs)
        output.rows(jobs, ("name", "status", "open", *OUTCOMES), go_on=follow)
        show_events(events, output)


def _row(entry: dict[str, Any]) -> dict[str, Any]:
    """A job for people: how many of its tasks are open, and how the others ended."""
    ended = {state: entry["tasks"].get(state, 0) for state in OUTCOMES}
    left = sum(entry["tasks"].values()) - sum(ended.values())
    return {**entry, **ended, "open": left, "status": STATUS.get(entry["status"], "?")}


@job.command("show", epilog="Example: dart job show count")
@click.argument("name", shell_complete=JOBS)
@SERVER
@OUTPUT
def show(name: str, server: ServerChoice, output: Output) -> None:
    """One job: what it runs and how far it is."""
    with server.client() as client:
        output.one(client.job_info(name))


@job.command("status", epilog="Example: dart job status count")
@click.argument("name", shell_complete=JOBS)
@SERVER
@OUTPUT
def status(name: str, server: ServerChoice, output: Output) -> None:
    """1 running, 2 stopped."""
    with server.client() as client:
        number = client.job_status(name)
    if output.form == "table":
        click.echo(STATUS.get(number, "?"))
    else:
        output.one({"name": name, "status": number})


@job.command("wait", epilog="Example: dart job wait count; dart job wait count --seconds 600")
@click.argument("name", shell_complete=JOBS)
@click.option("--seconds", type=click.FloatRange(min=0), help="Give up after so long; without it never.")
@SERVER
@OUTPUT
@click.pass_context
def wait(context: click.Context, name: str, *, seconds: float | None, server: ServerChoice, output: Output) -> None:
    """Wait until no task of a job is open any more, with a progress bar; then how they ended.

    Exit code 1 if one failed, was lost or expired, or if the time was over before.
    """
    deadline = time.monotonic() + (float("inf") if seconds is None else seconds)
    with server.client() as client, progress(name, 0) as bar:
        pause = FIRST_LOOK_SECONDS
        while True:
            tasks = client.job_info(name)["tasks"]
            finished = sum(tasks.get(state, 0) for state in OUTCOMES)
            left = sum(tasks.values()) - finished
            bar.to(finished, finished + left)
            if not left or time.monotonic() >= deadline:
                break
            time.sleep(max(min(pause, deadline - time.monotonic()), 0))
            pause = min(pause * 1.5, LOOK_SECONDS)
    output.one({"name": name, **{state: tasks.get(state, 0) for state in OUTCOMES}, "open": left})
    if left:
        raise click.ClickException(f"{left} task(s) of {name} are still open after {seconds:g} s; they go on.")
    if any(tasks.get(state) for state in ("failed", "lost", "expired")):
        context.exit(1)


@job.command("stop", epilog="Example: dart job stop count")
@click.argument("name", shell_complete=JOBS)
@SERVER
@OUTPUT
def stop(name: str, server: ServerChoice, output: Output) -> None:
    """Cancel queued tasks, interrupt running ones; results stay readable."""
    with server.client() as client:
        client.stop_job(name)
    output.done(f"Job {name} is stopped.", name=name, state="stopped")


@job.command("purge", epilog="Example: dart job purge --stopped")
@click.argument("names", nargs=-1, shell_complete=JOBS)
@click.option("--stopped", is_flag=True, help="All stopped jobs.")
@click.option("--all", "everything", is_flag=True, help="All jobs, running ones too.")
@SERVER
@OUTPUT
def purge(names: tuple[str, ...], *, stopped: bool, everything: bool, server: ServerChoice, output: Output) -> None:
    """Forget jobs with their tasks and results."""
    if bool(names) + stopped + everything != 1:
        raise click.UsageError("Name the jobs to purge, or give --stopped, or --all.")
    with server.client() as client:
        chosen = list(names) or [entry["name"] for entry in client.jobs() if everything or entry["status"] == 2]
        for name in chosen:
            client.purge_job(name)
    output.done(f"{len(chosen)} job(s) purged.", purged=chosen)
