"""Names of tables and columns as SQL: quoted where the engine would not take them bare."""

import re

from kerasft.sql.engine import Engine
from kerasft.sql.schema import Table

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")

# What each engine takes for no table or column unless it is quoted. Words that it knows but
# takes as names too (year, date, name) stay bare: queries over them are written that way.
_RESERVED: dict[Engine, re.Pattern[str]] = {
    "sqlite": re.compile(
        "add|all|alter|and|as|autoincrement|between|case|cast|check|collate|commit|constraint|"
        "create|current_date|current_time|current_timestamp|default|deferrable|delete|distinct|"
        "drop|else|escape|except|exists|foreign|from|group|having|if|in|index|insert|intersect|"
        "into|is|isnull|join|limit|not|nothing|notnull|null|on|or|order|primary|raise|"
        "references|returning|select|set|table|then|to|transaction|union|unique|update|using|"
        "values|when|where",
        re.IGNORECASE,
    ),
    "duckdb": re.compile(
        "all|analyse|analyze|and|anti|any|array|as|asc|asof|asymmetric|at|authorization|binary|"
        "both|by|case|cast|check|collate|collation|column|concurrently|constraint|create|cross|"
        "default|deferrable|desc|describe|distinct|do|else|end|except|false|fetch|for|foreign|"
        "freeze|from|full|glob|grant|group|having|ilike|in|initially|inner|intersect|into|is|"
        "isnull|join|lambda|lateral|leading|left|like|limit|natural|not|notnull|null|offset|on|"
        "only|or|order|outer|overlaps|pivot|pivot_longer|pivot_wider|placing|positional|"
        "primary|qualify|references|returning|right|select|semi|show|similar|some|summarize|"
        "symmetric|table|tablesample|then|to|trailing|true|union|unique|unpack|unpivot|using|"
        "variadic|verbose|when|where|window|with",
        re.IGNORECASE,
    ),
}


def is_reserved(name: str, engine: Engine = "sqlite") -> bool:
    """Whether the engine takes a word for a name only in quotes, in any case of its letters."""
    return _RESERVED[engine].fullmatch(name) is not None


def quoted(name: str, engine: Engine = "sqlite") -> str:
    """A table's or column's name as SQL, bare where the engine takes it so."""
    if _PLAIN.match(name) and not is_reserved(name, engine):
        return name
    return '"' + name.replace('"', '""') + '"'


def table_reference(table: Table, engine: Engine = "sqlite") -> str:
    """A table as SQL refers to it, with its schema where it is outside the engine's own."""
    if not table.schema:
        return quoted(table.name, engine)
    bare = table.name.removeprefix(f"{table.schema}.")
    return f"{quoted(table.schema, engine)}.{quoted(bare, engine)}"
