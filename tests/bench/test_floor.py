"""The arithmetic of a step against counts made by hand."""

import pytest

from kerasft.bench.floor import step_flops, visible_pairs
from kerasft.bench.shapes import SHAPES, TINY, shape_of


def test_a_gemma_2b_step_of_eight_full_rows_is_about_41_tflop() -> None:
    shape = SHAPES["gemma-2b"]
    # A block: query and output 2048·2048, key and value 2048·256, three of 2048·16384.
    block = 2 * 2048 * 2048 + 2 * 2048 * 256 + 3 * 2048 * 16384
    tokens, supervised = 8 * 512, 8 * 511
    products = 4 * tokens * 18 * block + 4 * supervised * 256_000 * 2048
    # Six products of 2·256 operations a head and visible pair.
    attention = 8 * 18 * (512 * 513 // 2) * 8 * 6 * 2 * 256
    adapter = 6 * tokens * 460_800
    flops = step_flops(shape.table, shape.config, [512] * 8, supervised, 460_800)
    assert flops == products + attention + adapter
    assert flops == pytest.approx(41e12, rel=0.02)


def test_a_head_of_few_supervised_positions_costs_little() -> None:
    shape = SHAPES["gemma3-270m"]
    full, few = (step_flops(shape.table, shape.config, [512], count, 0) for count in (511, 85))
    assert full - few == 4 * (511 - 85) * 262_144 * 640


def test_two_examples_of_a_row_do_not_see_each_other() -> None:
    shape = SHAPES["gemma-2b"]
    one, two = (step_flops(shape.table, shape.config, rows, 1, 0) for rows in ([512], [256, 256]))
    pairs = 512 * 513 // 2 - 2 * (256 * 257 // 2)
    assert one - two == 18 * pairs * 8 * 6 * 2 * 256


@pytest.mark.parametrize("length", [1, 15, 16, 17, 40])
@pytest.mark.parametrize("window", [None, 1, 16])
def test_pairs_are_those_of_the_mask(length: int, window: int | None) -> None:
    seen = sum(
        key <= query and (window is None or query - key < window)
        for query in range(length)
        for key in range(length)
    )
    assert visible_pairs(length, window) == seen


def test_local_blocks_count_their_window_only() -> None:
    length = 2 * TINY.config["sliding_window_size"]
    kinds = TINY.table.block_kinds(TINY.config)
    wide = {**TINY.config, "sliding_window_size": 4096}
    saved = step_flops(TINY.table, wide, [length], 0, 0) - step_flops(
        TINY.table, TINY.config, [length], 0, 0
    )
    pairs = visible_pairs(length, None) - visible_pairs(length, length // 2)
    assert saved == kinds.count("local") * pairs * 2 * 16 * 12


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("gemma-2b", 2_506_172_416),
        ("gemma2-2b", 2_614_341_888),
        ("gemma3-270m", 268_098_176),
        ("gemma3-1b", 999_885_952),
        ("llama3.1-8b", 8_030_261_248),
    ],
)
def test_shapes_have_the_published_sizes(name: str, parameters: int) -> None:
    shape = shape_of(name)
    assert shape.table.parameters(shape.config) == parameters
