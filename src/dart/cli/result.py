"""`dart result`: what came back."""

from itertools import islice
from typing import Any

import click

from dart.cli.completion import JOBS
from dart.cli.options import OUTPUT, SERVER, ServerChoice
from dart.cli.render import Output, printable, when
from dart_client import Result


@click.group("result")
def result() -> None:
    """Results: what tasks returned, or how they failed."""


def _row(found: Result, output: Output) -> dict[str, Any]:
    """A result as it is printed: all members for programs, the telling ones for people."""
    if output.form != "table":
        return found.answer
    failure = found.failure()
    text = found.answer["success"] if failure is None else str(failure).strip().rpartition("\n")[2]
    return {
        "id": found.id,
        "worker": found.worker,
        "started": when(found.start_time),
        "duration": found.duration,
        "outcome": "success" if failure is None else "error",
        "value": text,
    }


COLUMNS = ("id", "worker", "started", "duration", "outcome", "value")


@result.command("list", epilog="Example: dart result list count --worker-regex 'raspberry-.*' --follow --output jsonl")
@click.argument("job", shell_complete=JOBS)
@click.option("--amount", type=click.IntRange(min=0), default=None, help="At most so many; all without it.")
@click.option("--worker-regex", default="", metavar="REGEX", help="Only of workers whose whole name matches.")
@click.option("--follow", is_flag=True, help="Go on as they come, until the job is stopped.")
@SERVER
@OUTPUT
def list_(
    job: str, amount: int | None, worker_regex: str, *, follow: bool, server: ServerChoice, output: Output
) -> None:
    """Results of a job, oldest first."""
    with server.client() as client:
        found = client.job(job).results(worker_regex=worker_regex, follow=follow)
        rows = (_row(entry, output) for entry in islice(found, amount))
        if follow and output.form == "table":
            for row in rows:
                click.echo(printable("  ".join(str(row[column]) for column in COLUMNS)))
        elif follow:
            for row in rows:
                Output("jsonl").rows([row], COLUMNS)
        else:
            output.rows(rows, COLUMNS)


@result.command("delete", epilog="Example: dart result delete count 17")
@click.argument("job", shell_complete=JOBS)
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@SERVER
@OUTPUT
def delete(job: str, ids: tuple[str, ...], server: ServerChoice, output: Output) -> None:
    """Forget results."""
    with server.client() as client:
        client.delete_results(job, ids)
    output.done(f"{len(ids)} result(s) forgotten.", job=job, forgotten=list(ids))
