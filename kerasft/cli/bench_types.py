"""What the options of `kerasft bench` and `kerasft bench decode` take."""

from typing import Any

import click

SHAPES = ("gemma-2b", "gemma2-2b", "gemma3-270m", "gemma3-1b", "llama3.1-8b")
_HIDDEN_SHAPE = "tiny"
"""For tests; works and is not named."""


class Names(click.ParamType):
    """Names with commas between them."""

    name = "NAME,…"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, ...]:
        return value if isinstance(value, tuple) else tuple(filter(None, value.split(",")))


class Counts(click.ParamType):
    """Whole numbers from 1 with commas between them."""

    name = "N,…"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in value.split(",")]
        if not all(word.isdecimal() and int(word) > 0 for word in words):
            self.fail(f"{value!r}: expected whole numbers from 1, as 64,256", param, ctx)
        return tuple(map(int, words))


class Shape(click.Choice):
    """Sizes of published models."""

    def __init__(self) -> None:
        super().__init__(SHAPES)

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        return value if value == _HIDDEN_SHAPE else super().convert(value, param, ctx)


timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(1),
    default=900.0,
    show_default=True,
    help="Seconds a contender may take.",
)


def check_names(names: tuple[str, ...] | None, known: Any, option: str) -> None:
    """Refuse names that are not among the known ones.

    Raises:
        click.UsageError: names them, and those that there are.
    """
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise click.UsageError(
            f"{option}: {', '.join(unknown)} not known; there are {', '.join(known)}."
        )
