"""`dart`: one command a noun and verb; errors are one sentence on stderr and an exit code."""

import importlib
import sys

import click
from click.shell_completion import CompletionItem

from dart import __version__

NOUNS = {
    "up": ("dart.cli.up:up", "Everything that is needed on one machine, in one command."),
    "run": ("dart.cli.run:run", "Call FUNCTION of MODULE, which lives on the workers, once for each parameter."),
    "server": ("dart.cli.server_unit:server", "The server: REST for clients, the broker for agents."),
    "agent": ("dart.cli.agent_unit:agent", "An agent: runs tasks on the machine where it is started."),
    "worker": ("dart.cli.worker_hosts:worker", "The connected workers."),
    "job": ("dart.cli.job:job", "Jobs: a module and a method that live on the workers."),
    "task": ("dart.cli.task:task", "Tasks: single calls of a job's method."),
    "result": ("dart.cli.result:result", "Results: what tasks returned, or how they failed."),
    "blob": ("dart.cli.blob:blob", "Large values: sent to the server once, named by their SHA-256."),
    "logs": ("dart.cli.logs:logs", "What tasks print, log and report, of the job or worker NAME or of all."),
    "top": ("dart.cli.top:top", "Workers, jobs, rates and queues, as they change; q ends it."),
    "doctor": ("dart.cli.doctor:doctor", "What is wrong with this set-up, and what to do about it."),
    "module": ("dart.cli.module:module", "Modules on workers, where their owners' policies take them."),
    "key": ("dart.cli.key:key", "API keys: who may call the server."),
    "bundle": ("dart.cli.bundle:bundle", "Make an archive of the agent that runs on a host with nothing but Python."),
    "audit": ("dart.cli.audit:audit", "Who did what on the server."),
    "help": ("dart.cli.help:help_", "Manual pages: of a command, of all of them, or of the exit codes."),
    "completion": ("dart.cli.completion:completion", "A script that lets the shell complete commands and names."),
    "profile": ("dart.cli.profile:profile", "Settings that apply when neither a flag nor a DART_* variable is given."),
}
"""Where each is and what it is for. They are loaded when asked for: `dart --help` needs none of them."""


class Nouns(click.Group):
    """The nouns, in the order of the table."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """All nouns."""
        return list(NOUNS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """Load one noun."""
        if name not in NOUNS:
            return None
        module, _, attribute = NOUNS[name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names and summaries by the table; options as ever."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, context, incomplete)
        return [CompletionItem(name, help=NOUNS[name][1]) for name in NOUNS if name.startswith(incomplete)]

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        """What the table says of each, without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in NOUNS.items()])


@click.group(
    cls=Nouns,
    context_settings={"help_option_names": ["--help", "-h"]},
    epilog="Example: dart up; dart run MODULE:FUNCTION --each FILE...",
)
@click.version_option(__version__, prog_name="dart", help="Show the version.")
@click.pass_context
def cli(context: click.Context) -> None:
    """DART, the Distributed Analytics RunTime: Python functions that live on named workers, called from anywhere.

    `dart COMMAND --help` says more, `dart help --exit-codes` what exit codes mean.
    """
    if context.invoked_subcommand in {"server", "agent"}:
        from dart.cli.profile import default_map, profile_file, read_profile  # noqa: PLC0415 - not for `--help`

        context.default_map = default_map(read_profile(profile_file()))


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code."""
    try:
        code = cli.main(args=arguments, prog_name="dart", standalone_mode=False)
    except SystemExit:
        # What click makes of a closed pipe: whoever read our output has seen enough.
        return 0
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - what nobody foresaw is raised again there
        from dart.cli.exit_codes import told  # noqa: PLC0415 - it loads the SDK, which what succeeds may not need

        return told(error)
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
