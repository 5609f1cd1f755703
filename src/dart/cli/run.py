"""`dart run`: a job, its tasks, a progress bar and the results, in one command."""

import re
import secrets
import sys
from concurrent.futures import wait
from pathlib import Path
from typing import IO, Any

import click

from dart.cli.completion import WORKERS
from dart.cli.options import OUTPUT, SERVER, ServerChoice
from dart.cli.progress import progress
from dart.cli.render import Output, as_json, as_text, printable
from dart.cli.task import parse_json, read_json_lines
from dart_client import Client, DartError, TaskFuture

QUIET_SECONDS = 3.0
"""After so long without an outcome somebody wants to know why."""


@click.command("run", epilog="Example: dart run count_words_worker:count --each *.txt --on 'raspberry-.*'")
@click.argument("function", metavar="MODULE:FUNCTION")
@click.argument("files", metavar="[FILE]...", nargs=-1)
@click.option("--each", is_flag=True, help="One task for each FILE; its parameter is the file's absolute path.")
@click.option("--content", is_flag=True, help="With --each: the parameter is the file's text instead.")
@click.option("--params", type=click.File(), metavar="FILE", help="One task for each line of JSON, its parameter.")
@click.option("--parameter", metavar="JSON", help="One task with this parameter, or one for each worker of --on.")
@click.option("--location", default="", metavar="WORKER", shell_complete=WORKERS, help="Who must run them.")
@click.option("--requires", multiple=True, metavar="CAPABILITY", help="What the worker must have; repeatable.")
@click.option("--on", "regex", metavar="REGEX", help="Spread them over the connected workers whose names match.")
@click.option("--keep", is_flag=True, help="Keep the job and its results at the server.")
@SERVER
@OUTPUT
@click.pass_context
def run(
    context: click.Context,
    function: str,
    files: tuple[str, ...],
    *,
    each: bool,
    content: bool,
    params: IO[str] | None,
    parameter: str | None,
    location: str,
    requires: tuple[str, ...],
    regex: str | None,
    keep: bool,
    server: ServerChoice,
    output: Output,
) -> None:
    """Call FUNCTION of MODULE, which lives on the workers, once for each parameter; prints the results in order.

    Exit code 1 if any task failed; the others' results are printed all the same.
    """
    module, colon, method = function.rpartition(":")
    if not (colon and module and method):
        raise click.UsageError(f"{function!r} is not MODULE:FUNCTION.")
    if each + (params is not None) + (parameter is not None) != 1 or (files and not each) or (content and not each):
        raise click.UsageError("Give one of --each FILE..., --params FILE and --parameter JSON.")
    if location and regex is not None:
        raise click.UsageError("--location and --on exclude each other.")
    parameters = _parameters(files if each else None, params, parameter, content=content)
    with server.client() as client:
        places = _matching(client, regex) if regex is not None else [location]
        if parameter is not None:
            parameters = parameters * len(places)
        name = f"run-{method}-{secrets.token_hex(6)}"
        job = client.job(name, module, method)
        try:
            spread = [places[number % len(places)] for number in range(len(parameters))]
            futures = job.submit_many(parameters, locations=spread, requires=list(requires) or None)
            failed = _report(futures, output, client)
        except BaseException:
            job.stop()
            raise
        finally:
            if not keep:
                job.purge()
    if failed:
        click.echo(f"dart: {failed} of {len(futures)} task(s) failed.", err=True)
        context.exit(1)


def _parameters(
    files: tuple[str, ...] | None, params: IO[str] | None, parameter: str | None, *, content: bool
) -> list[Any]:
    """One a task."""
    if parameter is not None:
        return [parse_json(parameter, "--parameter")]
    if params is not None:
        return read_json_lines(params)
    if not files:
        raise click.UsageError("--each needs at least one FILE.")
    if missing := next((file for file in files if not Path(file).is_file()), None):
        raise click.UsageError(f"{missing} is not a file.")
    return [Path(file).read_text(encoding="utf-8") if content else str(Path(file).absolute()) for file in files]


def _matching(client: Client, regex: str) -> list[str]:
    """Names of the connected workers that match, in the order of their names."""
    try:
        pattern = re.compile(regex)
    except re.error as error:
        raise click.UsageError(f"--on {regex!r} is not a regular expression: {error}.") from error
    workers = [entry for entry in client.workers() if pattern.fullmatch(entry["name"])]
    if not workers:
        raise click.ClickException(f"No connected worker's name matches {regex!r}; `dart worker list` shows them.")
    return [entry["name"] for entry in workers]


def tell_why_it_waits(client: Client, future: TaskFuture, seconds: float = QUIET_SECONDS) -> None:
    """Say on stderr why the first task does not run, if it is not done after so long: perhaps it never will."""
    if wait([future], timeout=seconds).done:
        return
    reason = client.task(future.job.name, future.task_id).get("pending_reason")
    if reason:
        click.echo(printable(f"dart: task {future.task_id} does not run yet: {reason} Ctrl-C gives up."), err=True)


def _report(futures: list[TaskFuture], output: Output, client: Client) -> int:
    """Print each outcome in order as soon as those before it are there; how many failed."""
    failed = 0
    rows: list[dict[str, Any]] = []
    with progress("tasks", len(futures)) as bar:
        for future in futures:
            future.add_done_callback(lambda _future: bar.advance())
        if futures:
            tell_why_it_waits(client, futures[0])
        for future in futures:
            row: dict[str, Any] = {"id": future.task_id}
            try:
                row["success"] = future.result()
            except DartError as error:
                failed += 1
                row["error"] = error.message
            row["worker"] = future.worker
            if output.form == "jsonl":
                click.echo(as_json(row))
            elif output.form == "json":
                rows.append(row)
            elif "success" in row:
                # A pipe gets what the task returned, to the byte; a terminal nothing that it would obey.
                text = as_text(row["success"])
                click.echo(printable(text) if sys.stdout.isatty() else text)
            else:
                click.echo(printable(f"task {row['id']} failed: {row['error']}"), err=True)
    if output.form == "json":
        click.echo(as_json(rows))
    return failed
