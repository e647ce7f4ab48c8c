"""`kerasft eval`: what reaches the library, and the table of what comes back."""

import json
from importlib import import_module

import pytest

from kerasft.cli.eval import cell
from kerasft.cli.main import run
from kerasft.tasks.intervals import mean, proportion

RESULTS = {
    "rows": 40,
    "base": {"rows": 40, "exact_match": proportion(0, 40), "status": {"invalid_sql": 40}},
    "tuned": {
        "rows": 40,
        "exact_match": proportion(10, 40),
        "status": {"ok": 30, "timeout": 10},
        "by_difficulty": {},
    },
    "files": ["scores/validation.json"],
    "predictions": [{"answer": "SELECT 1"}],
}


@pytest.fixture
def calls(monkeypatch):
    made = []

    def score(target, **named):
        named.pop("reporter")
        made.append((target, named))
        return RESULTS

    monkeypatch.setattr(import_module("kerasft.evaluation"), "evaluate", score)
    return made


def test_the_options_reach_the_library(calls, tmp_path):
    line = ["eval", "runs/x", "--base", "--limit", "5", "--split", "test", "--backend", "jax"]
    assert run([*line, "--data", "d.jsonl", "--out", str(tmp_path), "--set", "eval.samples=0"]) == 0
    assert calls == [
        (
            "runs/x",
            {
                "recipe": None,
                "data": "d.jsonl",
                "split": "test",
                "limit": 5,
                "base": True,
                "out": tmp_path,
                "backend": "jax",
                "settings": ("eval.samples=0",),
            },
        )
    ]


def test_base_and_tuned_stand_side_by_side(calls, capsys):
    assert run(["eval", "runs/x"]) == 0
    shown = capsys.readouterr().out
    line = next(line for line in shown.splitlines() if line.startswith("exact match"))
    assert line.split("  ")[0] == "exact match"
    assert line.index("0.0% (0.0% to 8.8%), 0 of 40") < line.index("25.0% (")
    assert "ok 30, timeout 10" in shown and "scores/validation.json" in shown


def test_json_has_the_scores_and_leaves_the_answers_in_their_file(calls, capsys):
    assert run(["eval", "runs/x", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["tuned"]["exact_match"]["rate"] == 0.25
    assert "predictions" not in printed


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (proportion(0, 0), "– (no row to judge)"),
        (proportion(1, 2), "50.0% (9.5% to 90.5%), 1 of 2"),
        (mean([]), "–"),
        (mean([0.5, 0.5]), "0.5 (0.5 to 0.5)"),
        (1234, "1,234"),
        ("bag-1", "bag-1"),
        ({"ok": 3}, "ok 3"),
    ],
)
def test_a_metric_in_a_cell(value, shown):
    assert cell(value) == shown
