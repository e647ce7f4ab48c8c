"""Verdicts of bag-1 as a table, and its matching against brute force."""

import itertools
import random
from typing import Any

import pytest

from kerasft.sql.results import MODE, _same_row, equal_results
from kerasft.sql.sandbox import BadText, Outcome

NAN, INF = float("nan"), float("inf")


def outcome(rows: list[tuple], width: int | None = None, status: Any = "ok") -> Outcome:
    width = width if width is not None else (len(rows[0]) if rows else 1)
    return Outcome(status, columns=tuple(f"c{i}" for i in range(width)), rows=tuple(rows))


@pytest.mark.parametrize(
    ("gold", "predicted", "ordered", "reason"),
    [
        ([(1,), (2,)], [(2,), (1,)], False, "equal"),
        ([(1,), (2,)], [(2,), (1,)], True, "order"),
        ([(1,), (2,)], [(1,), (2,)], True, "equal"),
        ([(1,), (1,)], [(1,)], False, "rows"),
        ([(1,), (1,), (2,)], [(1,), (2,), (2,)], False, "rows"),
        ([(1, 2)], [(1,)], False, "columns"),
        ([(1, "a")], [("a", 1)], False, "rows"),
        ([(1,)], [(1.0,)], False, "equal"),
        ([(1,)], [("1",)], False, "rows"),
        ([("1",)], [(b"1",)], False, "rows"),
        ([("\ufffd",)], [(BadText(b"\xff"),)], False, "rows"),
        ([(BadText(b"\xff"),)], [(BadText(b"\xff"),)], False, "equal"),
        ([(BadText(b"\xff"),)], [(b"\xff",)], False, "rows"),
        ([("a",)], [("A",)], False, "rows"),
        ([("a",)], [("a ",)], False, "rows"),
        ([(None,)], [(None,)], False, "equal"),
        ([(None,)], [(0,)], False, "rows"),
        ([(None,)], [("",)], False, "rows"),
        ([(NAN,)], [(float("nan"),)], False, "equal"),
        ([(NAN,)], [(1.0,)], False, "rows"),
        ([(INF,)], [(INF,)], False, "equal"),
        ([(INF,)], [(-INF,)], False, "rows"),
        ([(0.3,)], [(0.1 + 0.2,)], False, "equal"),
        ([(0.0,)], [(0.1 + 0.2 - 0.3,)], False, "equal"),
        ([(100.0,)], [(100.01,)], False, "rows"),
        ([(10**15,)], [(10**15 + 1,)], False, "rows"),
        ([(1e15,)], [(10**15 + 1,)], False, "equal"),
        ([(2, None), (1, "x")], [(1, "x"), (2, None)], False, "equal"),
        ([], [], True, "equal"),
        ([], [(1,)], False, "rows"),
    ],
)
def test_verdicts(gold: list, predicted: list, ordered: bool, reason: str) -> None:
    verdict = equal_results(outcome(gold), outcome(predicted), ordered=ordered)
    assert (verdict.reason, verdict.equal) == (reason, reason == "equal")
    assert verdict.mode == MODE == "bag-1"


def test_empty_results_with_different_columns_are_unequal() -> None:
    verdict = equal_results(outcome([], 1), outcome([], 2), ordered=False)
    assert verdict.reason == "columns"


@pytest.mark.parametrize("status", ["timeout", "invalid_sql", "too_many_rows"])
def test_what_gave_no_whole_result_is_not_comparable(status: str) -> None:
    whole, part = outcome([(1,)]), outcome([(1,)], status=status)
    assert equal_results(whole, part, ordered=False).reason == "not_comparable"
    assert equal_results(part, whole, ordered=False).reason == "not_comparable"


@pytest.mark.parametrize(
    ("gold", "predicted", "permuted"),
    [
        ([(1, "a"), (2, "b")], [("b", 2), ("a", 1)], True),
        ([(1, 2, 3)], [(3, 1, 2)], True),
        ([(1, "a"), (2, "b")], [("a", 2), ("b", 1)], False),
        ([(1, 1), (2, 1)], [(1, 1), (1, 2)], True),
        ([(1, 2)], [(1, 3)], False),
        ([tuple([7] * 30)], [tuple([7] * 29 + [8])], False),
    ],
)
def test_permuted_columns_are_a_diagnostic(gold: list, predicted: list, permuted: bool) -> None:
    verdict = equal_results(outcome(gold), outcome(predicted), ordered=False)
    assert (verdict.equal, verdict.permuted_columns) == (False, permuted)


def test_rows_that_tie_may_swap() -> None:
    gold = outcome([("a",), ("b",), ("c",)])
    keys = [(1,), (1,), (2,)]
    swapped, wrong = outcome([("b",), ("a",), ("c",)]), outcome([("a",), ("c",), ("b",)])
    assert equal_results(gold, swapped, ordered=True).reason == "order"
    assert equal_results(gold, swapped, ordered=True, order_keys=keys).equal
    assert equal_results(gold, wrong, ordered=True, order_keys=keys).reason == "order"
    with pytest.raises(ValueError, match="3 gold rows, but 1 order keys"):
        equal_results(gold, swapped, ordered=True, order_keys=[(1,)])


def test_matching_agrees_with_trying_every_pairing() -> None:
    """Values lie near each other on purpose: the tolerance is not transitive."""
    generator = random.Random(0)
    seen = {True: 0, False: 0}
    for _ in range(4000):
        base = generator.choice([1.0, 1e9, 1e-3])

        def cell(base: float = base) -> Any:
            if generator.random() < 0.2:
                return generator.choice([None, "1", b"1", NAN])
            value = base * (1 + generator.randint(-3, 3) * 0.6e-9)
            return int(value) if generator.random() < 0.2 else value

        def shaken(value: Any) -> Any:
            if isinstance(value, (int, float)) and generator.random() < 0.8:
                return value * (1 + generator.choice([0, 0.9e-9, -0.9e-9]))
            return value

        width, height = generator.randint(1, 3), generator.randint(1, 5)
        gold = [tuple(cell() for _ in range(width)) for _ in range(height)]
        if generator.random() < 0.7:
            predicted = [tuple(map(shaken, row)) for row in gold]
            generator.shuffle(predicted)
        else:
            predicted = [tuple(cell() for _ in range(width)) for _ in range(height)]
        expected = any(
            all(map(_same_row, gold, order)) for order in itertools.permutations(predicted)
        )
        verdict = equal_results(outcome(gold), outcome(predicted), ordered=False)
        assert verdict.equal == expected, (gold, predicted)
        seen[expected] += 1
    assert min(seen.values()) > 500


def test_long_chains_of_near_values_are_matched() -> None:
    """10,000 rows in which each value is near the next in both columns."""
    rows = [(1 + i * 1e-10, 2 + (i * 7919 % 10_000) * 1e-10) for i in range(10_000)]
    shaken = [(a * (1 + 4e-10), b * (1 - 4e-10)) for a, b in rows]
    random.Random(0).shuffle(shaken)
    assert equal_results(outcome(rows), outcome(shaken), ordered=False).equal
    shaken[0] = (1.5, 2.5)
    assert not equal_results(outcome(rows), outcome(shaken), ordered=False).equal
