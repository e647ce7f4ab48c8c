"""Training examples: token ids and loss weights of rows.

    BOS  prompt …  answer …  stop
     0     0          1        1      mask_prompt = true
     0     1          1        1      mask_prompt = false

An answer is never cut: a row that is too long is left out and counted, or its
context is cut to the schema first.
"""

import dataclasses
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasft.data.prompts import Piece, Rendered, Template, Text, marker_id
from kerasft.data.tokens import Tokenizer
from kerasft.errors import DataError, collected
from kerasft.recipe import PromptSettings


@dataclass(frozen=True, eq=False)
class Example:
    """One row as tokens.

    Attributes:
        token_ids: int32 (length,), BOS first and the stop token last.
        loss_weights: uint8 (length,), 1 where the token is a supervised target.
        row: index of the row it was made from.
    """

    token_ids: np.ndarray
    loss_weights: np.ndarray
    row: int


@dataclass(frozen=True)
class Dropped:
    """A row that became no example.

    Attributes:
        row: its index.
        reason: why, in words that are the same for rows dropped for the same cause.
        tokens: its length with BOS and stop token, 0 where it was not encoded.
    """

    row: int
    reason: str
    tokens: int


@dataclass(frozen=True)
class Encoded:
    """All examples of a set of rows.

    Attributes:
        examples: in the order of the rows.
        dropped: rows that were left out.
        trimmed: rows whose context was cut to the schema to fit.
        tokens: in all examples.
        supervised_tokens: those of them with loss weight 1.
    """

    examples: list[Example]
    dropped: list[Dropped]
    trimmed: int
    tokens: int
    supervised_tokens: int

    @property
    def reasons(self) -> dict[str, int]:
        """Number of dropped rows by reason, the most frequent first."""
        return dict(Counter(dropped.reason for dropped in self.dropped).most_common())


def encode_rows(
    rows: Sequence[Mapping[str, Any]],
    template: Template,
    tokenizer: Tokenizer,
    settings: PromptSettings,
    sequence_length: int,
) -> Encoded:
    """Token ids and loss weights of every row that fits.

    Args:
        rows: with the columns that the template needs.
        settings: `mask_prompt` and `long_rows` are read.
        sequence_length: longest example, in tokens with BOS and stop token.

    Raises:
        DataError: rows that the template cannot render (all of them in one
            message), a marker that the tokenizer lacks, or no row that fits.
    """
    for marker in template.markers:
        marker_id(marker, tokenizer)
    schema_template = _schema_template(template) if settings.long_rows == "trim" else None
    examples: list[Example] = []
    dropped: list[Dropped] = []
    faults: list[str] = []
    trimmed = 0
    for index, row in enumerate(rows):
        try:
            rendered = template.render(row)
        except DataError as error:
            faults.append(f"row {index}: {error}")
            continue
        example = _example(rendered, tokenizer, settings.mask_prompt, index)
        length = len(example.token_ids)
        if length > sequence_length and schema_template is not None:
            shorter = schema_template.render(row)
            example = _example(shorter, tokenizer, settings.mask_prompt, index)
            trimmed += len(example.token_ids) <= sequence_length
        if len(example.token_ids) > sequence_length:
            cut = ", its context cut to the schema too" if schema_template is not None else ""
            reason = f"longer than sequence_length = {sequence_length} tokens{cut}"
            dropped.append(Dropped(index, reason, length))
        else:
            examples.append(example)
    if faults:
        raise DataError(collected("rows that the prompt template cannot render", faults))
    if not examples:
        raise DataError(_nothing_left(dropped))
    return Encoded(
        examples,
        dropped,
        trimmed,
        tokens=sum(len(example.token_ids) for example in examples),
        supervised_tokens=sum(int(example.loss_weights.sum()) for example in examples),
    )


def encode_prompt(row: Mapping[str, Any], template: Template, tokenizer: Tokenizer) -> list[int]:
    """Ids that a completion is generated from: BOS and the prompt part of the row's example.

    Raises:
        DataError: the row lacks a column, or the tokenizer a marker.
    """
    return [tokenizer.bos_id, *_ids(template.render_prompt(row), tokenizer)]


def check_examples(
    examples: Iterable[Example],
    rows: Sequence[Mapping[str, Any]],
    template: Template,
    tokenizer: Tokenizer,
) -> None:
    """Prove that every example trains what it should, whatever made it.

    Each has exactly one BOS, at its head; some loss weight; and ends in its row's
    whole answer and the stop token, all of them supervised.

    Raises:
        DataError: every example that does not, with its row.
    """
    faults: list[str] = []
    for example in examples:
        ids, weights = example.token_ids, example.loss_weights
        bos = np.flatnonzero(ids == tokenizer.bos_id)
        if bos.tolist() != [0]:
            at = ", ".join(map(str, bos.tolist())) or "nowhere"
            faults.append(f"row {example.row}: BOS stands at {at}; expected at 0 alone")
        if not weights.any():
            faults.append(f"row {example.row}: every loss weight is zero, nothing is learned")
            continue
        answer = _ids(template.render(rows[example.row]).completion, tokenizer)
        if ids[-1] != answer[-1] or not weights[-1]:
            faults.append(
                f"row {example.row}: the stop token {template.stop} is not trained; "
                "the model would not learn to end"
            )
        elif len(ids) < len(answer) or ids[-len(answer) :].tolist() != answer:
            faults.append(f"row {example.row}: the answer is cut")
        elif not weights[-len(answer) :].all():
            faults.append(f"row {example.row}: part of the answer has loss weight zero")
    if faults:
        raise DataError(collected("examples that would train the wrong thing", faults))


def _example(rendered: Rendered, tokenizer: Tokenizer, mask_prompt: bool, row: int) -> Example:
    ids = [tokenizer.bos_id]
    weights = [0]
    for part in rendered.parts:
        part_ids = _ids(part.pieces, tokenizer)
        ids.extend(part_ids)
        weights.extend([int(part.supervised or not mask_prompt)] * len(part_ids))
    return Example(np.array(ids, np.int32), np.array(weights, np.uint8), row)


def _ids(pieces: Iterable[Piece], tokenizer: Tokenizer) -> list[int]:
    ids: list[int] = []
    for piece in pieces:
        if isinstance(piece, Text):
            ids.extend(tokenizer.encode(piece.text))
        else:
            ids.append(marker_id(piece.name, tokenizer))
    return ids


def _schema_template(template: Template) -> Template | None:
    """The template with contexts cut to the schema; None where that changes nothing."""
    if template.context == "schema" or "context" not in template.slots:
        return None
    return dataclasses.replace(template, context="schema")


def _nothing_left(dropped: Sequence[Dropped]) -> str:
    if not dropped:
        return "there are no rows to encode; look at data.source, data.only_empty and data.limit"
    lengths = [each.tokens for each in dropped]
    reasons = Counter(each.reason for each in dropped)
    return collected(
        f"no row is left of {len(dropped)}: they have {min(lengths)} to {max(lengths)} tokens, "
        f"median {statistics.median(lengths):.0f}; raise train.sequence_length, or set "
        'prompt.context = "schema"',
        [f"{count} rows: {reason}" for reason, count in reasons.most_common()],
    )
