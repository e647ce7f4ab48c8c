"""Batches of transformers' `generate`, and what is kept of its answers."""

from kerasft.hf.answers import before_stop, left_padded


def test_prompts_end_at_one_place() -> None:
    ids, mask = left_padded([[5, 6, 7], [8]], 4)
    assert ids.tolist() == [[0, 5, 6, 7], [0, 0, 0, 8]]
    assert mask.tolist() == [[0, 1, 1, 1], [0, 0, 0, 1]]


def test_answers_end_before_the_first_stop_id() -> None:
    assert before_stop([4, 5, 106, 0, 0], [1, 106]) == [4, 5]
    assert before_stop([4, 5, 6], [1, 106]) == [4, 5, 6]
    assert before_stop([1], [1]) == []
    # A padding id before it is part of the answer.
    assert before_stop([0, 4, 1], [1]) == [0, 4]
