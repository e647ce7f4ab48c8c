"""`kerasft eval`: what reaches the library, and the table of what comes back."""

import json
from importlib import import_module

import pytest

from kerasft.cli.main import run
from kerasft.cli.scores import cell
from kerasft.evaluating.paired import compare_losses
from kerasft.tasks.intervals import mean, perplexity, proportion

EXACT = {
    "of": 40,
    "left_out": 0,
    "both": 0,
    "neither": 30,
    "broken": 0,
    "fixed": 10,
    "difference": mean([0] * 30 + [1] * 10),
    "p_value": 0.001953125,
    "rows": {"fixed": list(range(10)), "broken": []},
}


def example(row, change="fixed"):
    return {
        "row": row,
        "change": change,
        "asked": f"question {row}",
        "expected": "SELECT 1",
        "base": "no\x1b[31m",
        "tuned": "SELECT 1",
    }


RESULTS = {
    "task": "text_to_sql",
    "rows": 40,
    "decoding": {
        "base": {"rows": 40, "resumed": 0, "rows_per_second": 2.5},
        "tuned": {"rows": 40, "resumed": 16, "rows_per_second": 4.0},
    },
    "base": {
        "rows": 40,
        "exact_match": proportion(0, 40),
        "perplexity": perplexity([30.0, 30.0], [10, 10]),
        "status": {"invalid_sql": 40},
        "by_difficulty": {"hard": {"rows": 4, "exact_match": proportion(0, 4)}},
    },
    "tuned": {
        "rows": 40,
        "exact_match": proportion(10, 40),
        "perplexity": perplexity([10.0, 10.0], [10, 10]),
        "judge": {"right": proportion(3, 4), "refused": 1},
        "status": {"ok": 30, "timeout": 10},
        "by_difficulty": {"hard": {"rows": 4, "exact_match": proportion(1, 4)}},
    },
    "comparison": {
        "exact_match": EXACT,
        "perplexity": compare_losses([30.0, 30.0], [10.0, 10.0], [10, 10]),
    },
    "changed": {"measure": "exact_match", "examples": [example(row) for row in range(10)]},
    "with_retry": {
        "tuned": {"width": 4, "tried": 9, "replaced": 3, "exact_match": proportion(11, 40)}
    },
    "forgetting": {
        "data": {"source": "dolly.jsonl"},
        "rows": 7,
        "base": perplexity([20.0], [10]),
        "tuned": perplexity([30.0], [10]),
        "comparison": compare_losses([20.0], [30.0], [10]),
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
    line += ["--data", "d.jsonl", "--out", str(tmp_path), "--set", "eval.samples=0"]
    line += ["--db", "x.db", "--no-perplexity", "--forgetting", "dolly", "--retry", "4"]
    line += ["--judge", "http://j", "--judge-model", "m", "--judge-prices", "0.5", "2"]
    assert run(line) == 0
    assert calls == [
        (
            "runs/x",
            {
                "recipe": None,
                "data": "d.jsonl",
                "db": "x.db",
                "split": "test",
                "limit": 5,
                "base": True,
                "perplexity": False,
                "forgetting": "dolly",
                "retry": 4,
                "judge": "http://j",
                "judge_model": "m",
                "judge_prices": (0.5, 2.0),
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


def test_groups_pairs_and_what_was_forgotten_are_shown(calls, capsys):
    assert run(["eval", "runs/x", "--base"]) == 0
    shown = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "exact match by difficulty" in lines
    assert "hard 4 0.0% (0.0% to 49.0%), 0 of 4 25.0% (4.6% to 69.9%), 1 of 4" in lines
    assert "exact match +25.0 points (+12.5 to +37.5) 10 0 0.002" in lines
    assert "perplexity -2 (-2 to -2) nats a token" in lines
    assert "with retry, a beam of 4" in lines
    assert "perplexity on 7 rows of dolly.jsonl" in lines
    assert "7.39 (7.39 to 7.39) 20.1 (20.1 to 20.1) × 2.718 (2.718 to 2.718)" in lines
    assert "judge: right – 75.0% (30.1% to 95.4%), 3 of 4" in lines
    assert "decoding: base 2.5 rows/s, tuned 4 rows/s (16 answers taken up)" in lines


def test_few_of_the_changed_examples_are_shown_and_the_rest_counted(calls, capsys):
    assert run(["eval", "runs/x", "--base"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("question") == 5
    assert "… and 5 more in scores/validation.json" in shown
    assert "\x1b" not in shown  # an answer's escape codes do not reach the terminal


def test_broken_examples_are_not_hidden_by_many_fixed_ones(monkeypatch, calls, capsys):
    examples = [example(row, "broken" if row > 7 else "fixed") for row in range(10)]
    monkeypatch.setitem(RESULTS["changed"], "examples", examples)
    assert run(["eval", "runs/x", "--base"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("broken") for line in lines) == 2
    assert sum(line.startswith("fixed") for line in lines) == 3


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
        ({}, "–"),
        (["bag-1", "spider-1"], "bag-1, spider-1"),
        (perplexity([], []), "–"),
    ],
)
def test_a_metric_in_a_cell(value, shown):
    assert cell(value) == shown
