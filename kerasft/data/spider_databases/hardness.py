"""Spider's four classes of difficulty, from the text of a query.

The rules are those that Spider's evaluation publishes. They count three things: components (WHERE,
GROUP BY, ORDER BY, LIMIT, each table beyond the first, each OR, each LIKE), queries inside or
beside the query (in a condition, or joined by INTERSECT, UNION, EXCEPT), and others (more than one
aggregate, selected column, condition in WHERE, or column in GROUP BY). Only the outermost SELECT,
the first of a set operation, is counted. As there, NOT before IN, LIKE, BETWEEN or EXISTS in WHERE
or HAVING and each AND or OR of a HAVING count as an aggregate.
"""

from collections.abc import Iterator
from typing import Literal

from sqlglot import exp

from kerasft.data.spider_databases.queries import parse

Hardness = Literal["easy", "medium", "hard", "extra"]


def hardness(sql: str) -> Hardness | None:
    """The class of a query; None where sqlglot cannot read it."""
    tree = parse(sql)
    return None if tree is None else _hardness(tree)


def _hardness(tree: exp.Query) -> Hardness:
    nested = 0
    while isinstance(tree, exp.SetOperation):
        nested = 1  # set operations nest to the right in Spider's own form: one is seen
        tree = tree.left
    if isinstance(tree, exp.Subquery):
        return _hardness(tree.unnest())
    components, others = _components(tree), _others(tree)
    nested += sum(_nested(condition) for condition in _conditions(tree))
    if components <= 1 and others == 0 and nested == 0:
        return "easy"
    if nested == 0 and ((others <= 2 and components <= 1) or (components <= 2 and others < 2)):
        return "medium"
    if (
        (others > 2 and components <= 2 and nested == 0)
        or (2 < components <= 3 and others <= 2 and nested == 0)
        or (components <= 1 and others == 0 and nested <= 1)
    ):
        return "hard"
    return "extra"


def _components(select: exp.Select) -> int:
    joins = select.args.get("joins") or []
    clauses = sum(
        select.args.get(name) is not None for name in ("where", "group", "order", "limit")
    )
    ors = sum(_connectors(node, exp.Or) for node in _clauses(select))
    likes = sum(isinstance(_bare(condition), exp.Like) for condition in _conditions(select))
    return clauses + len(joins) + ors + likes


def _others(select: exp.Select) -> int:
    where = select.args.get("where")
    having = select.args.get("having")
    group = select.args.get("group")
    order = select.args.get("order")
    aggregates = sum(isinstance(column.unalias(), exp.AggFunc) for column in select.selects)
    aggregates += sum(map(_aggregates, order.expressions)) if order else 0
    for clause in (where, having):
        if clause is not None:
            aggregates += sum(isinstance(each, exp.Not) for each in _flat(clause.this))
    if having is not None:
        aggregates += _connectors(having.this, exp.Connector)
    return sum(
        count > 1
        for count in (
            aggregates,
            len(select.selects),
            len(list(_flat(where.this))) if where else 0,
            len(group.expressions) if group else 0,
        )
    )


def _aggregates(ordered: exp.Ordered) -> int:
    """Aggregates of an ORDER BY key: itself, or the sides of its arithmetic."""
    key = ordered.this
    sides = (key.this, key.expression) if isinstance(key, exp.Binary) else (key,)
    return sum(isinstance(side, exp.AggFunc) for side in sides)


def _clauses(select: exp.Select) -> Iterator[exp.Expression]:
    """The conditions of JOIN … ON, WHERE and HAVING as they stand."""
    for join in select.args.get("joins") or []:
        if join.args.get("on") is not None:
            yield join.args["on"]
    for name in ("where", "having"):
        if select.args.get(name) is not None:
            yield select.args[name].this


def _conditions(select: exp.Select) -> Iterator[exp.Expression]:
    for clause in _clauses(select):
        yield from _flat(clause)


def _flat(node: exp.Expression) -> Iterator[exp.Expression]:
    """The single conditions of a tree of AND and OR."""
    if isinstance(node, exp.Connector):
        yield from _flat(node.this)
        yield from _flat(node.expression)
    elif isinstance(node, exp.Paren):
        yield from _flat(node.this)
    else:
        yield node


def _connectors(node: exp.Expression, kind: type[exp.Expression]) -> int:
    if isinstance(node, exp.Paren):
        return _connectors(node.this, kind)
    if not isinstance(node, exp.Connector):
        return 0
    inside = _connectors(node.this, kind) + _connectors(node.expression, kind)
    return inside + isinstance(node, kind)


def _bare(condition: exp.Expression) -> exp.Expression:
    return condition.this if isinstance(condition, exp.Not) else condition


def _nested(condition: exp.Expression) -> int:
    """Queries that a condition compares with."""
    found = 0
    for node in condition.walk(prune=lambda each: isinstance(each, exp.Query)):
        found += isinstance(node, exp.Query)
    return found
