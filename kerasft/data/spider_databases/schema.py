"""A database of Spider's `tables.json` as the builder sees it: tables, keys, links, words.

`tables.json` gives one column of a composite key only, so a table of two links (concert, singer)
would hold one row a concert. Such keys are widened here: by the table's other links, or, where
there is none but gold queries count the rows of one key, by the next column, which is where the
original databases have the rest of theirs. Joins of gold queries on a key that `tables.json` does
not declare are taken as links too.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

Type = Literal["text", "number", "time", "boolean", "others"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `words` are its natural name as Spider gives it."""

    name: str
    words: str
    type: Type


@dataclass(frozen=True)
class Table:
    """A table; names of columns in `key` and `links` are lower case."""

    name: str
    words: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    links: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Column -> (table, column) that it refers to, all lower case."""

    @cached_property
    def by_name(self) -> dict[str, Column]:
        return {column.name.lower(): column for column in self.columns}


@dataclass(frozen=True)
class Database:
    """The tables by lower-case name, and the entry of `tables.json` that they came from."""

    db_id: str
    tables: dict[str, Table]
    entry: Mapping[str, Any]

    def parents_first(self) -> list[Table]:
        """The tables such that those referred to come first; a cycle is cut where it is met."""
        done: dict[str, Table] = {}
        open_: set[str] = set()

        def visit(name: str) -> None:
            if name in done or name in open_:
                return
            open_.add(name)
            for parent, _ in self.tables[name].links.values():
                visit(parent)
            done[name] = self.tables[name]

        for name in self.tables:
            visit(name)
        return list(done.values())


@dataclass(frozen=True)
class Evidence:
    """What the gold queries say of a database beyond `tables.json`.

    Attributes:
        joins: pairs of (table, column) that are compared for equality, lower case.
        counted: (table, (table, column)): the rows of the first are grouped by the second.
    """

    joins: frozenset[tuple[tuple[str, str], tuple[str, str]]] = frozenset()
    counted: frozenset[tuple[str, tuple[str, str]]] = frozenset()


def database_of(entry: Mapping[str, Any], evidence: Evidence | None = None) -> Database:
    """The database of an entry of `tables.json`; SQLite's own tables are left out.

    Raises:
        KeyError, IndexError, TypeError: the entry is not one.
    """
    evidence = evidence or Evidence()
    names = entry["table_names_original"]
    columns: list[list[Column]] = [[] for _ in names]
    place: list[tuple[str, str]] = []
    natural = [words for _, words in entry["column_names"]]
    for (table, name), words, kind in zip(
        entry["column_names_original"], natural, entry["column_types"], strict=True
    ):
        place.append(("" if table < 0 else names[table].lower(), name.lower()))
        if table >= 0:
            columns[table].append(Column(name, words.lower(), kind))
    keys: dict[str, tuple[str, ...]] = {}
    for key in entry["primary_keys"]:
        for index in key if isinstance(key, list) else [key]:
            table, name = place[index]
            keys[table] = (*keys.get(table, ()), name)
    links: dict[str, dict[str, tuple[str, str]]] = {name.lower(): {} for name in names}
    for here, there in entry["foreign_keys"]:
        table, name = place[here]
        if place[there][0] != table or place[there][1] != name:
            links[table].setdefault(name, place[there])
    _add_joined(links, keys, evidence.joins)
    tables = {}
    for name, words, own in zip(names, entry["table_names"], columns, strict=True):
        lower = name.lower()
        if lower.startswith("sqlite_"):
            continue
        key = _widened(lower, keys.get(lower, ()), links[lower], own, evidence.counted)
        tables[lower] = Table(name, words.lower(), tuple(own), key, links[lower])
    return Database(entry["db_id"], tables, _with_keys(entry, tables, place))


def _add_joined(
    links: dict[str, dict[str, tuple[str, str]]],
    keys: Mapping[str, tuple[str, ...]],
    joins: Iterable[tuple[tuple[str, str], tuple[str, str]]],
) -> None:
    for pair in sorted(joins):
        for (table, name), target in (pair, pair[::-1]):
            if keys.get(target[0]) != (target[1],) or target[0] == table:
                continue
            # Of two joined keys, `id = id`, the declared links say which refers to which.
            is_own_key = keys.get(table) == (name,)
            is_back = links[target[0]].get(target[1]) == (table, name)
            if _next_differs(table, target, keys) if is_own_key else not is_back:
                links[table].setdefault(name, target)


def _next_differs(table: str, target: tuple[str, str], keys: Mapping[str, tuple[str, ...]]) -> bool:
    """Two tables joined on keys of other names (`airline = uid`): the first refers."""
    return keys[table][0] != target[1] and keys[table][0].rstrip("s") in target[0]


def _widened(
    table: str,
    key: tuple[str, ...],
    links: Mapping[str, tuple[str, str]],
    columns: list[Column],
    counted: frozenset[tuple[str, tuple[str, str]]],
) -> tuple[str, ...]:
    if len(key) != 1 or key[0] not in links:
        return key
    others = tuple(name for name in links if name != key[0])
    if others:
        return key + others
    parent = links[key[0]][0]
    by = [place for of, place in counted if of == table]
    if any(place == (table, key[0]) or place[0] == parent for place in by):
        following = next((c.name.lower() for c in columns if c.name.lower() != key[0]), None)
        return (key[0], following) if following else ()
    return key


def _with_keys(
    entry: Mapping[str, Any], tables: Mapping[str, Table], place: list[tuple[str, str]]
) -> dict[str, Any]:
    """The entry with the widened keys and added links, for its CREATE TABLE statements."""
    index = {where: number for number, where in enumerate(place)}
    keys = [[index[name, column] for column in table.key] for name, table in tables.items()]
    links = [
        [index[name, column], index[target]]
        for name, table in tables.items()
        for column, target in table.links.items()
    ]
    return {**entry, "primary_keys": [key for key in keys if key], "foreign_keys": links}
