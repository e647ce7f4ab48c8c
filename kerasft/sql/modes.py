"""The named comparisons of results, side by side.

`bag-1` is kerasft's own (`kerasft.sql.results`); `spider-1` and `bird-1` say what the official
evaluators of Spider and BIRD would (`kerasft.sql.spider_mode`, `kerasft.sql.bird_mode`), so
that a score can be put beside published ones. A change of what a mode means gets a new name.
"""

from collections.abc import Callable
from dataclasses import dataclass

from kerasft.sql import bird_mode, results, spider_mode
from kerasft.sql.lexical import ordered_outermost
from kerasft.sql.results import Gold, Verdict, equal_results
from kerasft.sql.sandbox import Outcome

__all__ = ["MODES", "Gold", "Mode", "Verdict"]


@dataclass(frozen=True)
class Mode:
    """One way of saying that two results are the same.

    Attributes:
        name: with its version.
        prepare: rewrites a query, gold or predicted, before it runs.
        compare: the verdict on a gold and a predicted result of prepared queries.
    """

    name: str
    prepare: Callable[[str], str]
    compare: Callable[[Outcome, Outcome, Gold], Verdict]


def _unchanged(sql: str) -> str:
    return sql


def _compare_bags(gold: Outcome, predicted: Outcome, query: Gold) -> Verdict:
    return equal_results(
        gold, predicted, ordered=ordered_outermost(query.sql), order_keys=query.order_keys
    )


MODES: dict[str, Mode] = {
    mode.name: mode
    for mode in (
        Mode(results.MODE, _unchanged, _compare_bags),
        Mode(spider_mode.MODE, spider_mode.prepare, spider_mode.compare),
        Mode(bird_mode.MODE, _unchanged, bird_mode.compare),
    )
}
