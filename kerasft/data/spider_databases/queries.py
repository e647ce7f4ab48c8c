"""What a gold query compares: its columns resolved to tables, and the literals beside them.

Spider writes text in double quotes as often as in single ones; as in SQLite, a quoted name that is
no column is text.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sqlglot
from sqlglot import exp

from kerasft.data.spider_databases.schema import Column, Database, Evidence, Table

Value = int | float | str
Place = tuple[str, str]
"""(table, column), lower case."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A column of one of the tables that a SELECT reads."""

    scope: "Scope"
    alias: str
    table: Table
    column: Column

    @property
    def place(self) -> Place:
        return self.table.name.lower(), self.column.name.lower()

    @property
    def node(self) -> tuple[int, str, str]:
        """What tells this column of this row apart from the same column of another row."""
        return id(self.scope), self.alias, self.column.name.lower()


class Scope:
    """The tables of one SELECT by alias, inside those of the queries around it."""

    def __init__(
        self, select: exp.Select, tables: Mapping[str, Table], outer: "Scope | None" = None
    ) -> None:
        self.select = select
        self.tables = tables
        self.outer = outer
        self.aliases: dict[str, Table] = {}
        self.derived: list[exp.Query] = []
        for source in self._sources():
            if isinstance(source, exp.Subquery):
                self.derived.append(source.unnest())
            elif isinstance(source, exp.Table) and source.name.lower() in tables:
                self.aliases[source.alias_or_name.lower()] = tables[source.name.lower()]

    def _sources(self) -> Iterator[exp.Expression]:
        begin = self.select.args.get("from_") or self.select.args.get("from")
        if begin is not None:
            yield begin.this
        for join in self.select.args.get("joins") or ():
            yield join.this

    def resolve(self, node: exp.Expression | None) -> Reference | None:
        """The column that an expression names; None for anything else."""
        if not isinstance(node, exp.Column):
            return None
        name, qualifier = node.name.lower(), node.table.lower()
        scope: Scope | None = self
        while scope is not None:
            for alias, table in scope.aliases.items():
                if qualifier in ("", alias) and name in table.by_name:
                    return Reference(scope, alias, table, table.by_name[name])
            scope = scope.outer
        return None

    def value(self, node: exp.Expression | None) -> Value | None:
        """The literal that an expression is; None for anything else."""
        if isinstance(node, exp.Paren):
            return self.value(node.this)
        if isinstance(node, exp.Neg):
            found = self.value(node.this)
            return -found if isinstance(found, int | float) else None
        if isinstance(node, exp.Boolean):
            return int(node.this)
        if isinstance(node, exp.Literal):
            return str(node.this) if node.is_string else number(node.this)
        quoted = isinstance(node, exp.Column) and node.this.args.get("quoted") and not node.table
        return node.name if quoted and self.resolve(node) is None else None


def number(text: str) -> int | float:
    """A number literal, an integer where it is written as one."""
    try:
        return int(text)
    except ValueError:
        return float(text)


def parse(sql: str) -> exp.Query | None:
    """The query; None where sqlglot cannot read it as SQLite's SQL, or it nests too deeply."""
    try:
        tree = sqlglot.parse_one(sql, read="sqlite")
    except (sqlglot.errors.SqlglotError, RecursionError):
        return None
    return tree if isinstance(tree, exp.Query) else None


def scopes(
    query: exp.Expression, tables: Mapping[str, Table], outer: Scope | None = None
) -> Iterator[Scope]:
    """Every SELECT of a query, the outer ones first, with the tables it can see."""
    if isinstance(query, exp.Select):
        scope = Scope(query, tables, outer)
        yield scope
        for child in query.iter_expressions():
            yield from _inside(child, tables, scope)
    else:
        for child in query.iter_expressions():
            yield from _inside(child, tables, outer)


def _inside(
    node: exp.Expression, tables: Mapping[str, Table], outer: Scope | None
) -> Iterator[Scope]:
    if isinstance(node, exp.Query):
        yield from scopes(node, tables, outer)
        return
    for child in node.iter_expressions():
        yield from _inside(child, tables, outer)


COMPARISONS: Mapping[type[exp.Expression], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.Like: "like",
}
FLIPPED = {">": "<", "<": ">", ">=": "<=", "<=": ">="}


def own_nodes(scope: Scope) -> Iterator[exp.Expression]:
    """The expressions of a SELECT without those of queries inside it."""

    def walk(node: exp.Expression) -> Iterator[exp.Expression]:
        yield node
        for child in node.iter_expressions():
            if not isinstance(child, exp.Query):
                yield from walk(child)

    for child in scope.select.iter_expressions():
        if not isinstance(child, exp.Query):
            yield from walk(child)


def compared(scope: Scope) -> Iterator[tuple[Reference, str, Value]]:
    """(column, operator, literal) for each comparison of a SELECT, HAVING's aggregates left out."""
    for node in own_nodes(scope):
        if type(node) in COMPARISONS:
            operator = COMPARISONS[type(node)]
            for one, other, sign in (
                (node.this, node.expression, operator),
                (node.expression, node.this, FLIPPED.get(operator, operator)),
            ):
                reference, value = scope.resolve(one), scope.value(other)
                if reference is not None and value is not None:
                    yield reference, sign, value
        elif isinstance(node, exp.Between):
            reference = scope.resolve(node.this)
            for part, sign in (("low", ">="), ("high", "<=")):
                value = scope.value(node.args[part])
                if reference is not None and value is not None:
                    yield reference, sign, value
        elif isinstance(node, exp.In):
            reference = scope.resolve(node.this)
            for each in node.expressions:
                value = scope.value(each)
                if reference is not None and value is not None:
                    yield reference, "=", value


@dataclass(frozen=True)
class Wanted:
    """What all gold queries of a database ask of its values.

    Attributes:
        literals: by place, (operator, literal) in the order of the queries.
        ranked: places that a LIMIT or an extreme picks by; ties there make gold ambiguous.
        excluded: places whose NULLs would empty a NOT IN or stand first in an order.
    """

    literals: Mapping[Place, list[tuple[str, Value]]]
    ranked: frozenset[Place]
    excluded: frozenset[Place]


def wanted(queries: list[exp.Query], database: Database) -> Wanted:
    """The literals of the queries by the column that they are compared with."""
    literals: dict[Place, list[tuple[str, Value]]] = {}
    ranked: set[Place] = set()
    excluded: set[Place] = set()
    for query in queries:
        for scope in scopes(query, database.tables):
            for reference, operator, value in compared(scope):
                found = literals.setdefault(reference.place, [])
                if (operator, value) not in found:
                    found.append((operator, value))
            order = scope.select.args.get("order")
            extremes = [node for node in own_nodes(scope) if isinstance(node, exp.Min | exp.Max)]
            keys = [ordered.this for ordered in order.expressions] if order else []
            if scope.select.args.get("limit"):
                ranked |= _places(scope, keys)
                excluded |= _places(scope, scope.select.selects)
            if scope.outer is not None:
                ranked |= _places(scope, [node.this for node in extremes])
                excluded |= _places(scope, scope.select.selects)
            excluded |= _places(scope, keys + [node.this for node in extremes])
    return Wanted(literals, frozenset(ranked), frozenset(excluded))


def evidence(queries: list[exp.Query], tables: Mapping[str, Table]) -> Evidence:
    """The joins and groups of the queries that say which columns are keys."""
    joins, counted = set(), set()
    for query in queries:
        for scope in scopes(query, tables):
            for node in own_nodes(scope):
                if isinstance(node, exp.EQ):
                    one, other = scope.resolve(node.this), scope.resolve(node.expression)
                    if one is not None and other is not None and one.place != other.place:
                        joins.add(tuple(sorted((one.place, other.place))))
            group = scope.select.args.get("group")
            if group is not None:
                grouped = _places(scope, group.expressions)
                of = {table.name.lower() for table in scope.aliases.values()}
                counted |= {(table, place) for table in of for place in grouped}
    return Evidence(frozenset(joins), frozenset(counted))


def _places(scope: Scope, nodes: list[exp.Expression]) -> set[Place]:
    found = (scope.resolve(node.unalias()) for node in nodes)
    return {reference.place for reference in found if reference is not None}
