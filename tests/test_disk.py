"""What a run will write, against what one has written."""

import pytest

from kerasft import disk
from kerasft.disk import LEAST, run_bytes
from kerasft.recipe import load
from tests.small import TINY, small_recipe


def test_it_grows_with_the_adapter_the_checkpoints_and_the_steps():
    recipe = load("sql", {"lora.rank": 256, "train.keep_checkpoints": 2})
    less = run_bytes(recipe, 100)
    more = run_bytes(load("sql", {"lora.rank": 256, "train.keep_checkpoints": 3}), 100)
    parameters = (more - less) / 12
    assert less == pytest.approx((3 * 12 + 2 * 4) * parameters, rel=0.1)
    assert run_bytes(recipe, 1_000_100) - less == pytest.approx(400e6, rel=0.01)


def test_a_small_run_asks_for_a_little_room_all_the_same():
    assert run_bytes(small_recipe("rows.jsonl"), 10) == LEAST


def test_a_base_that_is_not_here_yet_is_not_guessed():
    assert run_bytes(load("sql", {"model.preset": "hf://some/model"}), 10) == LEAST


@pytest.mark.keras
def test_the_estimate_is_above_a_run_and_not_far_above(tiny_run, monkeypatch):
    """The tiny run keeps one checkpoint, as it saves at its end alone."""
    monkeypatch.setattr(disk, "LEAST", 0)
    monkeypatch.setattr(disk, "_REST", 0)
    run = tiny_run.result.run
    written = sum(
        path.stat().st_size
        for folder in (run.adapter, run.checkpoints)
        for path in folder.rglob("*.safetensors")
    )
    assert str(TINY) == tiny_run.recipe.model.preset
    estimate = run_bytes(tiny_run.recipe, 9)
    # Three checkpoints and two adapters where one of each was left.
    assert estimate / 3 < 1.2 * written < estimate
