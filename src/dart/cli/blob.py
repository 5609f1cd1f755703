"""`dart blob`: large values, sent to the server once and named by their hash."""

from pathlib import Path

import click

from dart.cli.options import OUTPUT, SERVER, ServerChoice
from dart.cli.progress import progress
from dart.cli.render import Output, as_json

COLUMNS = ("file", "sha256", "bytes")


@click.group("blob")
def blob() -> None:
    """Large values: sent to the server once, named by their SHA-256."""


@blob.command("put", epilog="Example: dart blob put model.bin; dart blob put model.bin --reference")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--reference", is_flag=True, help="Print what stands for each in a parameter, as JSON, a line each.")
@SERVER
@OUTPUT
def put(files: tuple[Path, ...], *, reference: bool, server: ServerChoice, output: Output) -> None:
    """Send files to the server; what it has already is not sent again, and a cut connection goes on where it broke.

    A task gets one by its reference: dart task add JOB --parameter-json "$(dart blob put FILE --reference)". The server
    forgets a file a day after nothing refers to it any more.
    """
    rows = []
    with server.client() as client:
        for file in files:
            with progress(file.name, file.stat().st_size, "bytes") as bar:
                made = client.put_blob(file, progress=bar.to)
            rows.append({"file": str(file), "sha256": made.sha256.hex(), "bytes": made.size})
    if reference:
        for row in rows:
            click.echo(as_json({"__dart__": "blob", "sha256": row["sha256"], "bytes": row["bytes"]}))
    else:
        output.rows(rows, COLUMNS)


@blob.command("get", epilog=f"Example: dart blob get {'5f' * 32} model.bin")
@click.argument("sha256")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@SERVER
@OUTPUT
def get(sha256: str, file: Path, server: ServerChoice, output: Output) -> None:
    """Write a blob into FILE, which is there as a whole or not at all; its hash is checked."""
    from dart.wire.values import BlobReference  # noqa: PLC0415 - not for `--help`

    try:
        name = bytes.fromhex(sha256)
        BlobReference(name, 0)
    except ValueError:
        raise click.UsageError(f"{sha256!r} is no SHA-256: 64 hexadecimal digits.") from None
    with server.client() as client:
        size = client.blob_size(name)
        with progress(file.name, size, "bytes") as bar:
            client.get_blob(BlobReference(name, size), file, progress=bar.to)
    output.rows([{"file": str(file), "sha256": name.hex(), "bytes": size}], COLUMNS)
