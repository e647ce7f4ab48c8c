"""`kerasft recipes`: what is shipped, what it resolves to, and a copy to change."""

import textwrap
from pathlib import Path
from typing import Any

import click

from kerasft import recipe as recipe_module
from kerasft.cli.options import json_option, set_option
from kerasft.cli.output import console, print_error, print_json, table
from kerasft.errors import KerasftError, RecipeError
from kerasft.recipe import Recipe
from kerasft.records import write_text

_WIDTH = 88


@click.group()
def recipes() -> None:
    """List, show, copy or check recipes."""


@recipes.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the recipes that kerasft ships."""
    loaded = {name: recipe_module.load(name) for name in recipe_module.names()}
    if as_json:
        print_json([{"name": name, **_head(recipe)} for name, recipe in loaded.items()])
        return
    rows = [[name, *_head(recipe).values()] for name, recipe in loaded.items()]
    console().print(table("", ["recipe", "task", "preset", "data", "description"], rows))


@recipes.command()
@click.argument("name", metavar="NAME|FILE")
@set_option
@json_option
def show(name: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print a recipe with every default written out and every setting explained.

    What is printed is a recipe file itself.
    """
    recipe = recipe_module.load(name, overrides)
    if as_json:
        print_json(recipe.model_dump())
        return
    from rich.syntax import Syntax

    text = annotated(recipe)
    out = console()
    if out.is_terminal:
        out.print(Syntax(text, "toml", background_color="default", word_wrap=True))
    else:
        click.echo(text, nl=False)


@recipes.command()
@click.argument("name")
@click.argument("destination", metavar="[DEST]", required=False, type=click.Path(path_type=Path))
@json_option
def copy(name: str, destination: Path | None, as_json: bool) -> None:
    """Copy a recipe, comments and all, to change it (default: NAME.toml here)."""
    source = recipe_module.find(name)
    target = destination or Path(source.name)
    if target.is_dir():
        target /= source.name
    if target.suffix != ".toml":
        raise RecipeError(f"{target}: a recipe's file name ends in .toml")
    if target.exists():
        raise RecipeError(f"{target} is there already; give another name")
    write_text(target, source.read_text("utf-8"))
    if as_json:
        print_json({"copied": name, "to": str(target)})
    else:
        click.echo(f"{target}: train it with `kerasft train --recipe {target}`")


@recipes.command()
@click.argument("files", metavar="NAME|FILE...", nargs=-1, required=True)
@set_option
@json_option
def validate(files: tuple[str, ...], overrides: tuple[str, ...], as_json: bool) -> None:
    """Check recipes: every fault of every file, and exit code 1 if there is one."""
    from kerasft.data.prompts import template_for

    faults: dict[str, str | None] = {}
    for file in files:
        try:
            recipe = recipe_module.load(file, overrides)
            template_for(recipe.prompt, recipe.task)
            faults[file] = None
        except KerasftError as error:
            faults[file] = str(error)
    if as_json:
        print_json([{"recipe": file, "fault": fault} for file, fault in faults.items()])
    else:
        for file, fault in faults.items():
            if fault:
                print_error(fault)
            else:
                click.echo(f"{file}: valid")
    if any(faults.values()):
        click.get_current_context().exit(1)


def annotated(recipe: Recipe) -> str:
    """The resolved recipe as TOML, each setting under its reason.

    Settings that have no value are shown as comments, since TOML has no null.
    """
    values = dict(_assignments(recipe_module.to_toml(recipe)))
    lines: list[str] = []
    section = ""
    for path, kind, _, reason in recipe_module.fields():
        parent, _, key = path.rpartition(".")
        if parent == "prompt.custom" and recipe.prompt.custom is None:
            continue
        if parent != section:
            lines += ["", f"[{parent}]"]
            section = parent
        lines += textwrap.wrap(
            f"{reason} ({kind})", _WIDTH, initial_indent="# ", subsequent_indent="# "
        )
        lines.append(f"{key} = {values[path]}" if path in values else f"# {key} is not set")
    return "\n".join(lines).strip() + "\n"


def _assignments(text: str) -> list[tuple[str, str]]:
    """(dotted path, TOML value) of each line that `to_toml` wrote: one setting a line."""
    section, found = "", []
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]") + "."
        elif line:
            key, _, value = line.partition(" = ")
            found.append((section + key, value))
    return found


def _head(recipe: Recipe) -> dict[str, Any]:
    return {
        "task": recipe.task,
        "preset": recipe.model.preset,
        "data": recipe.data.source,
        "description": recipe.description,
    }
