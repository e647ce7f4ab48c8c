"""SQL in one written form, for an exact match that does not depend on how it was typed.

Both sides of a comparison go through `normalize`; equal texts are the same query up to how it
was written, which `kerasft.sql.unify` lists. Different texts can still mean the same.
"""

from collections import Counter
from typing import TYPE_CHECKING

from kerasft.sql.lexical import Piece, extract_sql, fold, ordered_outermost, pieces
from kerasft.sql.parsing import parse
from kerasft.sql.schema import Schema
from kerasft.sql.unify import AFFINITIES, Tables, cross_joins, unify

if TYPE_CHECKING:
    from sqlglot import exp

__all__ = [
    "Tables",
    "columns_by_table",
    "extract_sql",
    "normalize",
    "order_keys_query",
    "ordered_outermost",
]

# Keywords that change nothing, and the names of types, which `unify` compares.
_SILENT = frozenset(["AS", "INNER", "OUTER", "CROSS", "ASC", "INTEGER", "REAL", *AFFINITIES])


def columns_by_table(schema: Schema) -> Tables:
    """The names that a query over a database may use, in lower case."""
    return {
        table.name.lower(): frozenset(column.name.lower() for column in table.columns)
        for table in schema.tables
    }


def normalize(sql: str, dialect: str = "sqlite", tables: Tables | None = None) -> str:
    """One written form of a statement.

    Names are in lower case and without quotes where they need none, table aliases become t1,
    t2, … in the order in which the tables are named, and keywords, aliases and qualifiers that
    nothing needs are gone (`kerasft.sql.unify`).

    SQL that sqlglot does not parse as one statement, or does not write again as it read it,
    is only folded (`kerasft.sql.lexical.fold`).

    Args:
        dialect: how sqlglot reads and writes the SQL.
        tables: the columns of each table, by name, in lower case. With them a name in double
            quotes is known to be text or not, as SQLite decides it, and a qualifier is dropped
            or added only where it says the same. Without them text in double quotes is what
            something is compared with, and qualifiers in a query over one table go.
    """
    try:
        tree = _parse(sql, dialect)
        _check_round_trip(tree, sql, dialect)
        unify(tree, list(pieces(sql)), dialect, tables)
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
    from sqlglot import exp

    statements = parse(sql, dialect)
    if len(statements) != 1 or statements[0].find(exp.Command):
        raise ValueError("not one statement that sqlglot understands")
    return statements[0]


def _check_round_trip(tree: "exp.Expression", sql: str, dialect: str) -> None:
    """That sqlglot read and writes the statement word for word, and not what it takes for it.

    It reads `mod(a, 2)` as `a % 2` and writes `CAST(a AS DATE)` as `DATE(a)`, which SQLite
    computes otherwise. Types in a cast are left to `unify`.

    Raises:
        ValueError: it does not.
    """
    from sqlglot import exp

    copy = tree.copy()
    for cast in copy.find_all(exp.Cast):
        cast.set("to", exp.DataType.build("TEXT"))
    cross_joins(copy)
    written = copy.sql(dialect=dialect, comments=False)
    before, after = _words(sql), _words(written)
    commas = max(before[","] - after[","], 0)  # in FROM they are written as joins
    conditions = max(before["ON"] - after["ON"], 0)  # ON TRUE is none
    before.update({",": -commas, "JOIN": commas, "ON": -conditions, "TRUE": -conditions})
    if _parse(written, dialect) != copy or before != after:
        raise ValueError("not written as it was read")


def _words(sql: str) -> Counter[str]:
    """How often each word, name, string and mark occurs, but for those that say nothing."""
    texts = []
    for piece in pieces(sql):
        if piece.kind in ("space", "comment") or piece.text == ";":
            continue
        texts.append(_bare(piece) if piece.kind == "name" else piece.text)
        if piece.kind in ("name", "word"):
            texts[-1] = texts[-1].upper()
        elif piece.text == "=" and texts[-2:-1] in (["!"], ["="]):
            texts[-2:] = ["<", ">"] if texts[-2] == "!" else ["="]
    return Counter(text for text in texts if text not in _SILENT)


def _bare(name: Piece) -> str:
    """A quoted name without its quotes."""
    quote = name.text[-1]
    return name.text[1:-1].replace(quote * 2, quote)
