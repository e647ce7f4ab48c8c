"""The comparison `bird-1`: what BIRD's evaluator calls the same result.

Its meaning is that of `calculate_ex` in `evaluation_ex.py` of github.com/bird-bench/mini_dev
(commit 4d970a9): the set of predicted rows is the set of gold rows, as Python compares sets.
So neither order nor duplicates matter, columns count by place, 1 = 1.0, floats are equal only
exactly, NULL equals NULL, and two empty results are equal whatever their columns. Text that is
not UTF-8 fails there while it is read, which makes the answer wrong. Queries run as they are.
"""

from kerasft.sql.results import Gold, Verdict
from kerasft.sql.sandbox import Outcome
from kerasft.sql.schema import BadText

MODE = "bird-1"


def compare(gold: Outcome, predicted: Outcome, query: Gold) -> Verdict:
    """Compare two results under `bird-1`; nothing of the gold query but its result counts."""
    if gold.status != "ok" or predicted.status != "ok" or _unreadable(gold, predicted):
        return Verdict(False, "not_comparable", mode=MODE)
    if set(gold.rows) == set(predicted.rows):
        return Verdict(True, "equal", mode=MODE)
    widths_differ = gold.rows and predicted.rows and len(gold.columns) != len(predicted.columns)
    return Verdict(False, "columns" if widths_differ else "rows", mode=MODE)


def _unreadable(*outcomes: Outcome) -> bool:
    return any(
        isinstance(cell, BadText) for outcome in outcomes for row in outcome.rows for cell in row
    )
