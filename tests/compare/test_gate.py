"""The gate lets rounding pass, and nothing else."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from kerasft.compare.gate import BOUNDS, Looked, gate
from kerasft.compare.result import CHECKS
from tests.compare.made import made_probe

LOSSES = [3.0, 2.5, 2.0]


def looked(losses: list[float] = LOSSES, **changes: Any) -> Looked:
    engine, dropout = changes.pop("engine", "keras"), changes.pop("dropout", 0.0)
    return Looked(made_probe(engine=engine, **changes), losses, engine, dropout)


def failed(reference: Looked, other: Looked) -> list[str]:
    checks = gate({0: reference}, "other", {0: other})
    assert [check.what for check in checks] == list(CHECKS)
    return [check.what for check in checks if not check.passed]


def test_equal_runs_pass() -> None:
    assert failed(looked(), looked()) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"token_ids": "others"}, ["token ids"]),
        ({"base": "another"}, ["base weights"]),
        ({"starting": {"block/a": "others", "block/b": "zeros"}}, ["starting A and B"]),
        (
            {"shapes": {"block/a": [4, 2]}, "starting": {"block/a": "values of a"}},
            ["trained parameters", "starting A and B"],
        ),
        ({"loss": 3.03}, ["initial loss"]),
        ({"moved_loss": 3.53}, ["initial loss"]),
        ({"loss": math.nan}, ["initial loss"]),
        ({"logits": np.zeros((3, 4), np.float32)}, ["initial logits"]),
        ({"logits": np.zeros((2, 4), np.float32)}, ["initial logits"]),
        ({"gradients": {"block/b": np.full((2, 3), 0.3)}}, ["first gradient of B"]),
        ({"gradients": {}}, ["first gradient of B"]),
    ],
)
def test_what_differs_is_named(change: dict[str, Any], expected: list[str]) -> None:
    named = failed(looked(), looked(**change))
    # Whose own first loss is not its probe's was not probed as it was run.
    assert [what for what in named if what != "first losses"] == expected


def test_gradients_of_both_sides_are_judged_at_the_second_point() -> None:
    a, b = made_probe().moved_gradients.values()
    assert failed(looked(), looked(moved_gradients={"block/a": 2 * a, "block/b": b})) == [
        "first gradient of A"
    ]
    assert failed(looked(), looked(moved_gradients={"block/a": a, "block/b": 2 * b})) == [
        "first gradient of B"
    ]


def test_each_type_has_its_own_bound_and_the_coarser_counts() -> None:
    off = {"loss": 3.0 * (1 + 1e-4)}
    assert failed(looked(), looked(**off)) == []
    exact = {"dtype": "float32"}
    assert failed(looked(**exact), looked(**exact, **off)) == ["initial loss"]
    assert failed(looked(**exact), looked(**off)) == []
    for finer, coarser in (("float32", "float16"), ("float16", "bfloat16")):
        ours, theirs = BOUNDS[finer], BOUNDS[coarser]
        assert all(getattr(ours, name) < getattr(theirs, name) for name in vars(ours))


def test_the_first_losses_are_held_against_each_other_and_against_the_probe() -> None:
    assert failed(looked(), looked([3.0, 2.5, 2.2])) == ["first losses"]
    assert failed(looked(), looked([3.0, math.nan, 2.0])) == ["first losses"]
    assert failed(looked(), looked([])) == ["first losses"]
    # Both runs agree, and neither is what was probed.
    assert failed(looked([4.0, 2.5]), looked([4.0, 2.5])) == ["first losses"]
    assert failed(looked(20 * [3.0] + [1.0]), looked(20 * [3.0] + [2.0])) == []


def test_losses_with_dropout_are_judged_between_engines_that_draw_the_same() -> None:
    other = [3.0, 2.0, 1.0]
    assert failed(looked(dropout=0.1), looked(other, dropout=0.1, engine="hf")) == []
    assert failed(looked(dropout=0.1), looked(other, dropout=0.1)) == ["first losses"]
    (told,) = [
        check
        for check in gate({0: looked(dropout=0.1)}, "hf", {0: looked(dropout=0.1, engine="hf")})
        if check.what == "first losses"
    ]
    assert told.bound is None and "dropout" in told.detail


def test_the_worst_seed_is_told_and_only_common_seeds_are_looked_at() -> None:
    reference = {0: looked(), 1: looked(), 2: looked()}
    checks = gate(reference, "other", {0: looked(), 1: looked(loss=3.3), 9: looked(base="x")})
    by_name = {check.what: check for check in checks}
    assert by_name["initial loss"].seeds == (0, 1)
    assert by_name["initial loss"].value == pytest.approx(0.1)
    assert not by_name["initial loss"].passed and by_name["base weights"].passed
    assert gate(reference, "other", {9: looked()}) == []


def test_a_run_that_could_not_be_probed_does_not_pass() -> None:
    silent = Looked("RunError: the base has changed", LOSSES, "hf", 0.0)
    checks = gate({0: looked()}, "hf", {0: silent})
    assert all(not check.passed for check in checks if check.what != "first losses")
    assert "the base has changed" in checks[0].detail
