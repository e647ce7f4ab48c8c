"""The numbers of a run, as its folder has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kerasft.compare import facts
from kerasft.compare.facts import facts_of
from tests.compare.made import made_run


def test_numbers_of_a_run_leave_its_first_step_out(tmp_path: Path) -> None:
    found = facts_of(made_run(tmp_path / "run", losses=[3.0, None, 1.0]))
    assert (found.first_step_seconds, found.step_seconds) == (9.5, 0.375)
    assert found.tokens_per_second == pytest.approx((2000 + 4000) / 2)
    assert found.supervised_tokens_per_second == pytest.approx(300)
    assert found.losses == ((1, 3.0), (3, 1.0))
    assert found.status == "finished" and found.run == "run"


def test_the_whole_time_is_told_where_one_process_did_it_all(tmp_path: Path) -> None:
    times = {"started": "2026-01-31T12:00:00+00:00", "finished": "2026-01-31T12:00:44+00:00"}
    run = made_run(tmp_path / "run", record={**times, "status": "finished", "attempts": 1})
    assert facts_of(run).whole_seconds == 44
    for change in ({"attempts": 2}, {"attempts": None}, {"attempts": 1, "status": "stopped"}):
        run.update_run(**change)
        assert facts_of(run).whole_seconds is None


def test_a_run_without_steps_has_no_numbers(tmp_path: Path) -> None:
    found = facts_of(made_run(tmp_path / "run", losses=[], seconds=[]))
    assert found.step_seconds is None and found.losses == () and found.adapter_bytes is None


def test_long_curves_are_kept_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made_run(tmp_path / "run", losses=range(9, 0, -1), seconds=[1.0] * 9)
    assert len(facts_of(run).losses) == 9
    monkeypatch.setattr(facts, "MOST_POINTS", 4)
    assert facts_of(run).losses == ((1, 9), (4, 6), (7, 3), (9, 1))
