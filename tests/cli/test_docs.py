"""The written reference is what the commands and the recipe say of themselves."""

import importlib.util
from pathlib import Path

import click
import pytest

from kerasft.cli.main import cli

DOCS = Path(__file__).parents[2] / "docs"


def maker(name: str):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["make_cli", "make_recipes"])
def test_the_page_is_up_to_date(name):
    made = maker(name)
    assert made.PAGE.read_text("utf-8") == made.page(), f"run `python docs/{name}.py`"


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
