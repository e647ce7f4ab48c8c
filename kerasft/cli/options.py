"""Options that several commands take, worded once."""

from collections.abc import Callable

import click

from kerasft.backend import BACKENDS, DEFAULT

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")

set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a setting of the recipe, as train.max_steps=20; may be repeated.",
)

backend_option = click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    help=f"What Keras computes with; the run's own where there is one, else {DEFAULT}.",
)


def recipe_option(required: bool, help: str) -> Callable:
    """`--recipe`: a shipped name or a path that ends in .toml."""
    return click.option("--recipe", metavar="NAME|FILE", required=required, help=help)
