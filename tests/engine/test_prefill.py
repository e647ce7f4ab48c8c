"""How prompts are laid out for the pass that fills the cache."""

import numpy as np
import pytest

from kerasft.engine.prefill import Tile, tiles

LENGTHS = (5, 1, 9, 0, 3, 9, 2, 4)


def prompts(lengths: tuple[int, ...] = LENGTHS) -> list[list[int]]:
    random = np.random.default_rng(0)
    return [random.integers(10, 99, length).tolist() for length in lengths]


def read_back(found: list[Tile]) -> dict[int, list[int]]:
    """The prompts that tiles hold, by number, each found where the tile says."""
    back = {}
    for tile in found:
        line = tile.token_ids.reshape(-1)
        for prompt, length, first in zip(tile.prompts, tile.lengths, tile.firsts, strict=True):
            part = slice(first, first + length)
            assert prompt not in back
            back[prompt] = line[part].tolist()
            assert tile.position_ids.reshape(-1)[part].tolist() == list(range(length))
            segment = tile.segment_ids[first // tile.token_ids.shape[1]]
            number = tile.segment_ids.reshape(-1)[first]
            assert number > 0 and (segment == number).sum() == length
    return back


@pytest.mark.parametrize("one_line", [False, True])
@pytest.mark.parametrize("most", [1, 9, 10, 20, 1000])
def test_each_prompt_lies_in_one_tile_and_empty_ones_in_none(most, one_line):
    given = prompts()
    found = tiles(given, most, one_line=one_line)
    assert read_back(found) == {i: ids for i, ids in enumerate(given) if ids}
    for tile in found:
        assert tile.token_ids.size <= most or len(tile.prompts) == 1


def test_a_line_has_no_padding_and_says_where_prompts_begin():
    (tile,) = tiles(prompts(), 1000, one_line=True)
    assert tile.token_ids.shape == (1, sum(LENGTHS))
    assert (tile.segment_ids > 0).all()
    np.testing.assert_array_equal(np.diff(tile.sequence_starts), tile.lengths)


def test_rows_are_as_long_as_the_longest_and_shared_by_short_prompts():
    (tile,) = tiles(prompts(), 1000, one_line=False)
    assert tile.token_ids.shape == (4, 9)


def test_rows_of_a_given_length_are_so_long_in_every_tile():
    found = tiles(prompts(), 24, one_line=False, length=12)
    assert {tile.token_ids.shape[1] for tile in found} == {12}
    assert read_back(found) == {i: ids for i, ids in enumerate(prompts()) if ids}
    assert [len(tile.token_ids) for tile in found] == [2, 1]


def test_nothing_to_read_is_no_tile():
    assert tiles([[], []], 10, one_line=True) == []
