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

from kerasft.data.pieces import Marker, Piece, Text
from kerasft.data.prompts import Rendered, Template, marker_id
from kerasft.data.tokens import Tokenizer
from kerasft.errors import DataError, collected
from kerasft.recipe import PromptSettings

ROWS_AT_ONCE = 8192
"""Rows whose texts are in memory, encoded, at one time, beside the examples."""

ENCODED_AGAIN = 256
"""Answers that `check_examples` encodes a second time, spread over the examples."""


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
    for start in range(0, len(rows), ROWS_AT_ONCE):
        rendered: dict[int, Rendered] = {}
        for index in range(start, min(start + ROWS_AT_ONCE, len(rows))):
            try:
                rendered[index] = template.render(rows[index])
            except DataError as error:
                faults.append(f"row {index}: {error}")
        made = _examples(rendered, tokenizer, settings.mask_prompt)
        too_long = {
            index: len(example.token_ids)
            for index, example in made.items()
            if len(example.token_ids) > sequence_length
        }
        if schema_template is not None:
            shorter = {index: schema_template.render(rows[index]) for index in too_long}
            made |= _examples(shorter, tokenizer, settings.mask_prompt)
        for index, example in made.items():
            if len(example.token_ids) <= sequence_length:
                examples.append(example)
                trimmed += index in too_long
                continue
            cut = ", its context cut to the schema too" if schema_template is not None else ""
            reason = f"longer than sequence_length = {sequence_length} tokens{cut}"
            dropped.append(Dropped(index, reason, too_long[index]))
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
    examples: Sequence[Example],
    rows: Sequence[Mapping[str, Any]],
    template: Template,
    tokenizer: Tokenizer,
) -> None:
    """Prove that every example trains what it should, whatever made it.

    Each has exactly one BOS, at its head; some loss weight; and ends in its row's
    whole answer and the stop token, all of them supervised. Most answers are read back
    from their ids, which takes a tenth of encoding them; `ENCODED_AGAIN` of them, and
    all that do not read as they should, are encoded once more, one by one.

    Raises:
        DataError: every example that does not, with its row.
    """
    faults: list[str] = []
    special = frozenset(tokenizer.special_ids.values())
    every = -(-len(examples) // ENCODED_AGAIN)
    for place, example in enumerate(examples):
        fault = _head_fault(example, tokenizer)
        if fault is None:
            answer = template.render(rows[example.row]).completion
            if place % every == 0 or not _reads_as(example, answer, tokenizer, special):
                fault = _tail_fault(example, _ids(answer, tokenizer), template.stop)
        if fault is not None:
            faults.append(f"row {example.row}: {fault}")
    if faults:
        raise DataError(collected("examples that would train the wrong thing", faults))


def _head_fault(example: Example, tokenizer: Tokenizer) -> str | None:
    bos = np.flatnonzero(example.token_ids == tokenizer.bos_id)
    if bos.tolist() != [0]:
        at = ", ".join(map(str, bos.tolist())) or "nowhere"
        return f"BOS stands at {at}; expected at 0 alone"
    if not example.loss_weights.any():
        return "every loss weight is zero, nothing is learned"
    return None


def _tail_fault(example: Example, answer: list[int], stop: str) -> str | None:
    """What is wrong with the end of an example whose answer has these ids, stop token last."""
    ids, weights = example.token_ids, example.loss_weights
    if ids[-1] != answer[-1] or not weights[-1]:
        return f"the stop token {stop} is not trained; the model would not learn to end"
    if len(ids) < len(answer) or ids[-len(answer) :].tolist() != answer:
        return "the answer is cut"
    if not weights[-len(answer) :].all():
        return "part of the answer has loss weight zero"
    return None


def _reads_as(
    example: Example, answer: Sequence[Piece], tokenizer: Tokenizer, special: frozenset[int]
) -> bool:
    """Whether the last supervised tokens are the text of the answer and its stop token.

    False proves nothing: with `mask_prompt` off they are the prompt too, and a tokenizer
    that normalises gives other text back.
    """
    *texts, stop = answer
    if not isinstance(stop, Marker) or not all(isinstance(text, Text) for text in texts):
        return False
    start = int(np.flatnonzero(example.loss_weights == 0)[-1]) + 1
    *ids, last = example.token_ids[start:].tolist() or [-1]
    # A special id would read as its name, or as nothing, like an id beyond the vocabulary.
    return (
        last == marker_id(stop.name, tokenizer)
        and special.isdisjoint(ids)
        and max(ids, default=0) < tokenizer.vocabulary_size
        and tokenizer.decode(ids) == "".join(text.text for text in texts)
    )


def _examples(
    rendered: Mapping[int, Rendered], tokenizer: Tokenizer, mask_prompt: bool
) -> dict[int, Example]:
    """Examples by row, whatever their length."""
    pieces = [piece for row in rendered.values() for part in row.parts for piece in part.pieces]
    ids = _ids_by_piece(pieces, tokenizer)
    bos = np.array([tokenizer.bos_id], np.int32)
    made = {}
    for index, row in rendered.items():
        token_ids, trained, lengths = [bos], [False], [1]
        for part in row.parts:
            for piece in part.pieces:
                token_ids.append(ids[piece])
                trained.append(part.supervised or not mask_prompt)
                lengths.append(len(ids[piece]))
        weights = np.repeat(np.array(trained, np.uint8), lengths)
        made[index] = Example(np.concatenate(token_ids), weights, index)
    return made


def _ids_by_piece(pieces: Iterable[Piece], tokenizer: Tokenizer) -> dict[Piece, np.ndarray]:
    """Ids of pieces, int32; each different one is encoded once."""
    different = list(dict.fromkeys(pieces))
    texts = [piece for piece in different if isinstance(piece, Text)]
    encoded = tokenizer.encode_batch([piece.text for piece in texts])
    ids: dict[Piece, np.ndarray] = dict(zip(texts, encoded, strict=True))
    for piece in different:
        if isinstance(piece, Marker):
            ids[piece] = np.array([marker_id(piece.name, tokenizer)], np.int32)
    return ids


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
