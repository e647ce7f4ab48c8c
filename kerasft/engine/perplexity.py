"""How likely a model finds given completions: their losses, row by row, on both backends.

The hidden states are those of the training step and the loss is its fused one, over the
supervised positions of one row at a time, so that no logits of all positions are alive.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from kerasft.data.batching import Room, build_window, padded_length, padded_positions
from kerasft.data.examples import Example
from kerasft.engine.head import Head
from kerasft.engine.loss import largest_chunk
from kerasft.models.families import Family
from kerasft.models.lora import Lora
from kerasft.recipe import LoraSettings

if keras.backend.backend() == "torch":
    from kerasft.engine.torch_perplexity import TorchLosses as _Losses
else:
    from kerasft.engine.jax_perplexity import JaxLosses as _Losses

TOKENS_AT_ONCE = 2048
"""Tokens of a batch, padding included, whose hidden states are computed together."""


@dataclass(frozen=True)
class RowLoss:
    """The loss of one row's supervised tokens.

    Attributes:
        nats: their summed negative log-likelihood.
        tokens: how many they are.
    """

    nats: float
    tokens: int


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of like length, one example a row, and what is supervised in each.

    Attributes:
        token_ids, segment_ids, position_ids: int32 (B, L), as in a `Window`.
        sequence_starts: int32 (S,), as in a `Window`.
        gather_indices: int32 (B, P), flat indices into B·L of the inputs whose next token is
            supervised; padding is 0.
        targets: int32 (B, P), the next tokens.
        weights: float32 (B, P), 1 for a supervised target, 0 for padding of P.
        rows: places of the examples, at most B of them.
    """

    token_ids: np.ndarray
    segment_ids: np.ndarray
    position_ids: np.ndarray
    sequence_starts: np.ndarray
    gather_indices: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    rows: tuple[int, ...]


class CompletionLosses:
    """Computes the losses of completions under a model, with its adapter if that is active.

    Args:
        backbone: a KerasHub backbone, with the adapter on it where there is one.
        family: its family.
        lora: the adapter; None for a bare base.
        chunk_bytes: memory for the float32 logits of one chunk of the loss.
    """

    def __init__(
        self, backbone: keras.Model, family: Family, lora: Lora | None, *, chunk_bytes: int
    ) -> None:
        head = Head(backbone)
        chunk = largest_chunk(head.vocabulary, chunk_bytes)
        adapter = lora if lora is not None else Lora(LoraSettings(), {})
        self._losses = _Losses(backbone, family, adapter, head, chunk)

    def rows(
        self, examples: Sequence[Example], *, on_rows: Callable[[int], None] = lambda done: None
    ) -> list[RowLoss]:
        """The loss of each example's supervised tokens.

        Args:
            examples: BOS first; a supervised token has a loss weight.
            on_rows: told how many rows are done.
        """
        found = [RowLoss(0.0, 0)] * len(examples)
        done = 0
        for batch in batches(examples):
            nats = self._losses.sums(batch)
            for place, row in enumerate(batch.rows):
                found[row] = RowLoss(float(nats[place]), int(batch.weights[place].sum()))
            done += len(batch.rows)
            on_rows(done)
        return found


def batches(examples: Sequence[Example]) -> Iterator[Batch]:
    """All examples in batches of few shapes, the shortest first."""
    if not examples:
        return
    longest = max(len(example.token_ids) for example in examples)
    by_length: dict[int, list[int]] = {}
    for index in sorted(range(len(examples)), key=lambda row: len(examples[row].token_ids)):
        length = padded_length(len(examples[index].token_ids), longest)
        by_length.setdefault(length, []).append(index)
    for length, indices in by_length.items():
        # Batches of one size, so that they are one shape, and with few rows that only fill up.
        count = -(-len(indices) // max(1, TOKENS_AT_ONCE // length))
        size = -(-len(indices) // count)
        supervised = (int(examples[index].loss_weights[1:].sum()) for index in indices)
        positions = padded_positions(max(supervised))
        for start in range(0, len(indices), size):
            yield _batch(examples, indices[start : start + size], size, length, positions)


def _batch(
    examples: Sequence[Example], rows: Sequence[int], size: int, length: int, positions: int
) -> Batch:
    window = build_window(
        examples,
        [[row] for row in rows],
        batch_size=size,
        accumulation=1,
        length=length,
        # Each row is an example and its padding, and the end comes last.
        room=Room(size * positions, 2 * size + 1),
        seeds=np.zeros(1, np.uint32),
    )
    gather_indices = np.zeros((size, positions), np.int32)
    targets = np.zeros((size, positions), np.int32)
    weights = np.zeros((size, positions), np.float32)
    used = window.weights[0] > 0
    inputs, following = window.gather_indices[0][used], window.targets[0][used]
    for place in range(len(rows)):
        own = inputs // length == place
        count = int(own.sum())
        gather_indices[place, :count] = inputs[own]
        targets[place, :count] = following[own]
        weights[place, :count] = 1
    return Batch(
        window.token_ids[0],
        window.segment_ids[0],
        window.position_ids[0],
        window.sequence_starts[0],
        gather_indices,
        targets,
        weights,
        tuple(rows),
    )
