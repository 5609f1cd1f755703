"""What holds for each command: a summary, an example that can be typed, help for each option, JSON."""

import shlex

import click
import pytest

from dart.cli.main import NOUNS, cli, main

NO_DATA = {
    "up": "runs until it is stopped",
    "server start": "runs until it is stopped; one line of text when it is ready",
    "server unit": "prints a unit file",
    "agent start": "becomes the agent",
    "agent unit": "prints a unit file",
    "profile set": "prints nothing",
    "profile unset": "prints nothing",
    "completion": "prints a script",
    "help": "prints text for people",
}


def walk(command, words=()):
    """Each command that can be called, with the words that call it."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from walk(command.get_command(context, name), (*words, name))
        if not command.invoke_without_command:
            return
    yield " ".join(words), command


COMMANDS = dict(walk(cli))


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_has_a_summary_help_for_each_option_and_an_example(words, capsys):
    """What `--help` says is enough to use it."""
    command = COMMANDS[words]
    assert command.help
    assert len(command.help.split("\n")[0]) <= 120
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"dart {words}: {parameter.opts} has no help"
    assert main([*words.split(), "--help"]) == 0
    told = capsys.readouterr().out
    assert "Example: dart" in told
    assert told.isascii()


EXAMPLES = [
    example for command in COMMANDS.values() for example in command.epilog.removeprefix("Example: ").split("; ")
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_can_be_typed(example, monkeypatch, tmp_path):
    """Each of its words is understood; nothing is run."""
    monkeypatch.chdir(tmp_path)
    for name in ("train.py", "tasks.jsonl", "params.jsonl", "model.bin"):
        (tmp_path / name).write_text("")
    typed = shlex.split(example.partition("source <(")[2].rstrip(")") or example)
    while "=" in typed[0]:
        typed.pop(0)
    assert typed.pop(0) == "dart", example
    command = cli
    context = click.Context(cli, info_name="dart")
    while isinstance(command, click.Group) and typed and typed[0] in command.list_commands(context):
        command = command.get_command(context, typed.pop(0))
    command.make_context("example", list(typed))


@pytest.mark.parametrize("words", [[], ["job"]])
def test_without_a_command_there_is_the_whole_help(words, capsys):
    """As it is laid out; on stderr, since nothing was done."""
    assert main([*words, "--help"]) == 0
    help_ = capsys.readouterr().out
    assert main(words) == 2
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", help_)


@pytest.mark.parametrize("words", [words for words in COMMANDS if words not in NO_DATA])
def test_a_command_that_prints_data_prints_json(words):
    """`--json`, and `--output` with its three forms."""
    options = {option: parameter for parameter in COMMANDS[words].params for option in parameter.opts}
    assert "--json" in options
    assert "--output" in options
    if words != "bundle":  # there it may also be a file
        assert options["--output"].type.choices == ("table", "json", "jsonl")


def test_the_summaries_of_nouns_are_their_own():
    """`dart --help` loads none of them, so it has their summaries in a table."""
    for name, (_, summary) in NOUNS.items():
        own = cli.get_command(click.Context(cli), name).help
        assert own.startswith(summary.rstrip(".")), (name, own)
