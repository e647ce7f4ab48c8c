"""LIMIT cuts that go through a tie, and their mending.

Where the rows on both sides of a cut rank the same, a right query may keep another one of them than
gold does, and its result would be called wrong.
"""

from collections.abc import Callable, Iterator, Sequence

from sqlglot import exp

from kerasft.data.spider_databases.queries import Scope, number
from kerasft.data.spider_databases.rows import Rows
from kerasft.data.spider_databases.values import as_stored
from kerasft.data.spider_databases.witness import Bundle
from kerasft.sql.sandbox import Outcome

Run = Callable[[str], Outcome]


def ties(rows: Rows, trees: Sequence[exp.Query], run: Run) -> list[Callable[[], None]]:
    """What would mend each cut that goes through a tie."""
    found = (_tied(select, rows, run) for tree in trees for select in limited(tree))
    return [mend for mend in found if mend is not None]


def cuts_through_tie(tree: exp.Query, run: Run) -> bool:
    """Whether a LIMIT of the query keeps some of several rows that rank the same but differ."""
    return any(_cut(select, [], run) is not None for select in limited(tree))


def limited(tree: exp.Query) -> Iterator[exp.Select]:
    """The SELECTs that order and limit."""
    for select in tree.find_all(exp.Select):
        if select.args.get("limit") and select.args.get("order"):
            yield select


def _cut(
    select: exp.Select, extra: Sequence[exp.Expression], run: Run
) -> tuple[int, list[tuple], int] | None:
    """(place of the cut, rows of projections, `extra` and keys, count of keys) where it is tied."""
    kept = select.args["limit"].expression
    if not isinstance(kept, exp.Literal) or kept.is_string:
        return None
    place = int(number(kept.this))
    keys = [ordered.this for ordered in select.args["order"].expressions]
    probe = select.copy()
    probe.set("limit", None)
    added = [node.copy() for node in (*extra, *keys)]
    probe.set("expressions", [*probe.expressions, *added])
    found = list(run(probe.sql(dialect="sqlite")).rows)
    if not 0 < place < len(found):
        return None
    width = len(select.expressions)
    key = [row[-len(keys) :] for row in found]
    if key[place - 1] != key[place]:
        return None
    tied = {row[:width] for row, own in zip(found, key, strict=True) if own == key[place]}
    return (place, found, len(keys)) if len(tied) > 1 else None


def _tied(select: exp.Select, rows: Rows, run: Run) -> Callable[[], None] | None:
    """What mends the cut of a SELECT, or None where it needs nothing."""
    group = select.args.get("group")
    by = group.expressions if group is not None else []
    cut = _cut(select, by, run)
    if cut is None:
        return None
    place, found, keys = cut
    ordered = select.args["order"].expressions[0]
    falling = bool(ordered.args.get("desc"))
    own = [row[-keys:] for row in found]
    if by:
        width = len(select.expressions)
        inside = [i for i in range(place) if own[i] == own[place]]
        outside = [i for i in range(place, len(found)) if own[i] == own[place]]
        chosen = [found[i][width : width + len(by)] for i in (inside if falling else outside)]
        return lambda: _raise_groups(rows, select, chosen, falling)
    return lambda: _spread(rows, select, own[place][0], falling)


def _raise_groups(rows: Rows, select: exp.Select, groups: Sequence[tuple], falling: bool) -> None:
    """One more joined row for each of the groups; of those at the top, each one more."""
    for count, values in enumerate(groups):
        bundle = Bundle(rows, lambda _: None)
        bundle.require(select)
        bundle.pin(select, {i: value for i, value in enumerate(values) if value is not None})
        bundle.insert(copies=1 + (count if falling else 0))


def _spread(rows: Rows, select: exp.Select, value: object, falling: bool) -> None:
    """Give rows that share an extreme value others, less extreme; or add a row beyond it.

    One row that a join repeats shares its value with itself.
    """
    key = select.args["order"].expressions[0].this
    reference = Scope(select, rows.database.tables).resolve(key)
    if reference is None or not isinstance(value, int | float | str):
        return
    place, column = reference.place, reference.column
    stored = as_stored(column, value)
    same = [row for row in rows.tables[place[0]] if row[place[1]] == stored]
    is_plain = place[1] not in reference.table.key and place[1] not in reference.table.links
    if len(same) > 1 and is_plain:
        there = set(rows.values(place))
        free = [
            other
            for other in rows.pool(reference.table, column)
            if other not in there
            and isinstance(other, str) == isinstance(stored, str)
            and (other < stored if falling else other > stored)
        ]
        for row, other in zip(same[1:], free, strict=False):
            row[place[1]] = other
    else:
        bundle = Bundle(rows, lambda _: None)
        bundle.require(select)
        bundle.limit(select, key, ">" if falling else "<", value)
        bundle.insert()
