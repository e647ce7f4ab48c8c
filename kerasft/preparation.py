"""From a recipe to windows of tokens, before any weights are loaded."""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kerasft.console import Reporter
from kerasft.data.batching import WindowSource
from kerasft.data.encoded import encoded_rows
from kerasft.data.examples import Encoded, encode_prompt
from kerasft.data.lengths import described
from kerasft.data.prompts import Template, template_for
from kerasft.data.sources import Dataset, load_rows, split_rows
from kerasft.data.tokens import Tokenizer
from kerasft.models.sources import check_access, load_tokenizer
from kerasft.recipe import Recipe


@dataclass(frozen=True)
class Prepared:
    """Everything that a run needs beside the model.

    Attributes:
        recipe: the resolved recipe.
        dataset: the rows as they were read.
        template, tokenizer: from row to tokens.
        train, validation: the encoded rows; None where nothing is held out.
        windows, validation_windows: the same as windows.
        total_steps: optimizer steps of the whole run.
        sample_rows: held-out rows that are answered before and after.
    """

    recipe: Recipe
    dataset: Dataset
    template: Template
    tokenizer: Tokenizer
    train: Encoded
    validation: Encoded | None
    windows: WindowSource
    validation_windows: WindowSource | None
    total_steps: int
    sample_rows: list[dict[str, Any]]

    def prompt_ids(self, row: Mapping[str, Any]) -> list[int]:
        """What an answer to a row is generated from."""
        return encode_prompt(row, self.template, self.tokenizer)

    def summary(self) -> dict[str, Any]:
        """What run.json says of the data."""
        held = self.validation
        return {
            "source": self.dataset.source,
            "content_hash": self.dataset.content_hash,
            "rows": len(self.train.examples),
            "packed_rows": self.windows.rows,
            "tokens": self.train.tokens,
            "supervised_tokens": self.train.supervised_tokens,
            "dropped": self.train.reasons,
            "trimmed": self.train.trimmed,
            "validation_rows": len(held.examples) if held else 0,
            "lengths": described([len(each.token_ids) for each in self.train.examples]),
        }

    def packing(self) -> str:
        """How full the windows are, in a sentence."""
        shapes, rows = self.windows.shapes(0), len(self.train.examples)
        full = f"{self.windows.padding_share:.1%} of the places are padding"
        if self.recipe.train.packing:
            length = next(iter(shapes))[2]
            return f"{rows:,} rows packed into {self.windows.rows:,} of {length:,} tokens; {full}"
        return f"{rows:,} rows in windows of {len(shapes)} shapes; {full}"

    def identity(self) -> dict[str, Any]:
        """What of rows, tokens and template must not change between checkpoint and resumption."""
        template = json.dumps(self.template.to_dict(), sort_keys=True)
        return {
            "data": self.dataset.content_hash,
            "tokens": self._tokens_hash,
            "template": hashlib.sha256(template.encode()).hexdigest(),
        }

    @functools.cached_property
    def _tokens_hash(self) -> str:
        """Asked for at every checkpoint."""
        digest = hashlib.sha256()
        for example in self.train.examples:
            digest.update(example.token_ids.tobytes())
            digest.update(example.loss_weights.tobytes())
        return digest.hexdigest()


def prepare(recipe: Recipe, reporter: Reporter) -> Prepared:
    """Read, split, encode and check the rows of a recipe.

    Raises:
        DataError: the rows cannot be used; all faults at once.
        ModelError: the tokenizer cannot be had.
    """
    check_access(recipe.model.preset)
    with reporter.working(f"Reading {recipe.data.source}"):
        dataset = load_rows(recipe.data, recipe.task)
        train_rows, held_rows = split_rows(dataset, recipe.data)
        template = template_for(recipe.prompt, recipe.task)
        tokenizer = load_tokenizer(recipe.model.preset)
    with reporter.working(f"Encoding {len(train_rows) + len(held_rows):,} rows"):
        length = recipe.train.sequence_length
        given = (template, tokenizer, recipe.prompt, length, reporter.note)
        train = encoded_rows(train_rows, *given)
        held = encoded_rows(held_rows, *given) if held_rows else None
        windows = WindowSource(train.examples, recipe.train)
        held_windows = WindowSource(held.examples, recipe.train) if held else None
    steps = windows.steps_per_epoch * recipe.train.epochs
    samples = recipe.eval.samples
    rows = [held_rows[example.row] for example in held.examples[:samples]] if held else []
    prepared = Prepared(
        recipe=recipe,
        dataset=dataset,
        template=template,
        tokenizer=tokenizer,
        train=train,
        validation=held,
        windows=windows,
        validation_windows=held_windows,
        total_steps=min(steps, recipe.train.max_steps) if recipe.train.max_steps else steps,
        sample_rows=rows,
    )
    reporter.note(prepared.packing())
    for reason, count in train.reasons.items():
        reporter.note(f"{count:,} rows are left out: {reason}")
    return prepared
