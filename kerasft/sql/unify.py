"""What two ways of writing the same query differ in, brought into one.

- Names: their case and quotes. In SQLite a name in double quotes that names nothing is text.
- Table aliases: every table of FROM and JOIN gets one, t1, t2, … in the order of the text.
- Qualifiers: none in a query over one table, one for every column in a query over several.
- Aliases of result columns: gone where no other query can refer to them, and in ORDER BY the
  aliased expression stands in their place.
- Joins without a condition: a comma, JOIN and CROSS JOIN.
- INNER, OUTER, ASC and AS, parentheses around a column or a comparison, and types in CAST that
  are one to SQLite (its affinities).

None of it may make two queries one that can differ in their result: what would need more
knowledge than there is stays as it was written, or raises, and then nothing is unified.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from kerasft.sql.lexical import Piece

if TYPE_CHECKING:
    from sqlglot import exp

Tables = Mapping[str, Collection[str]]
"""Columns by table, all names in lower case."""

_PLAIN_NAME = re.compile(r"[A-Za-z_]\w*\Z")
_OUR_ALIAS = re.compile(r"t\d+\Z")
# SQLite casts to the affinity of a type's name (sqlite.org/datatype3.html, section 3.1). Only
# types whose every spelling in sqlglot has one affinity are here; TEXT and BIGINT have it
# but for the words below.
AFFINITIES = {
    "INT": "INTEGER",
    "BIGINT": "INTEGER",
    "FLOAT": "REAL",
    "DOUBLE": "REAL",
    "CHAR": "TEXT",
    "NCHAR": "TEXT",
    "VARCHAR": "TEXT",
    "NVARCHAR": "TEXT",
    "TEXT": "TEXT",
    "DECIMAL": "NUMERIC",
}
_TAKEN_FOR_OTHERS = frozenset(["STRING", "STR", "LONG"])


def unify(
    tree: "exp.Expression", written: Sequence[Piece], dialect: str, tables: Tables | None
) -> None:
    """Bring a parsed statement into the one form, in place.

    Args:
        written: the lexical pieces of the statement as it was written.
        tables: of the database, None if they are not known.

    Raises:
        ValueError: it holds something that cannot be told apart from something else.
    """
    if dialect == "sqlite":
        _types(tree, written)
        _quoted_text(tree, written, tables)
    _lower_names(tree)
    _parentheses(tree)
    _result_aliases(tree)
    _tables(tree, dialect, tables)
    cross_joins(tree)
    _optional_keywords(tree)


def cross_joins(tree: "exp.Expression") -> None:
    """Call a JOIN without a condition what it is; sqlglot reads it as one ON TRUE."""
    from sqlglot import exp

    for join in tree.find_all(exp.Join):
        on = join.args.get("on")
        if isinstance(on, exp.Boolean) and on.this and join.kind in ("", "INNER") and not join.side:
            join.set("on", None)
            join.set("kind", "CROSS")


def _types(tree: "exp.Expression", written: Sequence[Piece]) -> None:
    from sqlglot import exp

    casts = list(tree.find_all(exp.Cast))
    if casts and _TAKEN_FOR_OTHERS.intersection(piece.text.upper() for piece in written):
        raise ValueError("a type that sqlglot takes for another")
    for cast in casts:
        affinity = AFFINITIES.get(cast.to.this.name)
        if affinity is None:
            raise ValueError("a type of which SQLite's affinity is not known")
        cast.set("to", exp.DataType(this=exp.DataType.Type.USERDEFINED, kind=affinity))


def _quoted_text(tree: "exp.Expression", written: Sequence[Piece], tables: Tables | None) -> None:
    """Make literals of what SQLite takes for text though it is quoted as a name."""
    from sqlglot import exp

    # Other quotes make a name, also of what names nothing; which ones it were is lost.
    names = {piece.text[1:-1].lower() for piece in written if piece.text[0] in "[`"}
    if tables is not None:
        names.update(tables, *tables.values())
        names.update(alias.alias.lower() for alias in tree.find_all(exp.Alias))
        for alias in tree.find_all(exp.TableAlias):
            names.update(column.name.lower() for column in alias.args.get("columns") or [])
    for column in list(tree.find_all(exp.Column)):
        if column.table or not column.this.args.get("quoted") or column.name.lower() in names:
            continue
        if tables is not None or _compared_with(column):
            column.replace(exp.Literal.string(column.name))


def _compared_with(column: "exp.Expression") -> bool:
    from sqlglot import exp

    parent = column.parent
    on_the_right = isinstance(parent, exp.Binary) and parent.expression is column
    return isinstance(parent, (exp.Predicate, exp.In, exp.Between)) and (
        on_the_right or column.arg_key in ("expressions", "low", "high")
    )


def _lower_names(tree: "exp.Expression") -> None:
    from sqlglot import exp

    for name in tree.find_all(exp.Identifier):
        name.set("this", name.this.lower())
        if _PLAIN_NAME.match(name.this):
            name.set("quoted", False)


def _parentheses(tree: "exp.Expression") -> None:
    """Drop those around a column, and around a comparison that AND, OR or a clause holds."""
    from sqlglot import exp

    clauses = (exp.Connector, exp.Where, exp.Having, exp.Join)
    for paren in list(tree.find_all(exp.Paren)):
        inner = paren.this
        comparison = isinstance(inner, exp.Predicate) and isinstance(paren.parent, clauses)
        if isinstance(inner, exp.Column) or comparison:
            paren.replace(inner)


def _result_aliases(tree: "exp.Expression") -> None:
    from sqlglot import exp

    for select in list(tree.find_all(exp.Select)):
        aliases = _aliases(select)
        order = select.args.get("order")
        for ordered in order.expressions if order is not None else []:
            key = ordered.this
            if isinstance(key, exp.Column) and not key.table and key.name in aliases:
                # ORDER BY takes a bare name for an alias before it takes it for a column.
                key.replace(aliases[key.name].this.copy())
        matter = _names_matter(select)
        for column in list(select.expressions):
            if isinstance(column, exp.Alias) and (
                _is_column(column.this, column.alias)
                or (not matter and not _refers(select, column.alias, column))
            ):
                column.replace(column.this)


def _aliases(select: "exp.Select") -> dict[str, "exp.Alias"]:
    """The aliased result columns, by alias; without those that share it."""
    from sqlglot import exp

    found = [column for column in select.expressions if isinstance(column, exp.Alias)]
    names = [column.alias for column in found]
    return {column.alias: column for column in found if names.count(column.alias) == 1}


def _is_column(expression: "exp.Expression", name: str) -> bool:
    from sqlglot import exp

    return isinstance(expression, exp.Column) and expression.name == name


def _refers(select: "exp.Select", name: str, alias: "exp.Alias") -> bool:
    """Whether a bare name in the query, outside the alias itself, could be this alias."""
    from sqlglot import exp

    own = {id(column) for column in alias.this.find_all(exp.Column)}
    return any(
        column.name == name and not column.table and id(column) not in own
        for column in select.find_all(exp.Column)
    )


def _names_matter(select: "exp.Select") -> bool:
    """Whether anything around the query can name its result columns."""
    from sqlglot import exp

    node = select
    while isinstance(node.parent, (exp.SetOperation, exp.Paren)):
        node = node.parent
        if node.args.get("order") is not None:
            return True
    parent = node.parent
    if isinstance(parent, exp.Subquery):
        alone = parent.parent is None or isinstance(parent.parent, exp.SetOperation)
        named = isinstance(parent.parent, (exp.From, exp.Join, exp.CTE, exp.Lateral))
        return alone or named or parent.alias != ""
    return not (parent is None or isinstance(parent, (exp.In, exp.Exists)))


class _Scope:
    """The sources of one SELECT, by the name under which the query knows them."""

    def __init__(self, select: "exp.Select", tables: Tables | None) -> None:
        from sqlglot import exp

        self.select = select
        self.sources = list(_sources(select))
        self.new_names: dict[str, str] = {}
        self.columns = {
            source.alias_or_name: _columns_of(source, tables) for source in self.sources
        }
        joins = select.args.get("joins") or []
        self.merges = any(join.args.get("using") or join.method == "NATURAL" for join in joins)
        self.aliases = set(_aliases(select))
        self.nested = select.find_ancestor(exp.Select) is not None

    def owner(self, name: str) -> str | None:
        """The one source that has a column; None if that cannot be known."""
        if self.merges or any(columns is None for columns in self.columns.values()):
            return None
        owners = [source for source, columns in self.columns.items() if name in columns]
        distinct = len(self.columns) == len(self.sources)
        return owners[0] if distinct and len(owners) == 1 else None


def _sources(select: "exp.Select") -> Iterator["exp.Expression"]:
    """The tables and subqueries that a SELECT names in FROM and JOIN, in that order."""
    from sqlglot import exp

    clauses = [select.args.get(name) for name in ("from", "from_")]  # its name before and in 28
    clauses += select.args.get("joins") or []
    for clause in clauses:
        if clause is not None and isinstance(clause.this, (exp.Table, exp.Subquery)):
            yield clause.this


def _columns_of(source: "exp.Expression", tables: Tables | None) -> Collection[str] | None:
    """The columns of a stored table; None for what is none or is not known."""
    from sqlglot import exp

    if tables is None or not isinstance(source, exp.Table):
        return None
    shadowed = any(each.alias == source.name for each in source.root().find_all(exp.CTE))
    return None if shadowed else tables.get(source.name)


def _tables(tree: "exp.Expression", dialect: str, tables: Tables | None) -> None:
    """Call the tables of every SELECT t1, t2, …, and qualify columns where it tells them apart."""
    from sqlglot import exp

    scopes: dict[int, _Scope] = {}
    count = 0
    for select in tree.find_all(exp.Select, bfs=False):
        scope = scopes[id(select)] = _Scope(select, tables)
        for source in scope.sources:
            count += 1
            scope.new_names[source.alias_or_name] = f"t{count}"
    for column in list(tree.find_all(exp.Column)):
        _qualify(column, scopes, dialect, known=tables is not None)
    for scope in scopes.values():
        for source in scope.sources:
            alias = source.args.get("alias") or exp.TableAlias()
            alias.set("this", exp.to_identifier(scope.new_names[source.alias_or_name]))
            source.set("alias", alias)


def _qualify(
    column: "exp.Expression", scopes: Mapping[int, _Scope], dialect: str, *, known: bool
) -> None:
    from sqlglot import exp

    nearest = column.find_ancestor(exp.Select)
    scope = scopes.get(id(nearest))
    if not column.table:
        if scope is None:
            return
        if dialect == "duckdb" and column.name in scope.new_names:
            raise ValueError("a bare name that may be a whole row")
        owner = scope.owner(column.name) if len(scope.sources) > 1 else None
        if owner is not None and column.name not in scope.aliases:
            column.set("table", exp.to_identifier(scope.new_names[owner]))
        return
    while scope is not None and column.table not in scope.new_names:
        scope = scopes.get(id(scope.select.find_ancestor(exp.Select)))
    if scope is None:
        if _OUR_ALIAS.match(column.table):
            raise ValueError("a qualifier of nothing that looks like one of ours")
        return
    if scope.select is nearest and len(scope.sources) == 1 and _needless(column, scope, known):
        column.set("table", None)
    else:
        column.set("table", exp.to_identifier(scope.new_names[column.table]))


def _needless(column: "exp.Expression", scope: _Scope, known: bool) -> bool:
    """Whether a column of the only table of its query is the same without its qualifier."""
    if column.name in scope.aliases and not _in_results(column, scope):
        return False
    columns = scope.columns[column.table]
    # In a query inside another a bare name that the table does not have is the outer one's.
    return not scope.nested or not known or (columns is not None and column.name in columns)


def _in_results(column: "exp.Expression", scope: _Scope) -> bool:
    node = column
    while node.parent is not scope.select:
        node = node.parent
    return node.arg_key == "expressions"


def _optional_keywords(tree: "exp.Expression") -> None:
    from sqlglot import exp

    for join in tree.find_all(exp.Join):
        if join.kind == "INNER" or (join.kind == "OUTER" and join.side):
            join.set("kind", None)
    for ordered in tree.find_all(exp.Ordered):
        if not ordered.args.get("desc"):
            ordered.set("desc", None)
