"""`dart task`: what is queued, running and done."""

import json
from typing import IO, Any

import click

from dart.cli.completion import JOBS, WORKERS
from dart.cli.event_lines import show_events
from dart.cli.options import OUTPUT, SERVER, ServerChoice
from dart.cli.progress import progress
from dart.cli.render import Output

TASKS_A_CALL = 5000


@click.group("task")
def task() -> None:
    """Tasks: single calls of a job's method."""


def read_json_lines(file: IO[str]) -> list[Any]:
    """One JSON value a line; empty lines are skipped, a bad one is named by its number."""
    found = []
    for number, line in enumerate(file, 1):
        if line.strip():
            try:
                found.append(json.loads(line))
            except ValueError as error:
                raise click.UsageError(f"Line {number} of {file.name} is not JSON: {error}.") from error
    return found


@task.command("add", epilog="Example: dart task add count --location raspberry-1 --parameter /data/text.txt")
@click.argument("job", shell_complete=JOBS)
@click.option(
    "--location", default="", metavar="WORKER", shell_complete=WORKERS, help="Who must run it; without it anybody."
)
@click.option("--requires", multiple=True, metavar="CAPABILITY", help="What its worker must have; repeatable.")
@click.option("--parameter", metavar="TEXT", help="The parameter, as text.")
@click.option("--parameter-json", "json_text", metavar="JSON", help="The parameter, as JSON.")
@click.option(
    "--file", type=click.File(), help="Many: a JSON object a line with `parameter`, `location` ...; - is stdin."
)
@SERVER
@OUTPUT
def add(  # noqa: PLR0917 - click passes them by name
    job: str,
    location: str,
    requires: tuple[str, ...],
    parameter: str | None,
    json_text: str | None,
    file: IO[str] | None,
    server: ServerChoice,
    output: Output,
) -> None:
    """Queue tasks; prints their ids, one a line."""
    if sum(given is not None for given in (parameter, json_text, file)) != 1:
        raise click.UsageError("Give one of --parameter, --parameter-json and --file.")
    common: dict[str, Any] = {}
    if location:
        common["location"] = location
    if requires:
        common["requires"] = list(requires)
    if file is not None:
        entries = read_json_lines(file)
        if wrong := next((number for number, entry in enumerate(entries, 1) if not isinstance(entry, dict)), 0):
            raise click.UsageError(f"Entry {wrong} of {file.name} is not an object with `parameter`.")
    else:
        entries = [{"parameter": parameter if json_text is None else parse_json(json_text, "--parameter-json")}]
    entries = [{**common, **entry} for entry in entries]
    ids: list[str] = []
    with server.client() as client, progress("submitted", len(entries)) as bar:
        for start in range(0, len(entries), TASKS_A_CALL):
            made = client.submit(job, entries[start : start + TASKS_A_CALL])["tasks"]
            ids += made
            bar.advance(len(made))
    if output.form == "table":
        click.echo("\n".join(ids))  # as a shell can use it: id=$(dart task add ...)
    else:
        output.rows([{"id": task_id} for task_id in ids], ("id",))


def parse_json(text: str, option: str) -> Any:
    """A JSON value given on the command line."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"{option} is not JSON: {error}.") from error


@task.command("list", epilog="Example: dart task list count; dart task list count --follow")
@click.argument("job", shell_complete=JOBS)
@click.option("--follow", is_flag=True, help="Go on with what happens to them, until Ctrl-C.")
@SERVER
@OUTPUT
def list_(job: str, *, follow: bool, server: ServerChoice, output: Output) -> None:
    """All tasks of a job with their states."""
    with server.client() as client:
        # Asked for before the list: nothing happens unseen in between.
        events = client.events(job, kinds=("queued", "task", "result")) if follow else ()
        output.rows(
            client.tasks(job), ("id", "state", "location", "worker", "attempts", "pending_reason"), go_on=follow
        )
        show_events(events, output)


@task.command("show", epilog="Example: dart task show count 17")
@click.argument("job", shell_complete=JOBS)
@click.argument("task_id", metavar="ID")
@SERVER
@OUTPUT
def show(job: str, task_id: str, server: ServerChoice, output: Output) -> None:
    """One task: state, attempts, worker, progress, and why it waits."""
    with server.client() as client:
        output.one(client.task(job, task_id))


@task.command("cancel", epilog="Example: dart task cancel count 17")
@click.argument("job", shell_complete=JOBS)
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@SERVER
@OUTPUT
def cancel(job: str, task_ids: tuple[str, ...], server: ServerChoice, output: Output) -> None:
    """Cancel tasks; those that are finished already stay as they are."""
    with server.client() as client:
        done = sum(client.cancel_task(job, task_id) for task_id in task_ids)
    output.done(f"{done} of {len(task_ids)} task(s) cancelled.", job=job, cancelled=done, asked=len(task_ids))
