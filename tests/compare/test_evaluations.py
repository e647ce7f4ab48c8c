"""Scores of runs, and what may be paired."""

from __future__ import annotations

from pathlib import Path

import pytest

from kerasft.compare.evaluations import (
    Answered,
    differing,
    evaluations_of,
    labelled,
    paired_tests,
    scores_of,
)
from kerasft.errors import RunError
from tests.compare.made import add_evaluation, made_run

TASK = "text_to_sql"


def answered(folder: Path, flags: dict[str, dict[int, list[bool | None]]]) -> Answered:
    found: dict[str, dict[int, list]] = {}
    for name, seeds in flags.items():
        for seed, right in seeds.items():
            run = made_run(folder / f"{name}-{seed}", seed=seed)
            add_evaluation(run, right)
            found.setdefault(name, {})[seed] = evaluations_of(run)[0].lines()
    return found


def test_scores_with_intervals_are_kept_and_those_of_groups_are_not(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    add_evaluation(run, [True, False, None, True])
    accuracy, perplexity = scores_of(evaluations_of(run)[0])
    assert (accuracy.metric, accuracy.kind, accuracy.count, accuracy.total) == (
        "execution_accuracy",
        "rate",
        2,
        3,
    )
    assert accuracy.low < accuracy.value < accuracy.high
    assert (perplexity.kind, perplexity.count, perplexity.value) == ("perplexity", None, 1.5)


def test_the_same_questions_share_a_label_and_others_do_not(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / name) for name in "abcd"]
    for run, prompts in zip(runs, ["these", "others", "these", "others"], strict=True):
        add_evaluation(run, [True], prompts=prompts)
    found, notes = labelled([evaluations_of(run) for run in runs])
    assert [each[0].label for each in found] == ["rows", "rows (2)", "rows", "rows (2)"]
    assert len(notes) == 1 and "not of the same questions" in notes[0]


def test_pairs_are_of_one_question_and_one_seed(tmp_path: Path) -> None:
    right = {
        "a": {0: [True, True, False, None], 1: [True, False, False, True]},
        "b": {0: [True, False, False, True], 1: [False, False, True, True], 2: [True] * 4},
    }
    tests = paired_tests("rows", TASK, answered(tmp_path, right))
    first = [test for test in tests if test.metric == "execution_match"]
    pool, *by_seed = first
    assert (pool.seed, pool.seeds, pool.total) == (None, 2, 7)
    assert (pool.only_a, pool.only_b) == (2, 1)
    assert [(test.seed, test.only_a, test.only_b, test.total) for test in by_seed] == [
        (0, 1, 0, 3),
        (1, 1, 1, 4),
    ]
    # Two of three discordant pairs to one side: 2 × (C(3,0) + C(3,1)) / 8, and not above 1.
    assert pool.p_value == pytest.approx(1.0)
    assert by_seed[0].p_value == pytest.approx(1.0)
    other = [test for test in tests if test.metric == "exact_match"]
    assert [test.seed for test in other] == [None]


def test_the_p_value_is_exact(tmp_path: Path) -> None:
    right = {"a": {0: [True] * 6}, "b": {0: [False] * 6}}
    tests = paired_tests("rows", TASK, answered(tmp_path, right))
    assert tests[0].p_value == pytest.approx(2 / 2**6)
    assert all(test.seed is None and test.seeds == 1 for test in tests)


def test_every_pair_of_contenders_is_tested_in_order(tmp_path: Path) -> None:
    right = {name: {0: [True]} for name in ("hf", "keras", "trl")}
    tests = paired_tests("rows", TASK, answered(tmp_path, right))
    assert list(dict.fromkeys((test.a, test.b) for test in tests)) == [
        ("hf", "keras"),
        ("hf", "trl"),
        ("keras", "trl"),
    ]


def test_contenders_without_a_common_seed_are_not_tested(tmp_path: Path) -> None:
    right = {"a": {0: [True]}, "b": {1: [True]}}
    found = answered(tmp_path, right)
    assert paired_tests("rows", TASK, found) == [] and differing("rows", TASK, found) == []


def test_the_questions_that_differ_have_every_answer_and_why(tmp_path: Path) -> None:
    right = {
        "a": {0: [True, True, False], 1: [True, False, True]},
        "b": {0: [True, False, False], 1: [True, True, True]},
    }
    (found,) = differing("rows", TASK, answered(tmp_path, right))
    assert (found.question, found.gold, found.seed) == ("question 1", "SELECT a FROM t", 0)
    assert found.context.startswith("CREATE TABLE")
    assert found.answers["a"].right and not found.answers["b"].right
    assert found.answers["b"].text == "answer 1 of b-0"
    assert found.answers["b"].why == "wrong_rows: 1 row instead of 2"


def test_damaged_predictions_are_named(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    add_evaluation(run, [True])
    (run.eval / "rows.predictions.jsonl").write_text("{")
    with pytest.raises(RunError, match=r"rows\.predictions\.jsonl cannot be read"):
        evaluations_of(run)[0].lines()
