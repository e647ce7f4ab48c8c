"""Windows: the micro-batches of one optimizer step, as arrays of few shapes.

Pure NumPy and without state: window (epoch, index) is a function of the seed, so
a resumed run asks for the next index and gets what it would have had.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kerasft.data.examples import Example
from kerasft.recipe import TrainSettings

LENGTH_STEP = 64
"""Padded lengths are multiples of this, in tokens."""

LENGTHS_AT_MOST = 8
"""Different padded lengths; above this the step between them grows."""

POSITIONS_STEP = 64
"""Numbers of gathered positions are multiples of this."""

MEGABATCH = 50
"""Windows among which rows are sorted by length before they are shuffled again.

Rows of a window are then alike in length, so little is padding, and a window is
still drawn from a random part of the data.
"""


@dataclass(frozen=True, eq=False)
class Window:
    """The `A` micro-batches of `B` rows of one optimizer step, padded to length `L`.

    Attributes:
        token_ids: int32 (A, B, L); padding is 0.
        padding_mask: int32 (A, B, L), 1 for a token. A row that fills up the last
            window has one token, so that attention has something to attend to.
        positions: int32 (A, P), flat indices into B·L of the inputs whose next
            token is supervised; padding is 0.
        targets: int32 (A, P), the next tokens.
        weights: float32 (A, P), 1 for a supervised target, 0 for padding of P.
        tokens: tokens of all rows, without padding.
        supervised_tokens: sum of the weights, by which the loss is divided.
        rows: indices of the examples, in order of their place.
    """

    token_ids: np.ndarray
    padding_mask: np.ndarray
    positions: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    tokens: int
    supervised_tokens: int
    rows: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(A, B, L, P): windows of one shape share one compiled step."""
        return (*self.token_ids.shape, self.positions.shape[1])  # type: ignore[return-value]


def plan_epoch(
    lengths: Sequence[int], batch_size: int, accumulation: int, seed: int, epoch: int
) -> list[list[int]]:
    """Indices of the rows of every window of an epoch, each row once.

    Rows are shuffled, sorted by length inside `MEGABATCH` windows, and the
    windows are shuffled. The rows that do not fill a window make the last one.

    Args:
        lengths: of the examples, in tokens.
        batch_size: rows a micro-batch.
        accumulation: micro-batches a window.
        seed, epoch: what the order depends on, apart from the lengths.
    """
    size = batch_size * accumulation
    generator = np.random.default_rng([seed & 0xFFFFFFFF, epoch])
    order = generator.permutation(len(lengths))
    whole = len(order) - len(order) % size
    sizes = np.asarray(lengths)
    windows: list[list[int]] = []
    for start in range(0, whole, size * MEGABATCH):
        rows = order[start : min(start + size * MEGABATCH, whole)]
        rows = rows[np.argsort(sizes[rows], kind="stable")]
        windows.extend(rows.reshape(-1, size).tolist())
    plan = [windows[index] for index in generator.permutation(len(windows))]
    if whole < len(order):
        rest = order[whole:]
        plan.append(rest[np.argsort(sizes[rest], kind="stable")].tolist())
    return plan


def padded_length(length: int, sequence_length: int) -> int:
    """The padded length of a window whose longest row has `length` tokens.

    At most `LENGTHS_AT_MOST` different values for a `sequence_length`.
    """
    step = LENGTH_STEP * -(-sequence_length // (LENGTH_STEP * LENGTHS_AT_MOST))
    return -(-length // step) * step


def padded_positions(count: int) -> int:
    """The least multiple of `POSITIONS_STEP` that is not below `count`, and not 0."""
    return max(1, -(-count // POSITIONS_STEP)) * POSITIONS_STEP


def build_window(
    examples: Sequence[Example],
    rows: Sequence[int],
    batch_size: int,
    accumulation: int,
    sequence_length: int,
    rooms: Mapping[int, int],
) -> Window:
    """The arrays of a window.

    Args:
        examples: all of them.
        rows: indices of at most `batch_size * accumulation` of them.
        batch_size, accumulation: B and A.
        sequence_length: what lengths are bucketed by.
        rooms: P by padded length.
    """
    chosen = [examples[row] for row in rows]
    length = padded_length(max(len(each.token_ids) for each in chosen), sequence_length)
    token_ids = np.zeros((accumulation * batch_size, length), np.int32)
    padding_mask = np.zeros_like(token_ids)
    padding_mask[len(chosen) :, 0] = 1
    supervised = np.zeros((accumulation * batch_size, length), bool)
    for place, example in enumerate(chosen):
        size = len(example.token_ids)
        token_ids[place, :size] = example.token_ids
        padding_mask[place, :size] = 1
        # The state at t predicts token t + 1, so BOS is nobody's target.
        supervised[place, : size - 1] = example.loss_weights[1:] > 0
    flat = supervised.reshape(accumulation, batch_size * length)
    counts = flat.sum(axis=1)
    room = rooms[length]
    positions = np.zeros((accumulation, room), np.int32)
    targets = np.zeros((accumulation, room), np.int32)
    weights = np.zeros((accumulation, room), np.float32)
    ids = token_ids.reshape(accumulation, batch_size * length)
    for micro, count in enumerate(counts):
        found = np.flatnonzero(flat[micro])
        positions[micro, :count] = found
        targets[micro, :count] = ids[micro, found + 1]
        weights[micro, :count] = 1
    return Window(
        token_ids.reshape(accumulation, batch_size, length),
        padding_mask.reshape(accumulation, batch_size, length),
        positions,
        targets,
        weights,
        tokens=sum(len(each.token_ids) for each in chosen),
        supervised_tokens=int(counts.sum()),
        rows=tuple(rows),
    )


@dataclass(frozen=True)
class Counts:
    """Tokens of a window, padding left out, and how many of them are supervised."""

    tokens: int
    supervised_tokens: int


class WindowSource:
    """The windows of a training run, by epoch and index.

    Windows of one padded length share one number of gathered positions, the largest that
    any of them needs in the whole run, so there are no more shapes than lengths.

    Args:
        examples: at least one.
        settings: batch_size, gradient_accumulation, seed and sequence_length are read.
    """

    def __init__(self, examples: Sequence[Example], settings: TrainSettings) -> None:
        self._examples = examples
        self._lengths = [len(example.token_ids) for example in examples]
        self._supervised = [int(example.loss_weights[1:].sum()) for example in examples]
        self._settings = settings
        self._planned: tuple[int, list[list[int]]] | None = None
        self._rooms = self._positions_by_length()

    @property
    def steps_per_epoch(self) -> int:
        """Windows of an epoch, the last one perhaps not full."""
        size = self._settings.batch_size * self._settings.gradient_accumulation
        return -(-len(self._examples) // size)

    def window(self, epoch: int, index: int) -> Window:
        """Window `index` of `epoch`, both from 0."""
        settings = self._settings
        return build_window(
            self._examples,
            self.plan(epoch)[index],
            settings.batch_size,
            settings.gradient_accumulation,
            settings.sequence_length,
            self._rooms,
        )

    def counts(self, epoch: int, index: int) -> Counts:
        """What a window holds, without building it."""
        rows = self.plan(epoch)[index]
        return Counts(
            sum(self._lengths[row] for row in rows), sum(self._supervised[row] for row in rows)
        )

    def plan(self, epoch: int) -> list[list[int]]:
        """Indices of the examples of every window of an epoch."""
        if self._planned is None or self._planned[0] != epoch:
            settings = self._settings
            plan = plan_epoch(
                self._lengths,
                settings.batch_size,
                settings.gradient_accumulation,
                settings.seed,
                epoch,
            )
            self._planned = (epoch, plan)
        return self._planned[1]

    def shapes(self, epoch: int) -> dict[tuple[int, int, int, int], int]:
        """Windows of an epoch by shape (A, B, L, P), the most frequent first.

        A step is compiled once a shape, so this is what compilation will cost.
        """
        return dict(Counter(map(self._shape, self.plan(epoch))).most_common())

    def _shape(self, rows: Sequence[int]) -> tuple[int, int, int, int]:
        length = self._padded_length(rows)
        settings = self._settings
        return settings.gradient_accumulation, settings.batch_size, length, self._rooms[length]

    def _padded_length(self, rows: Sequence[int]) -> int:
        return padded_length(
            max(self._lengths[row] for row in rows), self._settings.sequence_length
        )

    def _positions_by_length(self) -> dict[int, int]:
        size = self._settings.batch_size
        most: dict[int, int] = {}
        for epoch in range(self._settings.epochs):
            for rows in self.plan(epoch):
                length = self._padded_length(rows)
                for start in range(0, len(rows), size):
                    count = sum(self._supervised[row] for row in rows[start : start + size])
                    most[length] = max(most.get(length, 0), count)
        return {length: padded_positions(count) for length, count in most.items()}
