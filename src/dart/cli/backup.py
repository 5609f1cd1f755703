"""`dart server backup` and `dart server restore`: a copy of the database out of a running server, and back in."""

import os
import secrets
from pathlib import Path

import click

from dart.cli.options import OUTPUT, SERVER, STATE_DIR, ServerChoice
from dart.cli.render import Output
from dart.cli.server import server
from dart.state_directory import BROKER_KEY, DATABASE, StateDirectory


@server.command("backup", epilog="Example: dart server backup /backups/dart-monday.db")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@SERVER
@OUTPUT
def backup(file: Path, server: ServerChoice, output: Output) -> None:
    """Copy a running server's database, as of one moment, into FILE; the server goes on meanwhile.

    FILE is for its owner alone and is replaced as a whole, when all of the copy was read and found in order. The keys
    in the state directory are not part of it; they never change, so keep a copy of them once.
    """
    from dart.broker.store.sqlite_backup import check_backup  # noqa: PLC0415 - the other commands need none of it

    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as sink, server.client() as client:
            os.fchmod(descriptor, 0o600)
            client.backup(sink)
            sink.flush()
            os.fsync(descriptor)
        contents = check_backup(draft)
        draft.replace(file)
        _sync(file.parent)
    except OSError as error:
        raise click.ClickException(f"The backup {file} cannot be written: {error.strerror or error}.") from error
    finally:
        draft.unlink(missing_ok=True)
    output.one({"file": str(file), **contents._asdict()})


@server.command("restore", epilog="Example: dart server restore /backups/dart-monday.db")
@click.argument("file", type=click.Path(path_type=Path))
@STATE_DIR
@OUTPUT
def restore(file: Path, state_dir: str | None, output: Output) -> None:
    """Put a backup in place of the database of a server that does not run.

    The database that was there is kept beside it. What came after the backup is unknown to the restored server: agents
    keep results of such tasks and say so, and the ids of such tasks are never given again.
    """
    from dart.broker.store.sqlite_restore import restore  # noqa: PLC0415 - as above

    with StateDirectory(Path(state_dir).expanduser() if state_dir else None) as state:
        done = restore(file, state.path / DATABASE)
        keys_are_there = (state.path / BROKER_KEY).exists()
    aside = {"aside": str(done.aside)} if done.aside else {}
    output.one({"database": str(state.path / DATABASE), **aside, **done.contents._asdict()})
    if not keys_are_there:
        click.echo(
            f"Agents know the server by its key {BROKER_KEY}, which {state.path} lacks: bring it there before the "
            "start, or they must enrol again.",
            err=True,
        )


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
