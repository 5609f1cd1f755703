"""`dart bundle`: an archive of the agent for a host that has nothing but Python."""

import os
from pathlib import Path
from typing import get_args

import click

from dart.cli.options import JSON, OUTPUT, output_of_profile
from dart.cli.render import Output, OutputFormat
from dart.deploy import bundle as bundles
from dart.deploy.platforms import NAMES, target
from dart.limits import limits_from_environment


@click.group(
    "bundle",
    invoke_without_command=True,
    epilog="Example: dart bundle --platform linux_armv7l --output agent.tar.gz",
)
@click.option("--platform", metavar="PLATFORM", help=f"What the host is: {', '.join(NAMES)}.")
@click.option("--python", metavar="VERSION", default="3.11", show_default=True, help="The host's Python.")
@click.option("--output", "-o", "outputs", multiple=True, metavar="FILE",
              help="The archive to make; table, json or jsonl: how it is told what was made.")  # fmt: skip
@click.option("--wheelhouse", metavar="DIR", type=click.Path(path_type=Path),
              help="A folder with wheels, in place of what pip is configured for.")  # fmt: skip
@click.option("--host-pyzmq", is_flag=True, help="Leave pyzmq out: the host's own is used (apt install python3-zmq).")
@JSON
@click.pass_context
def bundle(
    context: click.Context,
    *,
    as_json: bool,
    platform: str | None,
    python: str,
    outputs: tuple[str, ...],
    wheelhouse: Path | None,
    host_pyzmq: bool,
) -> None:
    """Make an archive of the agent that runs on a host with nothing but Python.

    On the host: tar -xzf FILE, then dart-agent-*/dart-agent --name NAME ... . Wheels come through pip, as it is
    configured here. Where there is no pyzmq for a platform, as on 32-bit ARM, the bundle uses the host's own, which
    each distribution has; or give a folder with a wheel of it.
    """
    if context.invoked_subcommand is not None:
        return
    if platform is None:
        raise click.UsageError(f"Say for which --platform: {', '.join(NAMES)}.", context)
    # `--output` is the form of what is printed, as everywhere, or the file that is made.
    forms: list[OutputFormat] = [form for form in get_args(OutputFormat) if form in outputs]
    files = [text for text in outputs if text not in forms]
    if as_json:
        forms = ["json"]
    if len(files) > 1:
        raise click.UsageError(f"--output names two files, {files[0]} and {files[1]}; one archive is made.", context)
    default: OutputFormat = os.environ.get("DART_OUTPUT") or output_of_profile()  # type: ignore[assignment]
    wanted = target(platform, python)
    file = Path(files[0] if files else bundles.default_name(wanted)).expanduser()
    info = bundles.build(wanted, file, limits_from_environment(), wheelhouse=wheelhouse, host_pyzmq=host_pyzmq)
    Output(forms[0] if forms else default).one(info.as_row())
    if info.needs:
        click.echo(f"It has no pyzmq for {info.platform}; on the host: apt install python3-zmq", err=True)


@bundle.command("verify", epilog="Example: dart bundle verify agent.tar.gz")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--sha256", metavar="HEX", default="", help="The digest it must have; FILE.sha256 tells it otherwise.")
@OUTPUT
def verify(file: Path, sha256: str, output: Output) -> None:
    """Check a bundle: its digest, and that each file in it is as it was built, and nothing else in it."""
    info, compared = bundles.verify(file, limits_from_environment(), sha256=sha256)
    output.one(info.as_row())
    if not compared:
        click.echo(
            f"All files are as its manifest says; whether it is the one that was built tells its digest alone, and "
            f"there is no {file.name}.sha256: compare it, or give --sha256.",
            err=True,
        )
