"""Whose time budget it is, and when it is used up."""

import os

import pytest

from kerasft import budget
from kerasft.budget import KAGGLE_VARIABLE, budget_of, container_seconds


@pytest.fixture
def now(monkeypatch):
    time = [1000.0]
    monkeypatch.setattr(budget, "clock", lambda: time[0])
    return time


def test_it_runs_from_the_start_of_the_call(now):
    found = budget_of("1h", "cpu", 900.0, {})
    assert found.left() == 3500 and "1h" in found.source
    assert not found.is_short_of(2900) and found.is_short_of(2930)
    now[0] += 4000
    assert found.left() == -500 and found.is_short_of(0)


def test_without_a_setting_there_is_none_but_on_kaggle(now, monkeypatch):
    assert budget_of(None, "cuda", 0.0, {}) is None
    monkeypatch.setattr(budget, "container_seconds", lambda: 1800.0)
    kaggle = {KAGGLE_VARIABLE: "Batch"}
    # Twelve hours less what the session has run and what follows training.
    assert budget_of(None, "cuda", 0.0, kaggle).left() == 12 * 3600 - 1800 - 45 * 60
    assert budget_of(None, "tpu", 0.0, kaggle).left() == 9 * 3600 - 1800 - 45 * 60
    assert "Kaggle" in budget_of(None, "tpu", 0.0, kaggle).source
    assert budget_of("10m", "cuda", 1000.0, kaggle).left() == 600


def test_the_age_of_the_container_is_that_of_its_first_process(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "uptime").write_text("5000.25 9000.00\n")
    ticks = 2000 * os.sysconf("SC_CLK_TCK")
    fields = " ".join(["S", *["0"] * 18, str(ticks), "7"])
    (tmp_path / "1" / "stat").write_text(f"1 (a name) with) {fields}\n")
    assert container_seconds(tmp_path) == pytest.approx(3000.25)
    assert container_seconds(tmp_path / "none") == 0.0
