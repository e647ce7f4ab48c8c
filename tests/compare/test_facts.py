"""The numbers of a run, as its folder has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kerasft.compare.facts import facts_of, thinned
from tests.compare.made import made_run


def test_numbers_of_a_run_leave_its_first_step_out(tmp_path: Path) -> None:
    facts = facts_of(made_run(tmp_path / "run", losses=[3.0, None, 1.0]))
    assert (facts.first_step_seconds, facts.step_seconds) == (9.5, 0.375)
    assert facts.tokens_per_second == pytest.approx((2000 + 4000) / 2)
    assert facts.supervised_tokens_per_second == pytest.approx(300)
    assert facts.losses == ((1, 3.0), (3, 1.0))
    assert facts.status == "finished" and facts.run == "run"


def test_the_whole_time_is_told_where_one_process_did_it_all(tmp_path: Path) -> None:
    times = {"started": "2026-01-31T12:00:00+00:00", "finished": "2026-01-31T12:00:44+00:00"}
    run = made_run(tmp_path / "run", record={**times, "status": "finished", "attempts": 1})
    assert facts_of(run).whole_seconds == 44
    for change in ({"attempts": 2}, {"attempts": None}, {"attempts": 1, "status": "stopped"}):
        run.update_run(**change)
        assert facts_of(run).whole_seconds is None


def test_a_run_without_steps_has_no_numbers(tmp_path: Path) -> None:
    facts = facts_of(made_run(tmp_path / "run", losses=[], seconds=[]))
    assert facts.step_seconds is None and facts.losses == () and facts.adapter_bytes is None


def test_long_curves_are_thinned_to_their_ends() -> None:
    points = [(step, 1 / step) for step in range(1, 5002)]
    kept = thinned(points, 100)
    assert len(kept) <= 101 and kept[0] == points[0] and kept[-1] == points[-1]
