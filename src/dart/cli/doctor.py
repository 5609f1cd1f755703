"""`dart doctor`: what is wrong with this set-up, and what to do about it."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from dart import __version__
from dart.cli import doctor_here, doctor_server, doctor_work
from dart.cli.doctor_findings import FAULT, FINE, SKIPPED, WARNING, Finding, fault
from dart.cli.exit_codes import ExitCode
from dart.cli.options import OUTPUT, SERVER, ServerChoice
from dart.cli.render import Output, printable
from dart.errors import ConfigError
from dart.state_directory import default_path

COLUMNS = ("check", "state", "said", "remedy")
_SIGNS = {FINE: ("ok", "green"), WARNING: ("!!", "yellow"), FAULT: ("XX", "red"), SKIPPED: ("--", "bright_black")}


@click.command(
    "doctor", epilog="Example: dart doctor; dart doctor --host pi@edge-1 --python /usr/bin/python3; dart doctor --json"
)
@click.option("--host", "hosts", multiple=True, metavar="[USER@]HOST[:PORT]", help="Look for its sshd; repeatable.")
@click.option("--python", "pythons", multiple=True, metavar="FILE", help="Could an agent run in it? Repeatable.")
@click.option("--wait", type=float, default=10.0, show_default=True, help="Seconds for the answers of workers.")
@click.option("--backup-days", type=float, default=7.0, show_default=True, help="How old a backup may be.")
@SERVER
@OUTPUT
@click.pass_context
def doctor(
    context: click.Context,
    *,
    hosts: tuple[str, ...],
    pythons: tuple[str, ...],
    wait: float,
    backup_days: float,
    server: ServerChoice,
    output: Output,
) -> None:
    """What is wrong with this set-up, and what to do about it.

    It looks at this machine (profile, variables, proxies, files, disk, Python), goes the way to the server step by step
    (name, port, certificate, clock, key, the agents' port), and asks the server about its agents, waiting tasks,
    modules that do not load, open files and backups. Nothing is changed. Exit code 1 if it finds a fault.
    """
    found: list[Finding] = []
    for finding in _examine(server, hosts, pythons, wait, backup_days):
        found.append(finding)
        if output.form == "table":
            _show(finding)
    if output.form != "table":
        output.rows([finding._asdict() for finding in found], COLUMNS)
    else:
        faults, warnings = (sum(one.state == state for one in found) for state in (FAULT, WARNING))
        click.echo(f"{len(found)} things looked at: {_amount(faults, 'fault')}, {_amount(warnings, 'warning')}.")
    if any(finding.state == FAULT for finding in found):
        context.exit(ExitCode.FAILED)


def _amount(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _show(finding: Finding) -> None:
    sign, colour = _SIGNS[finding.state]
    head = click.style(sign, fg=colour, bold=True) if sys.stdout.isatty() and "NO_COLOR" not in os.environ else sign
    click.echo(f"{head}  {finding.check}: {printable(finding.said)}")
    if finding.remedy:
        click.echo(f"    -> {printable(finding.remedy)}")


def _examine(
    choice: ServerChoice, hosts: tuple[str, ...], pythons: tuple[str, ...], wait: float, backup_days: float
) -> Iterator[Finding]:
    """All findings; what cannot be reached is not looked at further."""
    import dart_client  # noqa: PLC0415 - not for `--help`
    from dart_client import discovery  # noqa: PLC0415 - as above

    yield from doctor_here.profile()
    yield from doctor_here.variables(os.environ)
    yield from doctor_here.python(sys.executable)
    for program in pythons:
        yield from doctor_here.python(program)
    for host in hosts:
        yield from doctor_here.ssh_host(host)
    try:
        arguments = choice.arguments()
    except ConfigError:
        return  # the profile, as was said
    directory = Path(arguments.get("state_dir") or default_path()).expanduser()
    is_local = not (arguments.get("url") or (not arguments.get("state_dir") and os.environ.get("DART_URL")))
    if is_local:
        yield from doctor_here.state_directory(directory)
        gone = list(doctor_server.local_process(directory))
        yield from gone
        if gone:
            return
    try:
        server = discovery.find(**arguments)
    except dart_client.DartError as error:
        remedy = "Name the server: --url, --key-file and --fingerprint, or start one here: dart up"
        yield fault("server", error.message, remedy)
        return
    yield from doctor_here.proxies(os.environ, server.url)
    steps = list(doctor_server.way(server))
    yield from steps
    if any(step.state == FAULT for step in steps):
        return
    with choice.client() as client:
        steps = list(doctor_server.key(client))
        yield from steps
        if steps[0].state == FAULT:
            return
        about = client.server()
        yield from doctor_server.agents_port(server.url, about["agent"])
        version = about.get("version", __version__)
        yield from doctor_work.looked_at("workers", lambda: doctor_work.workers(client, version, wait))
        yield from doctor_work.looked_at("waiting-tasks", lambda: doctor_work.waiting(client))
        yield from doctor_work.looked_at("modules", lambda: doctor_work.failures(client))
        yield from doctor_work.looked_at("open-files", lambda: doctor_work.numbers(client))
        yield from doctor_work.looked_at("backup", lambda: doctor_work.backups(client, backup_days))
