"""Wrong queries near a gold query, to see whether a database tells them apart from it.

A mutant changes one thing. Some mean the same as the gold query whatever the rows are (DISTINCT
over a key), so even on the best rows not every mutant differs.
"""

from collections.abc import Iterator

from sqlglot import exp

from kerasft.data.spider_databases.queries import number, own_nodes, scopes
from kerasft.data.spider_databases.schema import Database, Table

_OPERATORS = {
    exp.EQ: exp.NEQ,
    exp.NEQ: exp.EQ,
    exp.GT: exp.LT,
    exp.LT: exp.GT,
    exp.GTE: exp.LTE,
    exp.LTE: exp.GTE,
    exp.And: exp.Or,
    exp.Or: exp.And,
}
_AGGREGATES = {exp.Max: exp.Min, exp.Min: exp.Max, exp.Sum: exp.Avg, exp.Avg: exp.Sum}
_SETS = {exp.Intersect: exp.Union, exp.Union: exp.Intersect, exp.Except: exp.Intersect}


def mutants(tree: exp.Query, database: Database) -> Iterator[tuple[str, exp.Query]]:
    """(kind, query) for each way in which the query can be wrong in one place."""
    seen = {tree.sql(dialect="sqlite")}
    for kind, mutant in _mutants(tree, database):
        text = mutant.sql(dialect="sqlite")
        if text not in seen:
            seen.add(text)
            yield kind, mutant


def _mutants(tree: exp.Query, database: Database) -> Iterator[tuple[str, exp.Expression]]:
    for index, node in enumerate(tree.walk()):
        for kind, change in _changes(node):
            copy = tree.copy()
            target = next(each for place, each in enumerate(copy.walk()) if place == index)
            if change(target):
                yield kind, copy
    yield from _columns(tree, database)


def _changes(node: exp.Expression) -> Iterator[tuple[str, object]]:
    if isinstance(node, exp.Where):
        yield "where dropped", _drop
    elif isinstance(node, exp.Having):
        yield "having dropped", _drop
    elif isinstance(node, exp.Limit):
        yield "limit dropped", _drop
    elif isinstance(node, exp.Distinct):
        yield "distinct changed", _plain
    elif isinstance(node, exp.Ordered):
        yield "other order", _reverse
    if isinstance(node, exp.And | exp.Or):
        yield "condition dropped", _keep_first
    in_condition = node.find_ancestor(exp.Where, exp.Having) is not None
    if type(node) in _OPERATORS and in_condition:
        yield "other operator", lambda each: _swap(each, _OPERATORS)
    elif type(node) in _AGGREGATES:
        yield "other aggregate", lambda each: _swap(each, _AGGREGATES)
    elif type(node) in _SETS:
        yield "other set operation", lambda each: _swap(each, _SETS)
    elif isinstance(node, exp.Literal) and in_condition and not isinstance(node.parent, exp.Limit):
        yield "other literal", _other_literal


def _drop(node: exp.Expression) -> bool:
    node.pop()
    return True


def _plain(node: exp.Distinct) -> bool:
    if isinstance(node.parent, exp.Count):
        node.replace(node.expressions[0])
    else:
        node.parent.set("distinct", None)
    return True


def _reverse(node: exp.Ordered) -> bool:
    node.set("desc", not node.args.get("desc"))
    return True


def _keep_first(node: exp.Expression) -> bool:
    node.replace(node.this.copy())
    return True


def _swap(node: exp.Expression, kinds: dict[type, type]) -> bool:
    node.replace(kinds[type(node)](**{key: value for key, value in node.args.items()}))
    return True


def _other_literal(node: exp.Literal) -> bool:
    if node.is_string:
        node.replace(exp.Literal.string(f"{node.this}x"))
    else:
        node.replace(exp.Literal.number(number(node.this) * 2 + 1))
    return True


def _columns(tree: exp.Query, database: Database) -> Iterator[tuple[str, exp.Expression]]:
    """A projected or compared column replaced by the next of its table and type."""
    places = {id(node): place for place, node in enumerate(tree.walk())}
    for scope in scopes(tree, database.tables):
        for node in own_nodes(scope):
            if not isinstance(node, exp.Column) or node.find_ancestor(exp.Join, exp.Group):
                continue
            reference = scope.resolve(node)
            other = _next_column(reference.table, reference.column.name) if reference else None
            if other is None:
                continue
            in_condition = node.find_ancestor(exp.Where, exp.Having) is not None
            ordered = node.find_ancestor(exp.Order) is not None
            kind = "condition on other column" if in_condition else "other column"
            copy = tree.copy()
            target = next(
                each for place, each in enumerate(copy.walk()) if place == places[id(node)]
            )
            target.set("this", exp.to_identifier(other, quoted=True))
            yield "other order" if ordered else kind, copy


def _next_column(table: Table, name: str) -> str | None:
    own = table.by_name[name.lower()]
    alike = [column for column in table.columns if column.type == own.type]
    place = alike.index(own)
    other = alike[(place + 1) % len(alike)]
    return other.name if other is not own else None
