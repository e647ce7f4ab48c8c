"""Rows that make a gold query find something: a small solver over its conditions.

A bundle has one row an alias. Columns that joins, IN or INTERSECT make equal share one value;
comparisons limit it; HAVING count(*) > n asks for n + 1 copies of what the grouping leaves free.
Scalar subqueries are compared with the value that they have at the moment. The rows then go into
`Rows`, which keeps keys and links. What the solver does not know (arithmetic, CASE, correlated
subqueries) it leaves out: whoever calls it runs the query again.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from sqlglot import exp

from kerasft.data.spider_databases.queries import (
    COMPARISONS,
    FLIPPED,
    Place,
    Reference,
    Scope,
    Value,
)
from kerasft.data.spider_databases.rows import Row, Rows
from kerasft.data.spider_databases.schema import Column, Table
from kerasft.data.spider_databases.values import as_stored, matching, meeting, satisfies

Node = tuple[int, str, str]
Evaluate = Callable[[str], Value | None]
"""The single value of a query on the database as it is."""
_NEGATED = {"=": "<>", "<>": "=", ">": "<=", "<=": ">", "<": ">=", ">=": "<", "like": "not like"}
_MOST_COPIES = 60


@dataclass
class _Node:
    """Columns that share a value, and what it must be."""

    places: list[tuple[Table, Column]] = field(default_factory=list)
    conditions: list[tuple[str, Value]] = field(default_factory=list)
    choices: list[list[Value]] = field(default_factory=list)
    is_fresh: bool = False
    """A value that no row has yet: NOT IN and EXCEPT must not find it."""


class Bundle:
    """The rows that one query needs, and the equalities and limits between their columns."""

    def __init__(self, rows: Rows, evaluate: Evaluate, branch: int = 0) -> None:
        """`branch` says which side of each OR is taken."""
        self._rows = rows
        self._evaluate = evaluate
        self._branch = branch
        self._scopes: list[Scope] = []  # keeps the ids in nodes unique
        self._aliases: dict[tuple[int, str], Table] = {}
        self._parents: dict[Node, Node] = {}
        self._nodes: dict[Node, _Node] = {}
        self._shared: set[Node] = set()
        self._copies = 1

    def require(self, query: exp.Expression, outer: Scope | None = None) -> list[list[Reference]]:
        """Make the query give a row; returns its projected columns by place, for equalities."""
        if isinstance(query, exp.Subquery):
            return self.require(query.unnest(), outer)
        if isinstance(query, exp.SetOperation):
            left = self.require(query.left, outer)
            if isinstance(query, exp.Intersect):
                right = self.require(query.right, outer)
                for one, other in zip(left, right, strict=False):
                    self._equal(one, other)
            elif isinstance(query, exp.Except):
                for projected in left[:1]:
                    self._fresh(projected)
            return left
        return self._select(query, outer) if isinstance(query, exp.Select) else []

    def pin(self, select: exp.Select, values: Mapping[int, Value]) -> None:
        """Fix the grouping columns of a SELECT required before, by their place in GROUP BY."""
        scope = next(scope for scope in self._scopes if scope.select is select)
        for place, value in values.items():
            reference = scope.resolve(select.args["group"].expressions[place])
            if reference is not None:
                self._node(reference).conditions.append(("=", value))

    def limit(self, select: exp.Select, node: exp.Expression, operator: str, value: Value) -> None:
        """One more condition on a column of a SELECT required before."""
        scope = next(scope for scope in self._scopes if scope.select is select)
        self._limit(scope.resolve(node), operator, value)

    def insert(self, copies: int = 0) -> None:
        """Add the rows, as often as HAVING asks or as `copies` says."""
        fixed: dict[Node, Value] = {}
        for _ in range(min(copies or self._copies, _MOST_COPIES)):
            solved = dict(fixed)
            for (scope, alias), table in self._parents_first():
                given: Row = {}
                for name in table.by_name:
                    root = self._root((scope, alias, name))
                    if root in self._nodes:
                        if root not in solved:
                            solved[root] = self._solve(self._nodes[root], table, name)
                        given[name] = solved[root]
                row = self._rows.add(table, given)
                for name in table.by_name:
                    root = self._root((scope, alias, name))
                    if root in solved and row[name] is not None:
                        solved[root] = row[name]
                if self._is_shared(scope, alias, table):
                    self._shared |= {self._root((scope, alias, name)) for name in table.by_name}
            fixed |= {root: value for root, value in solved.items() if root in self._shared}

    def _is_shared(self, scope: int, alias: str, table: Table) -> bool:
        key = [self._root((scope, alias, name)) for name in table.key]
        return bool(key) and all(root in self._shared for root in key)

    def _parents_first(self) -> Iterator[tuple[tuple[int, str], Table]]:
        order = {
            table.name: place for place, table in enumerate(self._rows.database.parents_first())
        }
        yield from sorted(self._aliases.items(), key=lambda item: order[item[1].name])

    def _select(self, select: exp.Select, outer: Scope | None) -> list[list[Reference]]:
        scope = Scope(select, self._rows.database.tables, outer)
        self._scopes.append(scope)
        for alias, table in scope.aliases.items():
            self._aliases[id(scope), alias] = table
        for derived in scope.derived:
            self.require(derived, outer)
        for join in select.args.get("joins") or ():
            self._condition(join.args.get("on"), scope)
        where = select.args.get("where")
        self._condition(where.this if where else None, scope)
        group = select.args.get("group")
        if group is not None:
            for expression in group.expressions:
                reference = scope.resolve(expression)
                if reference is not None:
                    self._node(reference)
                    self._shared.add(self._root(reference.node))
        having = select.args.get("having")
        self._having(having.this if having else None, scope)
        projected = [scope.resolve(column.unalias()) for column in select.selects]
        for node in select.selects:  # an aggregate over nothing but NULLs would say nothing
            for inside in node.find_all(exp.Column):
                reference = scope.resolve(inside)
                if reference is not None:
                    self._node(reference)
        return [[reference] if reference is not None else [] for reference in projected]

    def _condition(self, node: exp.Expression | None, scope: Scope, positive: bool = True) -> None:
        if isinstance(node, exp.Paren):
            self._condition(node.this, scope, positive)
        elif isinstance(node, exp.Not):
            self._condition(node.this, scope, not positive)
        elif isinstance(node, exp.And | exp.Or):
            if isinstance(node, exp.And) == positive:
                self._condition(node.this, scope, positive)
                self._condition(node.expression, scope, positive)
            else:
                side = node.expression if self._branch % 2 else node.this
                self._condition(side, scope, positive)
        elif type(node) in COMPARISONS:
            self._comparison(node, scope, positive)
        elif isinstance(node, exp.Between) and positive:
            for part, operator in (("low", ">="), ("high", "<=")):
                self._limit(scope.resolve(node.this), operator, scope.value(node.args[part]))
        elif isinstance(node, exp.In):
            self._membership(node, scope, positive)
        elif isinstance(node, exp.Exists) and positive:
            self.require(node.this, scope)
        elif isinstance(node, exp.Is) and positive:
            reference = scope.resolve(node.this)
            if reference is not None and isinstance(node.expression, exp.Null):
                self._node(reference).conditions.append(("null", 0))

    def _comparison(self, node: exp.Expression, scope: Scope, positive: bool) -> None:
        operator = COMPARISONS[type(node)]
        if not positive:
            operator = _NEGATED[operator]
        one, other = scope.resolve(node.this), scope.resolve(node.expression)
        if one is not None and other is not None:
            if operator == "=":
                self._equal([one], [other])
            return
        for reference, side, sign in (
            (one, node.expression, operator),
            (other, node.this, FLIPPED.get(operator, operator)),
        ):
            if reference is None:
                continue
            if isinstance(side, exp.Subquery):
                self._limit(reference, sign, self._scalar(reference, sign, side, scope))
            else:
                self._limit(reference, sign, scope.value(side))

    def _scalar(
        self, reference: Reference, operator: str, query: exp.Subquery, scope: Scope
    ) -> Value | None:
        """The value of a scalar subquery; a plain column is required and made equal instead."""
        inner = query.unnest()
        plain = isinstance(inner, exp.Select) and not inner.args.get("limit")
        if operator == "=" and plain and isinstance(inner.selects[0], exp.Column):
            for projected in self.require(inner, scope)[:1]:
                self._equal([reference], projected)
            return None
        if self._has_rows(inner):
            return self._evaluate(inner.sql(dialect="sqlite"))
        return None

    def _has_rows(self, query: exp.Expression) -> bool:
        """Whether the subquery stands alone: it names no column of a query around it."""
        inner = Scope(query, self._rows.database.tables) if isinstance(query, exp.Select) else None
        return inner is not None and all(
            inner.resolve(column) or inner.value(column) is not None
            for column in query.find_all(exp.Column)
            if column.parent_select is query
        )

    def _membership(self, node: exp.In, scope: Scope, positive: bool) -> None:
        reference = scope.resolve(node.this)
        query = node.args.get("query")
        if reference is None:
            return
        if query is not None and positive:
            for projected in self.require(query, scope)[:1]:
                self._equal([reference], projected)
        elif query is not None:
            self._fresh([reference])
        elif positive:
            values = [scope.value(each) for each in node.expressions]
            self._node(reference).choices.append([value for value in values if value is not None])
        else:
            for each in node.expressions:
                self._limit(reference, "<>", scope.value(each))

    def _having(self, node: exp.Expression | None, scope: Scope) -> None:
        if isinstance(node, exp.And):
            self._having(node.this, scope)
            self._having(node.expression, scope)
            return
        low = node.args.get("low") if isinstance(node, exp.Between) else None
        if node is None or (type(node) not in COMPARISONS and low is None):
            return
        operator, side = (
            (">=", low) if low is not None else (COMPARISONS[type(node)], node.expression)
        )
        value = scope.value(side)
        aggregate = node.this
        if not isinstance(value, int | float):
            return
        if isinstance(aggregate, exp.Count):
            needed = {">": value + 1, ">=": value, "=": value}.get(operator, 1)
            self._copies = max(self._copies, int(needed))
        elif isinstance(aggregate, exp.Sum | exp.Avg | exp.Min | exp.Max):
            self._limit(scope.resolve(aggregate.this), operator, value)
            self._fresh_group(scope)

    def _fresh_group(self, scope: Scope) -> None:
        """A group of its own, so that rows that are there do not move its average."""
        group = scope.select.args.get("group")
        for expression in group.expressions if group is not None else ():
            reference = scope.resolve(expression)
            if reference is not None:
                self._fresh([reference])

    def _limit(self, reference: Reference | None, operator: str, value: Value | None) -> None:
        if reference is not None and value is not None:
            self._node(reference).conditions.append((operator, value))

    def _fresh(self, references: list[Reference]) -> None:
        for reference in references:
            self._node(reference).is_fresh = True

    def _equal(self, one: list[Reference], other: list[Reference]) -> None:
        for first, second in zip(one, other, strict=False):
            kept, joined = self._node(first), self._node(second)
            if kept is joined:
                continue
            kept.places += joined.places
            kept.conditions += joined.conditions
            kept.choices += joined.choices
            kept.is_fresh |= joined.is_fresh
            old, new = self._root(second.node), self._root(first.node)
            self._parents[old] = new
            del self._nodes[old]
            if old in self._shared:
                self._shared.add(new)

    def _node(self, reference: Reference) -> _Node:
        root = self._root(reference.node)
        if root not in self._nodes:
            self._nodes[root] = _Node([(reference.table, reference.column)])
        return self._nodes[root]

    def _root(self, node: Node) -> Node:
        while node in self._parents:
            node = self._parents[node]
        return node

    def _solve(self, node: _Node, table: Table, name: str) -> Value | None:
        """A value that satisfies the node, taken where it is used first."""
        if ("null", 0) in node.conditions:
            return None
        column = table.by_name[name]
        for value in self._candidates(node, table, column):
            if all(satisfies(column, value, *condition) for condition in node.conditions):
                return value
        equal = [value for operator, value in node.conditions if operator == "="]
        return equal[0] if equal else self._rows.pool(table, column)[0]

    def _candidates(self, node: _Node, table: Table, column: Column) -> Iterator[Value]:
        for operator, value in node.conditions:
            if operator == "=":
                yield as_stored(column, value)
        for values in node.choices:
            yield from values
        if node.is_fresh:
            place = table.name.lower(), column.name.lower()
            there = set(self._rows.values(place))
            if column.name.lower() in table.key or column.name.lower() in table.links:
                yield self._fresh_key(table, column)
            yield from (v for v in self._rows.pool(table, column) if v not in there)
            yield self._rows.fresh(table, column)
        elif (column.name.lower(),) == table.key and not node.conditions:
            yield self._rows.next_key(table, column.name.lower())
        for operator, value in node.conditions:
            if operator == "like":
                yield matching(str(value))
            yield from reversed(meeting(column, operator, value))
        for place in self._existing(node):
            values = list(dict.fromkeys(self._rows.values(place)))
            self._rows.rng.shuffle(values)
            yield from values
        pool = list(self._rows.pool(table, column))
        self._rows.rng.shuffle(pool)
        yield from pool

    def _fresh_key(self, table: Table, column: Column) -> Value:
        name = column.name.lower()
        if name in table.links:
            parent, key = table.links[name]
            return self._rows.next_key(self._rows.database.tables[parent], key)
        return self._rows.next_key(table, name)

    def _existing(self, node: _Node) -> Iterator[Place]:
        """Where a link of the node finds its partners."""
        for table, column in node.places:
            if column.name.lower() in table.links:
                yield table.links[column.name.lower()]
