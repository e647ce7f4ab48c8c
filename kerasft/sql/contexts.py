"""A script that builds a database, from MySQL, Postgres or SQL Server, as SQLite's.

Most contexts build in SQLite as they are and stay untouched; `runnable_context` asks SQLite
first. The rest is read by sqlglot statement by statement and written again:
- Types become INTEGER, REAL, NUMERIC, TEXT, BLOB, DATE or TIMESTAMP. ENUM, SET, arrays, UUID and
  JSON are TEXT, without a check of what they hold.
- AUTO_INCREMENT, SERIAL and IDENTITY make a primary key count, which SQLite does for a single
  INTEGER PRIMARY KEY; elsewhere they are dropped.
- Keys that a dump adds with ALTER TABLE are put into CREATE TABLE.
- Schemas before names are dropped; words that SQLite reserves are quoted.
- What says nothing about tables and rows is left out without being named: engines, character
  sets, comments, plain indexes inside CREATE TABLE, CREATE SCHEMA, CREATE TYPE, SET, USE, GRANT,
  LOCK, transactions.
- What says something and has no counterpart is named in `Script.skipped`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kerasft.sql.dialects import Dialect, guess_dialect, statements
from kerasft.sql.parsing import parse
from kerasft.sql.to_sqlite import as_sqlite

if TYPE_CHECKING:
    from sqlglot import exp

    from kerasft.sql.sandbox import Sandbox

LONGEST_NAMED = 80  # characters of a skipped statement
_WITHOUT_MEANING = re.compile(
    r"(?:SET|USE|GO|BEGIN|START\s+TRANSACTION|COMMIT|LOCK|UNLOCK|GRANT|REVOKE|COMMENT\s+ON|ANALYZE"
    r"|(?:CREATE|DROP|ALTER)\s+(?:DATABASE|SCHEMA|TYPE|EXTENSION|SEQUENCE|ROLE|USER)"
    r"|ALTER\s+\w+\s+(?:ONLY\s+)?\S+\s+OWNER\s+TO|SELECT\s+(?:pg_catalog\.)?set(?:_config|val)\s*\()"
    r"(?!\w)",
    re.IGNORECASE,
)
_COPIED_ROWS = re.compile(r"^COPY\s[^;]*\bFROM\s+STDIN\b[^;]*;.*?^\\\.$", re.I | re.S | re.M)
_DELIMITED = re.compile(
    r"^DELIMITER\s+(?!;\s*$)\S+.*?(?:^DELIMITER\s+;\s*$|\Z)", re.I | re.S | re.M
)
_INTEGERS = re.compile(r"U?(?:TINY|SMALL|MEDIUM|BIG)?INT(?:\d+)?\Z|(?:SMALL|BIG)?SERIAL\Z|BIT\Z")
_TEXTS = re.compile(r".*(?:CHAR|TEXT|NAME)")
_KINDS = {
    "BOOLEAN": "INTEGER",
    "FLOAT": "REAL",
    "DOUBLE": "REAL",
    "DECIMAL": "NUMERIC",
    "UDECIMAL": "NUMERIC",
    "BIGDECIMAL": "NUMERIC",
    "MONEY": "NUMERIC",
    "SMALLMONEY": "NUMERIC",
    "YEAR": "INTEGER",
    "DATE": "DATE",
    "BINARY": "BLOB",
    "VARBINARY": "BLOB",
    "BLOB": "BLOB",
    "TINYBLOB": "BLOB",
    "MEDIUMBLOB": "BLOB",
    "LONGBLOB": "BLOB",
}
_COUNTING = frozenset(["AutoIncrementColumnConstraint", "GeneratedAsIdentityColumnConstraint"])
_KEPT_CONSTRAINTS = frozenset(
    [
        "NotNullColumnConstraint",
        "PrimaryKeyColumnConstraint",
        "UniqueColumnConstraint",
        "CheckColumnConstraint",
        "DefaultColumnConstraint",
        "Reference",
    ]
)
_KEPT_DEFAULTS = frozenset(
    ["Literal", "Null", "Boolean", "Neg", "CurrentDate", "CurrentTime", "CurrentTimestamp"]
)


@dataclass(frozen=True)
class Script:
    """A script for SQLite.

    Attributes:
        text: statements that end in semicolons.
        dialect: what it was read as; `sqlite` if the text is the context itself.
        skipped: the beginnings of statements, and the parts of statements, that say something
            of tables or rows and have no counterpart.
    """

    text: str
    dialect: str
    skipped: tuple[str, ...] = ()


def runnable_context(context: str, sandbox: "Sandbox", dialect: Dialect | None = None) -> Script:
    """The context itself if SQLite builds it, else `sqlite_script`.

    Args:
        dialect: the context's, if it is known: any but SQLite's is translated without asking.

    Raises:
        SqlError: the worker process could not be started.
    """
    if dialect in (None, "sqlite"):
        tried = sandbox.run("SELECT 1", context=context)
        if dialect == "sqlite" or tried.status != "context_error":
            return Script(context, "sqlite")
    return sqlite_script(context, dialect)


def sqlite_script(context: str, dialect: Dialect | None = None) -> Script:
    """A context in SQLite's SQL, as far as it can be translated.

    Args:
        context: statements that create and fill tables and views, in any of the dialects.
        dialect: what they are written in; None: guessed from the text.
    """
    dialect = dialect or guess_dialect(context)
    skipped: list[str] = []

    def cut(match: re.Match[str]) -> str:
        skipped.append(_named(match[0]))
        return ""

    text = _DELIMITED.sub(cut, _COPIED_ROWS.sub(cut, context))
    trees = []
    for statement in _split(text, dialect):
        if _WITHOUT_MEANING.match(statement):
            continue
        tree = _read(statement, dialect)
        if tree is None:
            skipped.append(_named(statement))
        else:
            trees.append((statement, tree))
    written = _write(trees, skipped)
    return Script("".join(f"{statement};\n" for statement in written), dialect, tuple(skipped))


def sqlite_query(sql: str, dialect: Dialect | None = None) -> str:
    """A query in SQLite's SQL; the query itself where it cannot be read.

    Args:
        dialect: what it is written in; None: guessed from the text.
    """
    tree = _read(sql, dialect or guess_dialect(sql))
    if tree is None or type(tree).__name__ == "Command":
        return sql
    try:
        return _text(as_sqlite(tree))
    except Exception:  # as in _read
        return sql


def _split(text: str, dialect: Dialect) -> list[str]:
    from sqlglot.errors import TokenError

    try:
        return list(statements(text, dialect))
    except TokenError:  # a quote that is never closed: SQLite shall say so
        return [text]


def _named(statement: str) -> str:
    line = " ".join(statement.split())
    return line if len(line) <= LONGEST_NAMED else line[: LONGEST_NAMED - 1] + "…"


def _read(statement: str, dialect: Dialect) -> "exp.Expression | None":
    try:
        trees = parse(statement, dialect)
    except Exception:  # whatever it is that `parse` raises, the answer is the same
        return None
    return trees[0] if len(trees) == 1 else None


def _text(tree: "exp.Expression") -> str:
    from sqlglot import ErrorLevel

    return tree.sql(dialect="sqlite", comments=False, unsupported_level=ErrorLevel.IGNORE)


def _write(trees: list[tuple[str, "exp.Expression"]], skipped: list[str]) -> Iterable[str]:
    """The statements in SQLite's SQL; what has no counterpart is added to `skipped`."""
    tables: dict[str, Any] = {}
    kept = []
    for statement, tree in trees:
        try:
            if _keys_into_table(tree, tables):
                continue
            fault = _fault(tree)
            if fault is not None:
                skipped.append(fault or _named(statement))
                continue
            tree = as_sqlite(tree)
            if type(tree).__name__ == "Create":
                _create(tree, tables, skipped)
        except Exception:  # as in _read
            skipped.append(_named(statement))
            continue
        kept.append((statement, tree))
    for statement, tree in kept:
        yield statement if type(tree).__name__ == "Command" else _text(tree)


def _fault(tree: "exp.Expression") -> str | None:
    """None for what SQLite has a counterpart of; else what to name, "" for the statement."""
    from sqlglot import exp

    if isinstance(tree, exp.Command):
        return None if tree.name.upper() == "REPLACE" else ""
    if isinstance(tree, exp.Insert):
        conflict = tree.args.get("conflict")
        return "" if conflict is not None and conflict.args.get("duplicate") else None
    if isinstance(tree, exp.Create):
        return None if tree.kind in ("TABLE", "VIEW", "INDEX") else ""
    if isinstance(tree, exp.Alter):
        names = {type(action).__name__ for action in tree.args.get("actions") or []}
        return None if names <= {"ColumnDef", "AlterRename", "RenameColumn"} and names else ""
    kinds = (exp.Query, exp.Update, exp.Delete, exp.Drop, exp.TruncateTable)
    return None if isinstance(tree, kinds) else ""


def _keys_into_table(tree: "exp.Expression", tables: dict[str, Any]) -> bool:
    """Whether this was an ALTER TABLE that only adds keys, which now stand in its table."""
    from sqlglot import exp

    if not isinstance(tree, exp.Alter) or tree.this.name.lower() not in tables:
        return False
    actions = tree.args.get("actions") or []
    if not actions or not all(isinstance(action, exp.AddConstraint) for action in actions):
        return False
    schema = tables[tree.this.name.lower()]
    added = [as_sqlite(part) for action in actions for part in action.expressions]
    for part in _table_constraints(added):
        schema.append("expressions", part)
    return True


def _create(tree: "exp.Expression", tables: dict[str, Any], skipped: list[str]) -> None:
    """Bring a CREATE into what SQLite takes, in place."""
    from sqlglot import exp

    tree.set("properties", None)
    tree.set("replace", None)
    schema = tree.this
    if tree.kind == "INDEX":
        parameters = schema.args.get("params")
        if parameters is not None:
            parameters.set("using", None)
        for ordered in tree.find_all(exp.Ordered):
            ordered.set("nulls_first", not ordered.args.get("desc"))  # SQLite's own, unwritten
        return
    if tree.kind != "TABLE" or not isinstance(schema, exp.Schema):
        return
    tables[schema.this.name.lower()] = schema
    columns = [part for part in schema.expressions if isinstance(part, exp.ColumnDef)]
    others = [part for part in schema.expressions if not isinstance(part, exp.ColumnDef)]
    constraints = _table_constraints(others)
    counting = [column for column in columns if _column(column, schema.this.name, skipped)]
    for column in counting:
        constraints = _count(column, constraints)
    schema.set("expressions", columns + constraints)


def _table_constraints(parts: list["exp.Expression"]) -> list["exp.Expression"]:
    """Keys and checks without their names; plain indexes change nothing and go."""
    from sqlglot import exp

    kept: list[exp.Expression] = []
    for part in parts:
        if isinstance(part, exp.Constraint):
            kept += _table_constraints(part.expressions)
        elif isinstance(part, exp.UniqueColumnConstraint):
            if isinstance(part.this, exp.Schema):
                part.this.set("this", None)  # the index's name
            kept.append(part)
        elif isinstance(part, exp.PrimaryKey):
            columns = [column.find(exp.Identifier) for column in part.expressions]
            kept.append(exp.PrimaryKey(expressions=[column.copy() for column in columns]))
        elif isinstance(part, (exp.ForeignKey, exp.CheckColumnConstraint)):
            kept.append(part)
    return kept


def _column(column: "exp.Expression", table: str, skipped: list[str]) -> bool:
    """Bring a column into what SQLite takes, in place; whether it counts by itself."""
    from sqlglot import exp

    kind = column.args.get("kind")
    counts = kind is not None and kind.this.name.endswith("SERIAL")
    if kind is not None:
        column.set("kind", exp.DataType(this=exp.DataType.Type.USERDEFINED, kind=_kind(kind)))
    kept = []
    for constraint in column.args.get("constraints") or []:
        name = type(constraint.kind).__name__
        counts = counts or name in _COUNTING
        if name == "DefaultColumnConstraint":
            value = constraint.kind.this
            value = value.this if isinstance(value, (exp.Cast, exp.Paren)) else value
            constraint.kind.set("this", value)
            if type(value).__name__ not in _KEPT_DEFAULTS:
                if value.name.lower() == "nextval":
                    counts = True
                else:
                    skipped.append(f"default of {table}.{column.name}: {_named(_text(value))}")
                continue
        if name == "PrimaryKeyColumnConstraint":
            constraint.set("kind", exp.PrimaryKeyColumnConstraint())
        if name in _KEPT_CONSTRAINTS:
            constraint.set("this", None)
            kept.append(constraint)
    column.set("constraints", kept)
    return counts


def _kind(kind: "exp.Expression") -> str:
    name = kind.this.name
    if _INTEGERS.match(name):
        return "INTEGER"
    if name.startswith(("TIMESTAMP", "DATETIME")):
        return "TIMESTAMP"
    if _TEXTS.match(name):
        return "TEXT"
    return _KINDS.get(name, "TEXT")


def _count(column: "exp.Expression", constraints: list["exp.Expression"]) -> list["exp.Expression"]:
    """Make a column SQLite's counting one if it alone is the primary key."""
    from sqlglot import exp

    keys = [part for part in constraints if isinstance(part, exp.PrimaryKey)]
    alone = any(
        [name.name.lower() for name in key.expressions] == [column.name.lower()] for key in keys
    )
    inline = any(
        isinstance(part.kind, exp.PrimaryKeyColumnConstraint) for part in column.args["constraints"]
    )
    if not alone and not inline:
        return constraints
    column.set("kind", exp.DataType(this=exp.DataType.Type.USERDEFINED, kind="INTEGER"))
    column.set("constraints", [exp.ColumnConstraint(kind=exp.PrimaryKeyColumnConstraint())])
    return [part for part in constraints if part not in keys]
