"""Windows hold exactly the supervised tokens of their rows, each row once an epoch."""

import dataclasses
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from kerasft.data.batching import (
    Room,
    Window,
    WindowSource,
    build_window,
    padded_length,
    padded_positions,
)
from kerasft.data.examples import Example, encode_rows
from kerasft.data.prompts import template_for
from kerasft.data.sources import load_rows
from kerasft.recipe import DataSettings, PromptSettings, TrainSettings


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


def settings(
    batch_size: int = 4,
    accumulation: int = 2,
    seed: int = 0,
    packing: bool = False,
    sequence_length: int = 256,
) -> TrainSettings:
    return TrainSettings(
        packing=packing,
        sequence_length=sequence_length,
        batch_size=batch_size,
        gradient_accumulation=accumulation,
        seed=seed,
        epochs=4,
    )


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


def check_segments(window: Window, sequence_length: int) -> None:
    """Segments are contiguous, count from 1, their positions from 0; starts agree with them."""
    accumulation, batch_size, length = window.token_ids.shape
    for micro in range(accumulation):
        starts = []
        for row in range(batch_size):
            segments = window.segment_ids[micro, row]
            edges = [0, *(np.flatnonzero(np.diff(segments)) + 1).tolist(), length]
            values = [int(segments[edge]) for edge in edges[:-1]]
            padded = values[-1] == 0
            assert values == [*range(1, len(values) + (not padded)), *([0] if padded else [])]
            expected = np.concatenate([np.arange(b - a) for a, b in itertools.pairwise(edges)])
            assert np.array_equal(window.position_ids[micro, row], expected)
            starts += [row * length + edge for edge in edges[:-1]]
        full = np.full(window.sequence_starts.shape[1], batch_size * length)
        assert len(starts) < len(full), "the end is always there"
        full[: len(starts)] = starts
        assert np.array_equal(window.sequence_starts[micro], full)
    assert (window.token_ids[window.segment_ids == 0] == 0).all()
    assert (window.segment_ids > 0).sum() == window.tokens


def documents(window: Window) -> list[tuple[list[int], list[int]]]:
    """Token ids of every segment, and the targets with weight that are read from inside it."""
    found = []
    for micro in range(len(window.token_ids)):
        ids = window.token_ids[micro].reshape(-1)
        real = window.weights[micro] > 0
        inputs, targets = window.gather_indices[micro][real], window.targets[micro][real]
        starts = window.sequence_starts[micro].tolist()
        for start, end in itertools.pairwise(starts):
            if end > start and window.segment_ids[micro].reshape(-1)[start] > 0:
                inside = (inputs >= start) & (inputs < end)
                # The last token of a segment has no next one: nothing is read from it.
                assert (inputs[inside] < end - 1).all()
                assert np.array_equal(ids[inputs[inside] + 1], targets[inside])
                found.append((ids[start:end].tolist(), targets[inside].tolist()))
        assert sum(len(targets) for _, targets in found) >= len(inputs)
        assert not window.gather_indices[micro][~real].any()
    assert sum(len(targets) for _, targets in found) == window.supervised_tokens
    assert window.weights.sum() == window.supervised_tokens
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize(("batch_size", "accumulation"), [(1, 1), (8, 1), (4, 2), (1, 8), (3, 5)])
def test_an_epoch_has_every_supervised_token_once(
    batch_size: int, accumulation: int, packing: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    longest = int(random.integers(40, 300))
    rows = examples(int(random.integers(1, 150)), seed, longest)
    chosen = settings(batch_size, accumulation, seed, packing, sequence_length=longest)
    source = WindowSource(rows, chosen)
    for epoch in (0, 3):
        places: list[int] = []
        for index in range(source.steps_per_epoch):
            window = source.window(epoch, index)
            check_segments(window, longest)
            held = documents(window)
            assert len(held) == len(window.rows)
            for row, (ids, targets) in zip(window.rows, held, strict=True):
                example = rows[row]
                assert ids == example.token_ids.tolist(), "nothing is cut"
                expected = example.token_ids[1:][example.loss_weights[1:] > 0]
                assert targets == expected.tolist()
            counts = source.counts(epoch, index)
            assert counts.tokens == window.tokens
            assert counts.supervised_tokens == window.supervised_tokens
            places.extend(window.rows)
        assert sorted(places) == list(range(len(rows)))
    assert source.steps_per_epoch == -(-source.rows // (batch_size * accumulation))


@pytest.mark.parametrize("packing", [False, True])
def test_micro_batches_share_the_rows_of_the_same_window(packing: bool) -> None:
    """8x1, 4x2 and 1x8 see the same rows in the same step, which parity rests on."""
    rows = examples(300)
    plans = [
        WindowSource(rows, settings(*shape, packing=packing)).plan(3)
        for shape in ((8, 1), (4, 2), (1, 8))
    ]
    assert len(plans[0]) > 4
    first, second, third = ([sorted(window) for window in plan] for plan in plans)
    assert first == second == third


@pytest.mark.parametrize("packing", [False, True])
def test_a_window_needs_no_history(packing: bool) -> None:
    rows, chosen = examples(150), settings(2, 2, packing=packing)
    source, fresh = WindowSource(rows, chosen), WindowSource(rows, chosen)
    for epoch in (0, 1):
        for index in range(source.steps_per_epoch):
            source.window(epoch, index)
    again, first = source.window(1, 4), fresh.window(1, 4)
    assert again.rows == first.rows
    for field in dataclasses.fields(Window):
        assert np.array_equal(getattr(again, field.name), getattr(first, field.name))


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


@pytest.mark.parametrize("packing", [False, True])
def test_shapes_are_those_of_the_windows(packing: bool) -> None:
    source = WindowSource(examples(203), settings(packing=packing))
    counted: Counter[tuple[int, ...]] = Counter()
    starts: dict[int, set[int]] = {}
    padding = tokens = 0
    for index in range(source.steps_per_epoch):
        window = source.window(0, index)
        counted[window.shape] += 1
        starts.setdefault(window.shape[2], set()).add(window.sequence_starts.shape[1])
        padding += (window.segment_ids == 0).sum()
        tokens += window.tokens
    assert source.shapes(0) == counted
    assert source.largest_shape[2] >= max(shape[2] for shape in counted)
    assert all(len(sizes) == 1 for sizes in starts.values()), "S is part of the shape"
    assert source.padding_share == pytest.approx(padding / (padding + tokens))


def test_packed_windows_have_one_shape_with_little_room_to_spare() -> None:
    source = WindowSource(examples(900), settings(packing=True))
    shapes = {
        source.window(epoch, index).shape
        for epoch in range(4)
        for index in range(source.steps_per_epoch)
    }
    ((accumulation, batch_size, length, gathered),) = shapes
    assert shapes == {source.largest_shape}
    assert (accumulation, batch_size, length) == (2, 4, 256)
    counts = [source.counts(0, index) for index in range(source.steps_per_epoch - 1)]
    mean = sum(each.supervised_tokens for each in counts) / len(counts) / accumulation
    assert gathered < 1.05 * mean + 64
    assert source.padding_share < 0.03


def test_seeds_that_pack_in_other_ways_share_their_shape() -> None:
    """What is compiled for one seed of a comparison serves the others."""
    rows = examples(300)
    sources = [WindowSource(rows, settings(packing=True, seed=seed)) for seed in range(6)]
    assert len({str(source.plan(0)) for source in sources}) == len(sources)
    assert {source.window(0, 0).sequence_starts.shape for source in sources} == {(2, 64)}


@pytest.mark.parametrize(
    ("sequence_length", "longest", "expected"),
    [(8192, 30, 384), (200, 200, 256), (64, 64, 64), (8, 8, 64), (300, 40, 320)],
)
def test_packed_rows_are_no_longer_than_they_must_be(
    sequence_length: int, longest: int, expected: int
) -> None:
    rows = examples(20, longest=longest)
    if sequence_length == 8192:
        assert sum(len(row.token_ids) for row in rows) <= expected
    chosen = settings(1, 1, packing=True, sequence_length=sequence_length)
    assert WindowSource(rows, chosen).window(0, 0).token_ids.shape == (1, 1, expected)


def test_what_is_packed_together_stays_so_and_its_order_does_not() -> None:
    source = WindowSource(examples(300), settings(packing=True))
    first, second = ([row for window in source.plan(e) for row in window] for e in (0, 1))
    assert first != second
    assert sorted(first) == sorted(second)


@pytest.mark.real_weights
@pytest.mark.parametrize(
    ("name", "sequence_length", "most"),
    [("dolly", 1024, 0.01), ("dolly", 512, 0.01), ("spider", 1024, 0.03)],
)
def test_real_rows_are_packed_with_little_padding(
    name: str, sequence_length: int, most: float, shared_data: Path
) -> None:
    from kerasft.models.sources import load_tokenizer

    if name == "dolly":
        data = DataSettings(source=str(shared_data / "dolly" / "databricks-dolly-15k.jsonl"))
        prompt, task = PromptSettings(template="instruction"), "instruct"
    else:
        spider = shared_data / "spider"
        data = DataSettings(
            source=str(spider / "derived" / "train_slim.jsonl"),
            schemas=str(spider / "tables.json"),
            columns={"question": "question", "sql": "query"},
        )
        prompt, task = PromptSettings(template="gemma"), "text_to_sql"
    encoded = encode_rows(
        load_rows(data, task).rows,
        template_for(prompt, task),
        load_tokenizer("gemma3-270m"),
        prompt,
        sequence_length,
    )
    chosen = settings(8, 1, packing=True, sequence_length=sequence_length)
    source = WindowSource(encoded.examples, chosen)
    assert len(encoded.examples) > 8_000
    assert source.padding_share < most
    assert len(source.shapes(0)) == 1
