"""Windows: the micro-batches of one optimizer step, as arrays of few shapes.

Pure NumPy and without state: window (epoch, index) is a function of the seed, so
a resumed run asks for the next index and gets what it would have had.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kerasft.data.examples import Example
from kerasft.data.order import balanced, of_like_length
from kerasft.data.packing import pack
from kerasft.recipe import TrainSettings

LENGTH_STEP = 64
"""Padded lengths are multiples of this, in tokens."""

LENGTHS_AT_MOST = 8
"""Different padded lengths; above this the step between them grows."""

POSITIONS_STEP = 64
"""Numbers of gathered positions are multiples of this."""

STARTS_STEP = 64
"""Numbers of segments' starts are multiples of this: other rows, or another seed, then mostly
find the step of an earlier run compiled."""


@dataclass(frozen=True, eq=False)
class Window:
    """The `A` micro-batches of `B` rows of `L` tokens of one optimizer step.

    A row holds examples one after the other, its segments; what is left of it is padding,
    a segment of its own. A row that fills up the last window is all padding.

    Attributes:
        token_ids: int32 (A, B, L); padding is 0.
        segment_ids: int32 (A, B, L): 1, 2 … for the examples of a row, 0 for padding.
        position_ids: int32 (A, B, L), from 0 in every segment.
        sequence_starts: int32 (A, S), flat indices into B·L at which segments start, 0
            first, then B·L up to the end, once at least.
        gather_indices: int32 (A, P), flat indices into B·L of the inputs whose next
            token is supervised; padding is 0.
        targets: int32 (A, P), the next tokens.
        weights: float32 (A, P), 1 for a supervised target, 0 for padding of P.
        dropout_seeds: uint32 (A,), of the dropout of each micro-batch.
        tokens: tokens of all rows, without padding.
        supervised_tokens: sum of the weights, by which the loss is divided.
        rows: indices of the examples, in order of their place.
    """

    token_ids: np.ndarray
    segment_ids: np.ndarray
    position_ids: np.ndarray
    sequence_starts: np.ndarray
    gather_indices: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    dropout_seeds: np.ndarray
    tokens: int
    supervised_tokens: int
    rows: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(A, B, L, P): windows of one shape share one compiled step."""
        return (*self.token_ids.shape, self.targets.shape[1])  # type: ignore[return-value]


@dataclass(frozen=True)
class Room:
    """What windows of one padded length have room for, in a micro-batch.

    Attributes:
        supervised: P, gathered positions.
        starts: S, starts of segments with the end.
    """

    supervised: int
    starts: int


def padded_length(length: int, sequence_length: int) -> int:
    """The padded length of a window whose longest row has `length` tokens.

    At most `LENGTHS_AT_MOST` different values for a `sequence_length`.
    """
    step = LENGTH_STEP * -(-sequence_length // (LENGTH_STEP * LENGTHS_AT_MOST))
    return _multiple(length, step)


def padded_positions(count: int) -> int:
    """The least multiple of `POSITIONS_STEP` that is not below `count`, and not 0."""
    return _multiple(max(count, 1), POSITIONS_STEP)


def _multiple(count: int, step: int) -> int:
    """The least multiple of `step` that is not below `count`."""
    return -(-count // step) * step


def dropout_seeds(seed: int, epoch: int, index: int, accumulation: int) -> np.ndarray:
    """uint32 (A,): the seed of each micro-batch of a window, the same however often it is asked."""
    sequence = np.random.SeedSequence([seed & 0xFFFFFFFF, epoch, index])
    return sequence.generate_state(accumulation, np.uint32)


def build_window(
    examples: Sequence[Example],
    rows: Sequence[Sequence[int]],
    batch_size: int,
    accumulation: int,
    length: int,
    room: Room,
    seeds: np.ndarray,
) -> Window:
    """The arrays of a window.

    Args:
        examples: all of them.
        rows: indices of the examples of each row, at most `batch_size * accumulation` rows.
        batch_size, accumulation, length: B, A and L.
        room: P and S.
        seeds: of the dropout, one a micro-batch.
    """
    places = accumulation * batch_size
    token_ids = np.zeros((places, length), np.int32)
    segment_ids = np.zeros_like(token_ids)
    position_ids = np.zeros_like(token_ids)
    supervised = np.zeros((places, length), bool)
    sequence_starts = np.full((accumulation, room.starts), batch_size * length, np.int32)
    counting = np.arange(length, dtype=np.int32)
    for place in range(places):
        row = rows[place] if place < len(rows) else ()
        micro, start = divmod(place, batch_size)
        if start == 0:
            found = 0  # segments of the micro-batch so far
        end = 0
        for segment, index in enumerate(row, 1):
            example = examples[index]
            begin, end = end, end + len(example.token_ids)
            token_ids[place, begin:end] = example.token_ids
            segment_ids[place, begin:end] = segment
            position_ids[place, begin:end] = counting[: end - begin]
            # The state at t predicts token t + 1, so BOS is nobody's target.
            supervised[place, begin : end - 1] = example.loss_weights[1:]
            sequence_starts[micro, found] = start * length + begin
            found += 1
        if end < length:
            position_ids[place, end:] = counting[: length - end]
            sequence_starts[micro, found] = start * length + end
            found += 1
    flat = supervised.reshape(accumulation, batch_size * length)
    ids = token_ids.reshape(accumulation, batch_size * length)
    gather_indices = np.zeros((accumulation, room.supervised), np.int32)
    targets = np.zeros((accumulation, room.supervised), np.int32)
    weights = np.zeros((accumulation, room.supervised), np.float32)
    for micro in range(accumulation):
        inputs = np.flatnonzero(flat[micro])
        gather_indices[micro, : len(inputs)] = inputs
        targets[micro, : len(inputs)] = ids[micro, inputs + 1]
        weights[micro, : len(inputs)] = 1
    shape = (accumulation, batch_size, length)
    return Window(
        token_ids.reshape(shape),
        segment_ids.reshape(shape),
        position_ids.reshape(shape),
        sequence_starts,
        gather_indices,
        targets,
        weights,
        seeds,
        tokens=int((segment_ids > 0).sum()),
        supervised_tokens=int(flat.sum()),
        rows=tuple(index for row in rows for index in row),
    )


@dataclass(frozen=True)
class Counts:
    """Tokens of a window, padding left out, and how many of them are supervised."""

    tokens: int
    supervised_tokens: int


class WindowSource:
    """The windows of a training run, by epoch and index.

    With `packing`, which examples share a row is settled once, every epoch orders the
    rows anew, and all windows have one shape: as many tokens a row as the fullest has.
    Without it, a row is an example, rows of like length share a window, and there are
    as many shapes as padded lengths. Windows of one padded length share one number of
    gathered positions, the largest that any of them needs in the whole run.

    Args:
        examples: at least one.
        settings: batch_size, gradient_accumulation, epochs, packing, seed and
            sequence_length are read.
    """

    def __init__(self, examples: Sequence[Example], settings: TrainSettings) -> None:
        self._examples = examples
        self._settings = settings
        lengths = [len(example.token_ids) for example in examples]
        if settings.packing:
            capacity = _multiple(settings.sequence_length, LENGTH_STEP)
            self._rows = pack(lengths, capacity, settings.seed)
        else:
            self._rows = [[index] for index in range(len(examples))]
        supervised = [int(example.loss_weights[1:].sum()) for example in examples]
        self._tokens = [sum(lengths[index] for index in row) for row in self._rows]
        self._supervised = [sum(supervised[index] for index in row) for row in self._rows]
        self._fullest = max(self._tokens)
        self._ordered: tuple[int, list[list[int]]] | None = None
        self._rooms = self._rooms_by_length()

    @property
    def rows(self) -> int:
        """Rows of an epoch: packed ones with `packing`, else the examples."""
        return len(self._rows)

    @property
    def steps_per_epoch(self) -> int:
        """Windows of an epoch, the last one perhaps not full."""
        return -(-len(self._rows) // self._size)

    @property
    def largest_shape(self) -> tuple[int, int, int, int]:
        """(A, B, L, P) of the windows of the run with the longest rows."""
        settings, length = self._settings, max(self._rooms)
        room = self._rooms[length].supervised
        return settings.gradient_accumulation, settings.batch_size, length, room

    @property
    def padding_share(self) -> float:
        """Share of the first epoch's places that are padding, full windows or not."""
        places = sum(a * b * length * n for (a, b, length, _), n in self.shapes(0).items())
        return 1 - sum(self._tokens) / places

    def window(self, epoch: int, index: int) -> Window:
        """Window `index` of `epoch`, both from 0."""
        settings = self._settings
        rows = self._order(epoch)[index]
        length = self._padded_length(rows)
        return build_window(
            self._examples,
            [self._rows[row] for row in rows],
            settings.batch_size,
            settings.gradient_accumulation,
            length,
            self._rooms[length],
            dropout_seeds(settings.seed, epoch, index, settings.gradient_accumulation),
        )

    def counts(self, epoch: int, index: int) -> Counts:
        """What a window holds, without building it."""
        rows = self._order(epoch)[index]
        return Counts(
            sum(self._tokens[row] for row in rows), sum(self._supervised[row] for row in rows)
        )

    def rows_of(self, epoch: int, index: int) -> list[int]:
        """Indices of the rows of the data that a window is made of, without building it."""
        packed = [self._rows[row] for row in self._order(epoch)[index]]
        return [self._examples[example].row for row in packed for example in row]

    def plan(self, epoch: int) -> list[list[list[int]]]:
        """Indices of the examples of every row of every window of an epoch."""
        return [[self._rows[row] for row in rows] for rows in self._order(epoch)]

    def shapes(self, epoch: int) -> dict[tuple[int, int, int, int], int]:
        """Windows of an epoch by shape (A, B, L, P), the most frequent first.

        A step is compiled once a shape, so this is what compilation will cost.
        """
        return dict(Counter(map(self._shape, self._order(epoch))).most_common())

    @property
    def _size(self) -> int:
        return self._settings.batch_size * self._settings.gradient_accumulation

    def _order(self, epoch: int) -> list[list[int]]:
        """Indices of the rows of every window of an epoch."""
        if self._ordered is None or self._ordered[0] != epoch:
            settings = self._settings
            if settings.packing:
                order = balanced(
                    self._supervised,
                    settings.batch_size,
                    settings.gradient_accumulation,
                    settings.seed,
                    epoch,
                )
            else:
                order = of_like_length(self._tokens, self._size, settings.seed, epoch)
            self._ordered = (epoch, order)
        return self._ordered[1]

    def _shape(self, rows: Sequence[int]) -> tuple[int, int, int, int]:
        length = self._padded_length(rows)
        settings = self._settings
        room = self._rooms[length].supervised
        return settings.gradient_accumulation, settings.batch_size, length, room

    def _padded_length(self, rows: Sequence[int]) -> int:
        if self._settings.packing:
            return _multiple(self._fullest, LENGTH_STEP)
        return padded_length(max(self._tokens[row] for row in rows), self._settings.sequence_length)

    def _rooms_by_length(self) -> dict[int, Room]:
        size = self._settings.batch_size
        supervised: Counter[int] = Counter()
        segments: Counter[int] = Counter()
        for epoch in range(self._settings.epochs):
            for rows in self._order(epoch):
                length = self._padded_length(rows)
                for start in range(0, len(rows), size):
                    micro = rows[start : start + size]
                    wanted = sum(self._supervised[row] for row in micro)
                    supervised[length] = max(supervised[length], wanted)
                    wanted = sum(len(self._rows[row]) for row in micro)
                    segments[length] = max(segments[length], wanted)
        # The padding of each row is a segment too, and the end comes last.
        return {
            length: Room(
                padded_positions(count), _multiple(segments[length] + size + 1, STARTS_STEP)
            )
            for length, count in supervised.items()
        }
