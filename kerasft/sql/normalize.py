"""SQL in one written form, for an exact match that does not depend on how it was typed.

Both sides of a comparison go through `normalize`; equal texts are the same query up to the
case of keywords and names, quotes around names, spaces, comments, optional keywords (INNER,
OUTER, ASC, AS), table aliases and the final semicolon. Different texts can still mean the same.
"""

import logging
import re
from typing import TYPE_CHECKING

from kerasft.sql.lexical import extract_sql, fold, ordered_outermost

if TYPE_CHECKING:
    from sqlglot import exp

__all__ = ["extract_sql", "normalize", "order_keys_query", "ordered_outermost"]

_PLAIN_NAME = re.compile(r"[A-Za-z_]\w*\Z")


def normalize(sql: str, dialect: str = "sqlite") -> str:
    """One written form of a statement.

    Table aliases become t1, t2, … in the order in which the tables are named, and every table
    gets one, so that `singer.name`, `T1.name` and, in a query over one table, `name` agree.
    Names are in lower case and without quotes where they need none. In SQLite a name in double
    quotes that is compared with something is most often meant as text, so it keeps its case.

    SQL that sqlglot does not parse as one statement is only folded (`kerasft.sql.lexical.fold`).

    Args:
        dialect: how sqlglot reads and writes the SQL.
    """
    try:
        tree = _parse(sql, dialect)
        _quoted_text_to_literals(tree)
        _unify_tables(tree)
        _unify_names(tree)
        _drop_optional_keywords(tree)
        return tree.sql(dialect=dialect, comments=False)
    # sqlglot raises its own errors and, on odd input, whatever its code runs into; deep
    # nesting is a RecursionError. The answer to all of them is the same.
    except Exception:
        return fold(sql)


def order_keys_query(sql: str, dialect: str = "sqlite") -> tuple[str, int] | None:
    """A query whose rows are those of `sql` followed by the keys that order them.

    Returns:
        The query and the number of keys at the end of its rows; None where the keys cannot be
        added without changing the result (DISTINCT, set operations) or `sql` is not parsed or
        does not order.
    """
    from sqlglot import exp

    try:
        tree = _parse(sql, dialect)
        order = tree.args.get("order")
        if not isinstance(tree, exp.Select) or order is None or tree.args.get("distinct"):
            return None
        aliases = {column.alias.lower(): column for column in tree.expressions if column.alias}
        starred = any(column.is_star for column in tree.expressions)
        keys = []
        for ordered in order.expressions:
            key = ordered.this
            if isinstance(key, exp.Literal):
                if starred or not key.is_int:
                    return None
                key = tree.expressions[int(key.this) - 1].unalias()
            elif isinstance(key, exp.Column) and not key.table and key.name.lower() in aliases:
                key = aliases[key.name.lower()].unalias()
            keys.append(exp.alias_(key.copy(), f"kerasft_key_{len(keys)}"))
        return tree.select(*keys).sql(dialect=dialect, comments=False), len(keys)
    except Exception:  # as in normalize
        return None


def _parse(sql: str, dialect: str) -> "exp.Expression":
    """One statement that sqlglot understands as a whole.

    Raises:
        ValueError: more or fewer statements, or one that is only carried along as text.
    """
    import sqlglot
    from sqlglot import exp

    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns on stderr of what we fold
    statements = [tree for tree in sqlglot.parse(sql, read=dialect) if tree is not None]
    if len(statements) != 1 or statements[0].find(exp.Command):
        raise ValueError("not one statement that sqlglot understands")
    return statements[0]


def _quoted_text_to_literals(tree: "exp.Expression") -> None:
    from sqlglot import exp

    for column in list(tree.find_all(exp.Column)):
        if column.table or not column.this.args.get("quoted"):
            continue
        parent = column.parent
        on_the_right = isinstance(parent, exp.Binary) and parent.expression is column
        if isinstance(parent, (exp.Predicate, exp.In, exp.Between)) and (
            on_the_right or column.arg_key in ("expressions", "low", "high")
        ):
            column.replace(exp.Literal.string(column.name))


def _unify_tables(tree: "exp.Expression") -> None:
    """Call the tables of every SELECT t1, t2, …, and drop qualifiers that nothing needs."""
    from sqlglot import exp

    named: dict[int, dict[str, str]] = {}  # id of a SELECT -> name in it -> canonical name
    sizes: dict[int, int] = {}
    count = 0
    for select in tree.find_all(exp.Select, bfs=False):
        sources = _sources(select)
        sizes[id(select)] = len(sources)
        names = named.setdefault(id(select), {})
        for source in sources:
            count += 1
            names[source.alias_or_name.lower()] = f"t{count}"
            alias = source.args.get("alias") or exp.TableAlias()
            alias.set("this", exp.to_identifier(f"t{count}"))
            source.set("alias", alias)
    for column in list(tree.find_all(exp.Column)):
        if not column.table:
            continue
        select = nearest = column.find_ancestor(exp.Select)
        while select is not None and column.table.lower() not in named[id(select)]:
            select = select.find_ancestor(exp.Select)
        if select is None:
            continue
        if select is nearest and sizes[id(select)] == 1:
            column.set("table", None)
        else:
            name = named[id(select)][column.table.lower()]
            column.set("table", exp.to_identifier(name))


def _sources(select: "exp.Select") -> list["exp.Expression"]:
    """The tables and subqueries that a SELECT names in FROM and JOIN, in that order."""
    from sqlglot import exp

    clauses = [select.args.get(name) for name in ("from", "from_")]  # its name before and in 28
    clauses += select.args.get("joins") or []
    named = [clause.this for clause in clauses if clause is not None]
    return [source for source in named if isinstance(source, (exp.Table, exp.Subquery))]


def _unify_names(tree: "exp.Expression") -> None:
    from sqlglot import exp

    for name in tree.find_all(exp.Identifier):
        name.set("this", name.this.lower())
        if _PLAIN_NAME.match(name.this):
            name.set("quoted", False)


def _drop_optional_keywords(tree: "exp.Expression") -> None:
    from sqlglot import exp

    for join in tree.find_all(exp.Join):
        if join.kind == "INNER" or (join.kind == "OUTER" and join.side):
            join.set("kind", None)
    for ordered in tree.find_all(exp.Ordered):
        if not ordered.args.get("desc"):
            ordered.set("desc", None)
