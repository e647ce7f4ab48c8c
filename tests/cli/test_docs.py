"""The written reference is what the commands and the recipe say of themselves."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from kerasft.cli.main import cli

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["make_cli", "make_recipes", "make_export"])
def test_the_page_is_up_to_date(name):
    # In a process of its own: click keeps the help option of a command as the first
    # context named it, and another test may have called the command alone.
    script = "import sys; sys.path.insert(0, sys.argv[1]); import " + name + " as made; "
    script += "sys.stdout.buffer.write(made.page().encode())"
    made = subprocess.run(
        [sys.executable, "-c", script, str(DOCS)], capture_output=True, check=True
    )
    page = (DOCS / f"{name.removeprefix('make_')}.md").read_text("utf-8")
    assert made.stdout.decode() == page, f"run `python docs/{name}.py`"


def every_command(command: click.Command, path: str):
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from every_command(command.get_command(context, name), f"{path} {name}")


def test_every_command_and_option_says_what_it_does():
    for path, command in every_command(cli, "kerasft"):
        assert command.help, path
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{path} {parameter.opts}"


def test_every_command_that_prints_takes_json():
    for path, command in every_command(cli, "kerasft"):
        if not isinstance(command, click.Group):
            assert any("--json" in parameter.opts for parameter in command.params), path
