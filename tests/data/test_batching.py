"""Windows hold exactly the supervised tokens of their rows, each row once an epoch."""

import numpy as np
import pytest

from kerasft.data.batching import (
    Room,
    Window,
    WindowSource,
    build_window,
    padded_length,
    padded_positions,
    plan_epoch,
)
from kerasft.data.examples import Example
from kerasft.recipe import TrainSettings


def examples(count: int, seed: int = 0, longest: int = 200) -> list[Example]:
    """Random rows; ids are unlike across rows, so that a mix-up shows."""
    generator = np.random.default_rng(seed)
    made = []
    for row in range(count):
        length = int(generator.integers(3, longest + 1))
        ids = 1000 * (row + 1) + np.arange(length, dtype=np.int32)
        weights = (generator.random(length) < 0.4).astype(np.uint8)
        weights[0], weights[-1] = 0, 1
        made.append(Example(ids.astype(np.int32), weights, row))
    return made


def settings(batch_size: int = 4, accumulation: int = 2, seed: int = 0) -> TrainSettings:
    return TrainSettings(
        sequence_length=256,
        batch_size=batch_size,
        gradient_accumulation=accumulation,
        seed=seed,
        epochs=4,
    )


def supervised(window: Window) -> list[list[int]]:
    """Targets with weight of every micro-batch, each checked against its position."""
    found = []
    for micro in range(len(window.token_ids)):
        ids = window.token_ids[micro].reshape(-1)
        length = window.token_ids.shape[2]
        real = window.weights[micro] > 0
        for position, target in zip(
            window.gather_indices[micro][real], window.targets[micro][real], strict=True
        ):
            assert ids[position + 1] == target
            assert position % length != length - 1, "a row's last place predicts nothing"
        found.append(window.targets[micro][real].tolist())
    return found


def test_a_window_by_hand() -> None:
    rows = [
        Example(np.array([2, 10, 11, 12], np.int32), np.array([0, 0, 1, 1], np.uint8), 0),
        Example(np.array([2, 20, 21], np.int32), np.array([0, 1, 1], np.uint8), 1),
        Example(np.array([2, 30], np.int32), np.array([0, 1], np.uint8), 2),
    ]
    seeds = np.array([7, 8], np.uint32)
    window = build_window(rows, [[2, 0], [], [1]], 2, 2, 6, Room(supervised=4, starts=5), seeds)
    assert window.shape == (2, 2, 6, 4)
    assert window.token_ids.tolist() == [
        [[2, 30, 2, 10, 11, 12], [0, 0, 0, 0, 0, 0]],
        [[2, 20, 21, 0, 0, 0], [0, 0, 0, 0, 0, 0]],
    ]
    assert window.segment_ids.tolist() == [
        [[1, 1, 2, 2, 2, 2], [0, 0, 0, 0, 0, 0]],
        [[1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]],
    ]
    assert window.position_ids.tolist() == [
        [[0, 1, 0, 1, 2, 3], [0, 1, 2, 3, 4, 5]],
        [[0, 1, 2, 0, 1, 2], [0, 1, 2, 3, 4, 5]],
    ]
    assert window.sequence_starts.tolist() == [[0, 2, 6, 12, 12], [0, 3, 6, 12, 12]]
    assert window.gather_indices.tolist() == [[0, 3, 4, 0], [0, 1, 0, 0]]
    assert window.targets.tolist() == [[30, 11, 12, 0], [20, 21, 0, 0]]
    assert window.weights.tolist() == [[1, 1, 1, 0], [1, 1, 0, 0]]
    assert (window.tokens, window.supervised_tokens, window.rows) == (9, 5, (2, 0, 1))
    for name in ("token_ids", "segment_ids", "position_ids", "sequence_starts", "gather_indices"):
        assert getattr(window, name).dtype == np.int32
    assert (window.targets.dtype, window.weights.dtype) == (np.int32, np.float32)
    assert (window.dropout_seeds.dtype, window.dropout_seeds.tolist()) == (np.uint32, [7, 8])


@pytest.mark.parametrize(("batch_size", "accumulation"), [(1, 1), (8, 1), (4, 2), (1, 8), (3, 5)])
def test_an_epoch_has_every_supervised_token_once(batch_size: int, accumulation: int) -> None:
    rows = examples(101)
    source = WindowSource(rows, settings(batch_size, accumulation))
    seen: list[int] = []
    places: list[int] = []
    tokens = 0
    for index in range(source.steps_per_epoch):
        window = source.window(0, index)
        for targets in supervised(window):
            seen.extend(targets)
        places.extend(window.rows)
        tokens += window.tokens
        assert window.supervised_tokens == window.weights.sum()
        assert (window.sequence_starts[:, -1] == batch_size * window.shape[2]).all()
    assert sorted(places) == list(range(101))
    assert tokens == sum(len(row.token_ids) for row in rows)
    expected = [int(each) for row in rows for each in row.token_ids[row.loss_weights > 0]]
    assert sorted(seen) == sorted(expected)
    assert source.steps_per_epoch == -(-101 // (batch_size * accumulation))


def test_micro_batches_share_the_rows_of_the_same_window() -> None:
    """8x1, 4x2 and 1x8 see the same rows in the same step, which parity rests on."""
    rows = examples(64)
    plans = [WindowSource(rows, settings(*shape)).plan(3) for shape in ((8, 1), (4, 2), (1, 8))]
    assert plans[0] == plans[1] == plans[2]


def test_a_window_needs_no_history() -> None:
    rows = examples(50)
    source, fresh = WindowSource(rows, settings()), WindowSource(rows, settings())
    for epoch in (0, 1):
        for index in range(source.steps_per_epoch):
            source.window(epoch, index)
    again, first = source.window(1, 4), fresh.window(1, 4)
    assert again.rows == first.rows
    assert np.array_equal(again.token_ids, first.token_ids)
    assert np.array_equal(again.gather_indices, first.gather_indices)


def test_every_micro_batch_of_a_run_drops_out_otherwise() -> None:
    source = WindowSource(examples(40), settings(batch_size=2, accumulation=4))
    other = WindowSource(examples(40), settings(batch_size=2, accumulation=4, seed=1))
    seeds = [
        seed
        for windows in (source, other)
        for epoch in (0, 1)
        for index in range(windows.steps_per_epoch)
        for seed in windows.window(epoch, index).dropout_seeds.tolist()
    ]
    assert len(set(seeds)) == len(seeds) == 2 * 2 * 5 * 4
    assert source.window(1, 3).dropout_seeds.tolist() == seeds[20 + 12 : 20 + 16]


def test_epochs_and_seeds_order_the_rows_otherwise() -> None:
    lengths = [10] * 64
    plans = [plan_epoch(lengths, 4, 1, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(a != b for a in plans for b in plans if a is not b)
    assert plan_epoch(lengths, 4, 1, 0, 1) == plans[1]
    assert plan_epoch(lengths, 4, 1, -1, 0) != plans[0]


def test_grouping_by_length_saves_padding_and_keeps_the_order_random() -> None:
    generator = np.random.default_rng(0)
    lengths = generator.integers(8, 512, 4000).tolist()
    plan = plan_epoch(lengths, 8, 1, 0, 0)
    longest = [max(lengths[row] for row in window) for window in plan]
    padded = sum(8 * each for each in longest)
    shuffled = generator.permutation(4000).reshape(-1, 8)
    at_random = sum(8 * max(lengths[row] for row in window) for window in shuffled)
    assert padded < 0.62 * at_random
    # A run must not go from short to long: neighbours in time are unlike.
    order = np.corrcoef(np.arange(len(longest)), longest)[0, 1]
    assert abs(order) < 0.15


def test_only_the_last_window_is_not_full() -> None:
    plan = plan_epoch([5, 6, 7] * 7, 4, 1, 0, 0)
    assert [len(window) for window in plan] == [4, 4, 4, 4, 4, 1]


@pytest.mark.parametrize("sequence_length", [8, 64, 320, 512, 1000, 2048, 8192])
def test_padded_lengths_are_few_and_enough(sequence_length: int) -> None:
    padded = {
        length: padded_length(length, sequence_length) for length in range(1, sequence_length + 1)
    }
    assert all(value >= length and value % 64 == 0 for length, value in padded.items())
    assert len(set(padded.values())) <= 8


def test_padded_positions() -> None:
    rooms = [padded_positions(count) for count in (0, 1, 64, 65, 128, 1000)]
    assert rooms == [64, 64, 64, 128, 128, 1024]


def test_there_are_no_more_shapes_than_lengths() -> None:
    source = WindowSource(examples(400), settings())
    shapes = {source.window(epoch, index).shape for epoch in range(4) for index in range(50)}
    assert len({shape[2] for shape in shapes}) == len(shapes) <= 4


def test_shapes_are_those_of_the_windows() -> None:
    source = WindowSource(examples(203), settings())
    counted: dict[tuple[int, ...], int] = {}
    for index in range(source.steps_per_epoch):
        shape = source.window(2, index).shape
        counted[shape] = counted.get(shape, 0) + 1
    assert source.shapes(2) == counted
