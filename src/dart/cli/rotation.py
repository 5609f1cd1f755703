"""`dart server rotate-key`: another key for the broker, while agents go on with the one they know."""

from typing import Any

import click

from dart.cli.options import OUTPUT, SERVER, ServerChoice
from dart.cli.render import Output, when


@click.command("rotate-key", epilog="Example: dart server rotate-key --agent-port 7779")
@click.option("--agent-port", type=int, default=0, metavar="PORT", help="Where the new key counts; 0: any free port.")
@click.option("--status", "looking", is_flag=True, help="Only show how far it is.")
@click.option("--finish", is_flag=True, help="Let the new key alone count.")
@click.option("--leave-behind", is_flag=True, help="Finish although agents have not followed; they must join anew.")
@SERVER
@OUTPUT
def rotate_key(
    *, agent_port: int, looking: bool, finish: bool, leave_behind: bool, server: ServerChoice, output: Output
) -> None:
    """Begin to replace the broker's key. Both count, each at its own port, until you say --finish.

    Agents that are connected follow by themselves, others when they come. Open the new port in firewalls first.
    """
    if looking and finish:
        raise click.UsageError("--status and --finish contradict each other.")
    if leave_behind and not finish:
        raise click.UsageError("--leave-behind goes with --finish.")
    with server.client() as client:
        if finish:
            _show(client.rotation(), output)
            client.finish_rotation(leave_behind=leave_behind)
            output.note("The broker's former key is over.")
        else:
            _show(client.rotation() if looking else client.begin_rotation(agent_port), output)


def _show(rotation: dict[str, Any], output: Output) -> None:
    if output.form != "table":
        output.one(rotation)
        return
    if not rotation["on"]:
        output.note(f"The broker has one key; agents connect to {rotation['agents_url']}.")
        return
    output.note(f"Agents go from {rotation['former_agents_url']} to {rotation['agents_url']}.")
    output.note(f"{rotation['moved']} have followed, {len(rotation['left'])} have not.")
    rows = [{**agent, "last_contact": when(agent.get("last_contact", 0))} for agent in rotation["left"]]
    if rows:
        output.rows(rows, ("name", "id", "connected", "last_contact"))
