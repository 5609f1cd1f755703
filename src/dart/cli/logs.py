"""`dart logs`: what running tasks print, log and report."""

import click

from dart.cli.completion import EITHER, JOBS, WORKERS
from dart.cli.event_lines import members, show_events
from dart.cli.options import OUTPUT, SERVER, ServerChoice
from dart.cli.render import Output, printable
from dart_client import Client, UnknownJobError

KINDS = ("log", "progress")


@click.command("logs", epilog="Example: dart logs count --follow; dart logs --worker raspberry-3 --output jsonl")
@click.argument("name", required=False, shell_complete=EITHER)
@click.option("--job", metavar="JOB", shell_complete=JOBS, help="Only of this job.")
@click.option("--worker", metavar="NAME", shell_complete=WORKERS, help="Only of the worker of this name.")
@click.option("--follow", is_flag=True, help="Go on as lines come, until Ctrl-C.")
@click.option("--all", "everything", is_flag=True, help="All events: states of tasks, results, jobs and workers too.")
@SERVER
@OUTPUT
def logs(
    name: str | None,
    job: str | None,
    worker: str | None,
    *,
    follow: bool,
    everything: bool,
    server: ServerChoice,
    output: Output,
) -> None:
    """What tasks print, log and report, of the job or worker NAME or of all.

    Without --follow these are the lines that the server still has in memory; all lines are in the log files of the
    workers. Lines that the server could not keep are told as missed.
    """
    with server.client() as client:
        if name is not None:
            job, worker = _meant(client, name, job, worker)
        kinds = () if everything else KINDS
        found = client.events(job, after="oldest", kinds=kinds, worker=worker or "", follow=follow)
        if output.form == "json" and not follow:
            output.rows([members(event) for event in found], ())
        else:
            show_events(found, output)


def _meant(client: Client, name: str, job: str | None, worker: str | None) -> tuple[str | None, str | None]:
    """Job and worker, where NAME is the one that no option gave."""
    if job is not None and worker is not None:
        raise click.UsageError(f"--job and --worker are both there; drop {name!r}.")
    if job is not None:
        return job, name
    if worker is not None:
        return name, worker
    is_worker = any(found["name"] == name for found in client.workers())
    try:
        client.job_status(name)
    except UnknownJobError:
        if not is_worker:
            click.echo(
                printable(f"dart: No job is called {name!r}, and no worker of that name is connected."), err=True
            )
        return None, name
    if is_worker:
        raise click.UsageError(f"{name!r} is a job and a worker; use --job or --worker.")
    return name, None
