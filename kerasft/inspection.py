"""What a recipe will train on: lengths, loss weights by token, leaks, and hard checks.

Needs the rows and the tokenizer; no weights are loaded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kerasft.data.batching import WindowSource
from kerasft.data.examples import Encoded, Example, check_examples, encode_rows
from kerasft.data.files import other_files
from kerasft.data.lengths import described, histogram, quantiles
from kerasft.data.prompts import Template, stop_ids, template_for
from kerasft.data.sources import Row, key_of, load_rows, split_rows
from kerasft.data.tokens import StreamDecoder, Tokenizer
from kerasft.errors import DataError
from kerasft.recipe import DataSettings, Recipe

SAMPLES = 3
"""Rows shown token by token: the first, the median and the longest by length."""


@dataclass(frozen=True)
class Token:
    """One token of a shown row.

    Attributes:
        id: its id.
        text: the text that is complete with it; empty in the middle of a character.
        weight: its loss weight, 0 or 1.
    """

    id: int
    text: str
    weight: int


@dataclass(frozen=True)
class Sample:
    """A shown row: its place among the split's rows, and its tokens."""

    split: str
    row: int
    tokens: tuple[Token, ...]


@dataclass(frozen=True)
class Split:
    """What became of the rows of one side of the split.

    Attributes:
        name: `train` or `validation`.
        rows: rows before encoding.
        examples: rows that are trained on.
        dropped: number of rows by reason.
        dropped_rows: the first of them, as (row, tokens).
        trimmed: rows whose context was cut to the schema.
        tokens, supervised_tokens: sums over the examples.
        lengths: of all rows, dropped ones too, in tokens, sorted.
        faults: what the hard checks found.
    """

    name: str
    rows: int
    examples: int
    dropped: Mapping[str, int]
    dropped_rows: Sequence[tuple[int, int]]
    trimmed: int
    tokens: int
    supervised_tokens: int
    lengths: Sequence[int]
    faults: str

    @property
    def quantiles(self) -> dict[str, int]:
        """Lengths at the median, 95 %, 99 % and the longest, in tokens."""
        return quantiles(self.lengths)


@dataclass(frozen=True)
class Inspection:
    """Everything that `inspect` says.

    Attributes:
        source, content_hash, columns, counts: as the dataset has them.
        sequence_length: the recipe's limit, in tokens.
        stop: texts of the tokens that end a generation; the first is trained.
        splits: train, and validation where rows are held out.
        steps_per_epoch: optimizer steps.
        packed_rows: rows that the examples are packed into; None without packing.
        padding_share: of the first epoch's places, 0 to 1.
        shapes: windows of the first epoch by (A, B, L, P).
        shared: rows of the training side that occur on another side too (same
            prompt and context), by the name of that side.
        samples: rows token by token.
    """

    source: str
    content_hash: str
    columns: Mapping[str, str]
    counts: Mapping[str, int]
    sequence_length: int
    stop: Sequence[str]
    splits: Sequence[Split]
    steps_per_epoch: int
    packed_rows: int | None
    padding_share: float
    shapes: Mapping[tuple[int, int, int, int], int]
    shared: Mapping[str, int]
    samples: Sequence[Sample]

    @property
    def faults(self) -> list[str]:
        """What must stop a training; empty where nothing must."""
        found = [f"{split.name}: {split.faults}" for split in self.splits if split.faults]
        leaked = self.shared.get("validation", 0)
        if leaked:
            found.append(f"{leaked} training rows are in the validation rows too")
        return found

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        fields = asdict(self)
        fields["shapes"] = [
            {"shape": list(shape), "windows": count} for shape, count in self.shapes.items()
        ]
        for split in fields["splits"]:
            split["lengths"] = described(split["lengths"])
        return {**fields, "faults": self.faults}


def inspect(recipe: Recipe, tokenizer: Tokenizer) -> Inspection:
    """Read, split, encode and check the rows of a recipe.

    Args:
        recipe: its data, prompt and train settings are read.
        tokenizer: of the recipe's model.

    Raises:
        DataError: the rows cannot be read or none is left. What the hard checks find
            is in `Inspection.faults` instead, beside the rows that show it.
    """
    dataset = load_rows(recipe.data, recipe.task)
    template = template_for(recipe.prompt, recipe.task)
    train_rows, held_rows = split_rows(dataset, recipe.data)
    sides = {"train": train_rows} | ({"validation": held_rows} if held_rows else {})
    encoded = {
        name: encode_rows(rows, template, tokenizer, recipe.prompt, recipe.train.sequence_length)
        for name, rows in sides.items()
    }
    windows = WindowSource(encoded["train"].examples, recipe.train)
    return Inspection(
        source=dataset.source,
        content_hash=dataset.content_hash,
        columns=dataset.columns,
        counts=dataset.counts,
        sequence_length=recipe.train.sequence_length,
        stop=[
            tokenizer.decode([each], skip_special=False) for each in stop_ids(template, tokenizer)
        ],
        splits=[
            _split(name, rows, encoded[name], template, tokenizer) for name, rows in sides.items()
        ],
        steps_per_epoch=windows.steps_per_epoch,
        packed_rows=windows.rows if recipe.train.packing else None,
        padding_share=windows.padding_share,
        shapes=windows.shapes(0),
        shared=_shared(train_rows, held_rows, recipe.data, recipe.task),
        samples=[
            Sample("train", example.row, tokens_of(example, tokenizer))
            for example in _spread(encoded["train"].examples)
        ],
    )


def tokens_of(example: Example, tokenizer: Tokenizer) -> tuple[Token, ...]:
    """The tokens of an example with their text, special ones by name."""
    decoder = StreamDecoder(tokenizer, skip_special=False)
    return tuple(
        Token(int(index), decoder.push(int(index)), int(weight))
        for index, weight in zip(example.token_ids, example.loss_weights, strict=True)
    )


def lengths_plot(splits: Sequence[Split], sequence_length: int, path: Path) -> None:
    """Rows by length with the limit, as a PNG.

    Args:
        splits: drawn one over the other.
        sequence_length: in tokens.
        path: written whole; its folder is made.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    _, edges = histogram([length for split in splits for length in split.lengths])
    for split, color in zip(splits, ("#1f5a99", "#c8551b"), strict=False):
        axes.hist(split.lengths, edges, label=f"{split.name}, {split.rows:,} rows", color=color)
    axes.axvline(sequence_length, color="#444444", linestyle="--", label="sequence_length")
    axes.set_xlabel("tokens a row, BOS and stop token counted")
    axes.set_ylabel("rows")
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}")
    figure.savefig(aside, format="png")
    aside.replace(path)


def _split(
    name: str, rows: Sequence[Row], encoded: Encoded, template: Template, tokenizer: Tokenizer
) -> Split:
    try:
        check_examples(encoded.examples, rows, template, tokenizer)
        faults = ""
    except DataError as error:
        faults = str(error)
    lengths = [len(example.token_ids) for example in encoded.examples]
    lengths += [dropped.tokens for dropped in encoded.dropped]
    return Split(
        name=name,
        rows=len(rows),
        examples=len(encoded.examples),
        dropped=encoded.reasons,
        dropped_rows=[(dropped.row, dropped.tokens) for dropped in encoded.dropped[:20]],
        trimmed=encoded.trimmed,
        tokens=encoded.tokens,
        supervised_tokens=encoded.supervised_tokens,
        lengths=sorted(lengths),
        faults=faults,
    )


def _shared(
    train: Sequence[Row], held: Sequence[Row], settings: DataSettings, task: str
) -> dict[str, int]:
    """Training rows that are asked on another side too: held out, or another file of the folder."""
    sides = {"validation": held} if held else {}
    for path in other_files(Path(settings.source).expanduser(), settings.split):
        other = settings.model_copy(update={"source": str(path), "only_empty": []})
        sides[path.name] = load_rows(other, task).rows
    keys = [key_of(row) for row in train]
    return {
        name: sum(key in found for key in keys)
        for name, rows in sides.items()
        for found in [{key_of(row) for row in rows}]
    }


def _spread(examples: Sequence[Example]) -> list[Example]:
    """A short, a middle and a long example; fewer where there are not so many."""
    ordered = sorted(examples, key=lambda example: len(example.token_ids))
    places = {0, len(ordered) // 2, len(ordered) - 1}
    return [ordered[place] for place in sorted(places)][:SAMPLES]
