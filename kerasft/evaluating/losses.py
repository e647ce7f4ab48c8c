"""Perplexity of given completions, of the scored rows or of rows of another task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kerasft.data.examples import Encoded, encode_rows
from kerasft.data.prompts import Template
from kerasft.data.tokens import Tokenizer
from kerasft.recipe import PromptSettings
from kerasft.tasks.intervals import perplexity

if TYPE_CHECKING:
    from kerasft.engine.perplexity import CompletionLosses, RowLoss

LONGEST = 8192
"""Tokens of a row at the most; longer ones are left out and counted."""


@dataclass(frozen=True)
class Losses:
    """Losses of the completions of some rows.

    Attributes:
        found: by row.
        dropped: how many rows were longer than `LONGEST` tokens.
    """

    found: "dict[int, RowLoss]"
    dropped: int

    @property
    def nats(self) -> list[float]:
        return [row.nats for row in self.found.values()]

    @property
    def tokens(self) -> list[int]:
        return [row.tokens for row in self.found.values()]

    def summary(self) -> dict[str, Any]:
        """`perplexity` with its interval (`kerasft.tasks.intervals`), and `dropped`."""
        return {**perplexity(self.nats, self.tokens), "dropped": self.dropped}


def encode_completions(
    rows: Sequence[Mapping[str, Any]], template: Template, tokenizer: Tokenizer
) -> Encoded:
    """The rows as prompts and completions of which the completions count.

    Raises:
        DataError: a row that the template cannot render, or none that fits.
    """
    # Of these settings only the mask and the long rows are read.
    settings = PromptSettings(template="instruction", mask_prompt=True, long_rows="drop")
    return encode_rows(rows, template, tokenizer, settings, LONGEST)


def completion_losses(
    losses: "CompletionLosses",
    encoded: Encoded,
    on_rows: Callable[[int], None] = lambda done: None,
) -> Losses:
    """The losses of encoded rows, with the adapter as it is switched."""
    found = losses.rows(encoded.examples, on_rows=on_rows)
    rows = [example.row for example in encoded.examples]
    return Losses(dict(zip(rows, found, strict=True)), len(encoded.dropped))
