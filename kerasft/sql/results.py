"""When two results are equal: the comparison `bag-1`.

The rules of `bag-1`; a change of any of them gets a new name:
- Duplicates count: a result is a bag of rows, not a set.
- Columns are compared by place; their names do not matter. `permuted_columns` says whether an
  unequal result would be equal with its columns in another order.
- The order of rows counts only if the caller says that the gold query orders its result
  (`kerasft.sql.normalize.ordered_outermost`). Rows that tie may swap: the caller gives the
  values of the ORDER BY keys, and inside a run of equal keys the rows are a bag. Without keys
  an ordered result is the same bag in the same sequence. A LIMIT that cuts through a tie is
  not seen: the rows that the gold query happened to keep are the right ones.
- Numbers: two integers are equal if they are the same; as soon as one is a float, if they
  differ by at most 1e-9 of the larger or by at most 1e-12. So 1 = 1.0, and 0.1 + 0.2 = 0.3.
- Text, blobs and numbers are never equal to each other: '1' is not 1. Text is compared
  exactly, with its case and its spaces.
- NULL equals NULL, and NaN equals NaN.
- Two empty results with as many columns are equal; whether the gold result is empty is for
  the caller to count.
"""

import math
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from kerasft.sql.sandbox import Outcome
from kerasft.sql.schema import BadText, Cell, Row

MODE = "bag-1"
RELATIVE_TOLERANCE = 1e-9
ABSOLUTE_TOLERANCE = 1e-12
PERMUTATIONS_TRIED = 200

Reason = Literal["equal", "columns", "rows", "order", "not_comparable", "tables", "constraints"]


@dataclass(frozen=True)
class Gold:
    """What a mode may know of the gold query beside its result.

    Attributes:
        sql: the query as the row has it, before any rewriting.
        order_keys: the values of its ORDER BY keys, one tuple a gold row; None if unknown.
    """

    sql: str
    order_keys: Sequence[Row] | None = None


@dataclass(frozen=True)
class Verdict:
    """Whether a predicted result is the gold result, or a predicted state the gold state.

    Attributes:
        equal: the answer.
        reason: `equal`; `columns` (another number of them; of states, other names or types);
            `rows` (other rows or another number of them); `order` (the right rows in a wrong
            order); `not_comparable` (one of the two queries did not give a whole result); of
            states also `tables` (others exist) and `constraints` (others hold).
        permuted_columns: unequal, but the same bag with the columns in another order.
        mode: the rules, by name and version.
    """

    equal: bool
    reason: Reason
    permuted_columns: bool = False
    mode: str = MODE


def equal_results(
    gold: Outcome,
    predicted: Outcome,
    *,
    ordered: bool,
    order_keys: Sequence[Row] | None = None,
) -> Verdict:
    """Compare two results under `bag-1`.

    Args:
        ordered: the outermost gold query orders its result.
        order_keys: the values of gold's ORDER BY keys, one tuple a gold row; None if unknown.

    Raises:
        ValueError: `order_keys` does not have one tuple a gold row.
    """
    if order_keys is not None and len(order_keys) != len(gold.rows):
        raise ValueError(f"{len(gold.rows)} gold rows, but {len(order_keys)} order keys")
    if gold.status != "ok" or predicted.status != "ok":
        return Verdict(False, "not_comparable")
    if len(gold.columns) != len(predicted.columns):
        return Verdict(False, "columns")
    if not same_bag(gold.rows, predicted.rows):
        return Verdict(False, "rows", permuted_columns=_permuted(gold.rows, predicted.rows))
    if ordered and not _same_order(gold.rows, predicted.rows, order_keys):
        return Verdict(False, "order")
    return Verdict(True, "equal")


def _same_order(gold: Sequence[Row], predicted: Sequence[Row], keys: Sequence[Row] | None) -> bool:
    if keys is None:
        return all(map(_same_row, gold, predicted))
    return all(same_bag(gold[start:stop], predicted[start:stop]) for start, stop in _runs(keys))


def _runs(keys: Sequence[Row]) -> Iterator[tuple[int, int]]:
    """Where the runs of equal keys begin and end."""
    start = 0
    for stop in range(1, len(keys) + 1):
        if stop == len(keys) or not _same_row(keys[start], keys[stop]):
            yield start, stop
            start = stop


def _kind(cell: Cell) -> int:
    """The class within which cells can be equal; that of numbers is 1."""
    if cell is None:
        return 0
    if isinstance(cell, (int, float)):
        return 1
    if isinstance(cell, str):
        return 2
    return 3 if isinstance(cell, BadText) else 4


def _same_number(first: int | float, second: int | float) -> bool:
    if isinstance(first, int) and isinstance(second, int):
        return first == second
    if first != first or second != second:
        return first != first and second != second
    return math.isclose(first, second, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE)


def _same_cell(first: Cell, second: Cell) -> bool:
    kind = _kind(first)
    if kind != _kind(second):
        return False
    return _same_number(first, second) if kind == 1 else first == second


def _same_row(first: Row, second: Row) -> bool:
    return len(first) == len(second) and all(map(_same_cell, first, second))


def _sort_key(row: Row) -> tuple:
    return tuple(
        (_kind(cell), cell.data if isinstance(cell, BadText) else _number_key(cell)) for cell in row
    )


def _number_key(cell: Cell) -> Hashable:
    if cell is None:
        return 0
    return -math.inf if cell != cell else cell


def same_bag(gold: Sequence[Row], predicted: Sequence[Row]) -> bool:
    """Whether the rows of both sides can be paired so that each pair is equal.

    Equality with a tolerance is not transitive, so neither counting nor sorting decides it
    alone. Sorted side by side, equal results nearly always pair at once. Where they do not,
    rows are put into cells of a grid that no pair can straddle; cells with unequal counts
    refuse, cells in which every value lies within the tolerance accept, and only chains of
    values, each near the next, go through a real matching. All but the last is O(n log n).
    """
    if len(gold) != len(predicted):
        return False
    if all(map(_same_row, sorted(gold, key=_sort_key), sorted(predicted, key=_sort_key))):
        return True
    gold_keys, predicted_keys = _grid(gold, predicted)
    if Counter(gold_keys) != Counter(predicted_keys):
        return False
    groups: dict[Hashable, tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
    for side, (rows, keys) in enumerate([(gold, gold_keys), (predicted, predicted_keys)]):
        for row, key in zip(rows, keys, strict=True):
            groups[key][side].append(row)
    return all(_match_group(*group) for group in groups.values())


def _grid(gold: Sequence[Row], predicted: Sequence[Row]) -> tuple[list, list]:
    """For each row of both sides the grid cell in which all its equals lie."""
    rows = [*gold, *predicted]
    columns = [_grid_column(values) for values in zip(*rows, strict=True)]
    keys = list(zip(*columns, strict=True))
    return keys[: len(gold)], keys[len(gold) :]


def _grid_column(values: Sequence[Cell]) -> list[Hashable]:
    numbers = {value for value in values if _kind(value) == 1 and value == value}
    if not any(isinstance(value, float) for value in numbers):
        return [(_kind(value), _number_key(value)) for value in values]
    place: dict[int | float, int] = {}
    last: int | float = math.nan
    for value in sorted(numbers):
        # Twice the tolerance: it is relative to the larger number of a pair, and the pair may
        # lie around this gap.
        near = math.isclose(
            value, last, rel_tol=2 * RELATIVE_TOLERANCE, abs_tol=2 * ABSOLUTE_TOLERANCE
        )
        place[value] = place[last] if near else len(place)
        last = value
    return [
        (1, place.get(value, -1)) if _kind(value) == 1 else (_kind(value), value)
        for value in values
    ]


def _match_group(gold: list[Row], predicted: list[Row]) -> bool:
    """Whether the equally many rows of one grid cell can be paired."""
    columns = zip(*gold, *predicted, strict=True)
    chains = [index for index, values in enumerate(columns) if not _all_equal(values)]
    if not chains:
        return True
    column = chains[0]
    gold, predicted = (sorted(rows, key=lambda row: row[column]) for rows in (gold, predicted))
    one_type = all(len({type(row[column]) for row in rows}) == 1 for rows in (gold, predicted))
    if len(chains) == 1 and one_type:
        # On a line the equals of a number are an interval whose ends grow with the number: if
        # any pairing exists, the sorted one does. A mix of integers (exact) and floats (not)
        # on one side would break that.
        return all(map(_same_row, gold, predicted))
    return _matching(gold, predicted, column)


def _all_equal(values: Sequence[Cell]) -> bool:
    """Whether any two values of one column in one grid cell are equal."""
    if _kind(values[0]) != 1 or values[0] != values[0]:
        return True  # the grid cell is made of equal ones
    integers = {value for value in values if isinstance(value, int)}
    return len(integers) <= 1 and _same_number(float(min(values)), max(values))


def _matching(gold: list[Row], predicted: list[Row], column: int) -> bool:
    """Whether a perfect matching exists, both sides being sorted by a column of numbers."""
    places = [row[column] for row in predicted]
    candidates = []
    for row in gold:
        reach = 2 * (RELATIVE_TOLERANCE * abs(row[column]) + ABSOLUTE_TOLERANCE)
        window = range(
            bisect_left(places, row[column] - reach), bisect_right(places, row[column] + reach)
        )
        candidates.append([index for index in window if _same_row(row, predicted[index])])
    taken: dict[int, int] = {}  # predicted row -> gold row
    mates: dict[int, int] = {}  # gold row -> predicted row
    return all(_augment(index, candidates, taken, mates) for index in range(len(gold)))


def _augment(
    start: int, candidates: list[list[int]], taken: dict[int, int], mates: dict[int, int]
) -> bool:
    """Pair one more gold row, moving others if need be (breadth-first augmenting path)."""
    reached: dict[int, int] = {}
    queue = [start]
    for row in queue:
        for other in candidates[row]:
            if other in reached:
                continue
            reached[other] = row
            if other in taken:
                queue.append(taken[other])
                continue
            step: int | None = other
            while step is not None:
                owner = reached[step]
                taken[step] = owner
                step, mates[owner] = mates.get(owner), step
            return True
    return False


def _permuted(gold: Sequence[Row], predicted: Sequence[Row]) -> bool:
    """Whether some other order of the predicted columns gives gold's bag."""
    if not gold or len(gold) != len(predicted) or len(gold[0]) < 2:
        return False
    gold_columns, predicted_columns = (
        [[(cell,) for cell in column] for column in zip(*rows, strict=True)]
        for rows in (gold, predicted)
    )
    fitting = [
        [index for index, other in enumerate(predicted_columns) if same_bag(column, other)]
        for column in gold_columns
    ]
    # Without this, columns that fit too few places would be tried in factorial time.
    if any(len(places) < count for places, count in Counter(map(tuple, fitting)).items()):
        return False
    orders = islice(_orders(fitting, ()), PERMUTATIONS_TRIED)
    return any(
        same_bag(gold, [tuple(row[index] for index in order) for row in predicted])
        for order in orders
    )


def _orders(fitting: list[list[int]], chosen: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Orders of the columns in which each stands where it fits."""
    if len(chosen) == len(fitting):
        yield chosen
        return
    for index in fitting[len(chosen)]:
        if index not in chosen:
            yield from _orders(fitting, (*chosen, index))
