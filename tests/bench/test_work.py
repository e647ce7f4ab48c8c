"""What travels to a contender's process arrives as it was."""

from pathlib import Path

import numpy as np
import pytest

from kerasft.bench.shapes import TINY
from kerasft.bench.stopwatch import Plan
from kerasft.bench.work import (
    Work,
    random_examples,
    read_examples,
    supervised_tokens,
    write_examples,
)
from kerasft.data.examples import Example


def tiny_work(**changes: object) -> Work:
    fields = {
        "family": TINY.family,
        "config": dict(TINY.config),
        "preset": None,
        "folder": None,
        "dtype": "float32",
        "layout": "peft",
        "rank": 4,
        "targets": ["query", "value"],
        "batch_size": 2,
        "length": 32,
        "packing": True,
        "compile": "off",
        "remat": False,
        "steps": 3,
        "warmup": 1,
    }
    return Work(**{**fields, **changes})  # type: ignore[arg-type]


def test_work_comes_back_from_its_file(tmp_path: Path) -> None:
    work = tiny_work(remat=True)
    work.write(tmp_path / "work.json")
    assert Work.read(tmp_path / "work.json") == work


def test_the_adapter_is_scaled_by_one() -> None:
    assert tiny_work(rank=16).lora.scale == 1.0


def test_rows_come_back_and_wrap_into_a_smaller_vocabulary(tmp_path: Path) -> None:
    weights = np.array([0, 1, 1], np.uint8)
    rows = [
        Example(np.array([2, 7, 600], np.int32), weights, 0),
        Example(np.array([2, 9], np.int32), weights[:2], 1),
    ]
    write_examples(tmp_path / "rows.npz", rows)
    found = read_examples(tmp_path / "rows.npz", vocabulary=512)
    assert [each.token_ids.tolist() for each in found] == [[2, 7, 88], [2, 9]]
    assert [each.loss_weights.tolist() for each in found] == [[0, 1, 1], [0, 1]]


@pytest.mark.parametrize(("share", "expected"), [(1.0, 31), (0.25, 8), (1e-9, 1)])
def test_random_rows_have_the_share_of_supervised_tokens(share: float, expected: int) -> None:
    rows = random_examples(512, 20, 32, share)
    assert len(rows) == 20
    assert {supervised_tokens(row) for row in rows} == {expected}
    assert all(row.token_ids.min() >= 0 and row.token_ids.max() < 512 for row in rows)


def test_an_epoch_is_run_whole_and_then_timed_step_by_step() -> None:
    work = tiny_work(steps=0, warmup=3)
    assert work.plan(364) == Plan(0, 363, 10)
    assert work.plan(4) == Plan(0, 3, 4)
    assert work.plan(1) == Plan(0, 1, 1)
    assert tiny_work().plan(364) == Plan(1, 3, 3)
