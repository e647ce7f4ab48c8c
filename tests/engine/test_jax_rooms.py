"""Which shapes decoding on JAX compiles for."""

import pytest

from kerasft.engine.jax_rooms import (
    Room,
    TileShape,
    room_for,
    rounded,
    rounded_rows,
    shrunk_rows,
    tile_for,
)


@pytest.mark.parametrize(
    ("length", "expected"),
    [(0, 64), (1, 64), (64, 64), (65, 128), (511, 512), (513, 640), (640, 640), (1025, 1280)],
)
def test_lengths_are_rounded_to_few(length, expected):
    assert rounded(length) == expected


def test_rounded_lengths_hold_what_is_asked_for_and_little_more():
    for length in range(256, 9000):
        assert length <= rounded(length) <= 1.25 * length
    assert len({rounded(length) for length in range(1, 8193)}) <= 24


def test_rows_are_rounded_to_few():
    assert [rounded_rows(rows) for rows in (1, 2, 3, 5, 8, 9, 64, 65)] == [
        *(1, 2, 4, 8, 8, 16, 64, 72)
    ]


@pytest.mark.parametrize(
    ("now", "needed", "expected"),
    [(256, 33, 256), (256, 32, 32), (1040, 1, 32), (128, 9, 32), (120, 9, 120), (32, 1, 32)],
)
def test_a_session_shrinks_once(now, needed, expected):
    assert shrunk_rows(now, needed) == expected


def test_a_new_room_is_rounded():
    assert room_for([], 1034, 720, 129, 256) == Room(1040, 768, 192)


def test_batches_after_the_longest_have_its_room():
    """Those of an evaluation: 1,034 rows in batches of 256, the longest prompts first."""
    known: set[Room] = set()
    for rows, longest in ((256, 720), (256, 300), (256, 230), (256, 190), (10, 150)):
        known.add(room_for(known, rows, longest, 129, 256))
    assert known == {Room(256, 768, 192)}


def test_the_smallest_room_serves():
    known = [Room(256, 768, 192), Room(16, 768, 192), Room(16, 64, 192)]
    assert room_for(known, 9, 200, 129, 256) == Room(16, 768, 192)


@pytest.mark.parametrize(("rows", "prompt", "answer"), [(257, 1, 1), (1, 769, 1), (1, 1, 193)])
def test_a_room_that_holds_less_does_not_serve(rows, prompt, answer):
    known = [Room(256, 768, 192)]
    assert room_for(known, rows, prompt, answer, 10**6) not in known


def test_a_room_that_is_far_too_large_does_not_serve():
    """One row would pay for 256."""
    assert room_for([Room(256, 768, 192)], 1, 200, 129, 32) == Room(1, 256, 192)


def test_later_batches_are_filled_in_by_the_tiles_of_the_first():
    known = [tile_for([], 256, 720, 21, 256)]
    assert known == [TileShape(21, 768)]
    assert tile_for(known, 256, 190, 85, 256) == known[0]
    assert tile_for(known, 10, 150, 85, 256) == known[0]


def test_tiles_that_would_be_run_too_often_are_not_taken():
    assert tile_for([TileShape(1, 768)], 256, 720, 21, 256) == TileShape(21, 768)
    assert tile_for([TileShape(21, 768)], 1, 100, 128, 32) == TileShape(1, 128)
