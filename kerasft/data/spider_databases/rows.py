"""The rows of a database while it is made: keys stay unique and every link finds its partner."""

import contextlib
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from kerasft.data.spider import schema_of
from kerasft.data.spider_databases.queries import Place, Value, Wanted
from kerasft.data.spider_databases.schema import Column, Database, Table
from kerasft.data.spider_databases.values import as_stored, pool_of
from kerasft.sql.names import quoted

Cell = Value | None
Row = dict[str, Cell]
"""By column, lower case."""
_POOL = 80


class Rows:
    """Tables of rows that respect keys and links, and the pools that values are drawn from."""

    def __init__(self, database: Database, wanted: Wanted, rng: Random) -> None:
        self.database = database
        self.wanted = wanted
        self.rng = rng
        self.tables: dict[str, list[Row]] = {name: [] for name in database.tables}
        self._keys: dict[str, dict[tuple[Cell, ...], Row]] = {name: {} for name in database.tables}
        self._pools: dict[Place, list[Value]] = {}

    def pool(self, table: Table, column: Column) -> list[Value]:
        """The candidate values of a column, the literals of gold queries first."""
        place = table.name.lower(), column.name.lower()
        if place not in self._pools:
            literals = self._literals(place)
            rng = Random(f"{self.database.db_id}/{place}/{self.rng.random()}")
            self._pools[place] = pool_of(rng, table, column, literals, _POOL)
        return self._pools[place]

    def _literals(self, place: Place) -> list[tuple[str, Value]]:
        """Those of the column and of the columns that refer to it."""
        found = list(self.wanted.literals.get(place, ()))
        for name, table in self.database.tables.items():
            for column, target in table.links.items():
                if target == place and (name, column) != place:
                    found += self.wanted.literals.get((name, column), ())
        return list(dict.fromkeys(found))

    def values(self, place: Place) -> list[Value]:
        """The values of a column that are there, in the order of the rows."""
        return [row[place[1]] for row in self.tables[place[0]] if row[place[1]] is not None]

    def fresh(self, table: Table, column: Column) -> Value:
        """A value that the column does not hold yet."""
        place = table.name.lower(), column.name.lower()
        there = set(self.values(place))
        for value in self.pool(table, column):
            if value not in there:
                return value
        if column.type in ("number", "boolean", "time"):
            highest = [value for value in there if isinstance(value, int | float)]
            return int(max(highest, default=0)) + 1
        number = len(there) + 1
        while (
            value := as_stored(column, f"{column.words.split(' ')[-1].upper()}{number}")
        ) in there:
            number += 1
        return value

    def next_key(self, table: Table, name: str) -> Value:
        """The next value of a key of one column: numbers count up."""
        column = table.by_name[name]
        there = self.values((table.name.lower(), name))
        if _counts_up(column):
            numbers = [int(value) for value in there if str(value).lstrip("-").isdigit()]
            return as_stored(column, max(numbers, default=0) + 1)
        return self.fresh(table, column)

    def find(self, table: Table, given: Mapping[str, Cell]) -> Row | None:
        """The row with the key that is given whole, if it is there."""
        if not table.key or any(given.get(name) is None for name in table.key):
            return None
        return self._keys[table.name.lower()].get(tuple(given[name] for name in table.key))

    def add(self, table: Table, given: Mapping[str, Cell]) -> Row:
        """A row with the given cells and drawn others, or the row of that key, changed to them.

        Parents that the row refers to and that are not there are added.
        """
        given = {
            name: as_stored(table.by_name[name], value) if value is not None else None
            for name, value in given.items()
        }
        row = self.find(table, given)
        if row is not None:
            row.update(given)
            self._with_parents(table, given)
            return row
        name = table.name.lower()
        for _ in range(50):
            row = self._drawn(table, given)
            key = tuple(row[column] for column in table.key)
            if not key or key not in self._keys[name]:
                break
        else:
            self._keys[name][key].update(given)
            return self._keys[name][key]
        if key:
            self._keys[name][key] = row
        self.tables[name].append(row)
        self._with_parents(table, row)
        return row

    def _drawn(self, table: Table, given: Mapping[str, Cell]) -> Row:
        row: Row = {}
        for column in table.columns:
            name = column.name.lower()
            if name in given:
                row[name] = given[name]
            elif name in table.links:
                parents = self.values(table.links[name])
                value = self.rng.choice(parents) if parents else None
                row[name] = as_stored(column, value) if value is not None else None
            elif table.key == (name,):
                row[name] = self.next_key(table, name)
            else:
                row[name] = self.rng.choice(self.pool(table, column))
        return row

    def _with_parents(self, table: Table, given: Mapping[str, Cell]) -> None:
        for name, (parent, column) in table.links.items():
            value = given.get(name)
            if value is None or parent not in self.database.tables:
                continue
            target = self.database.tables[parent]
            value = as_stored(target.by_name[column], value)
            if value not in {row[column] for row in self.tables[parent]}:
                self.add(target, {column: value})

    def write(self, path: Path) -> None:
        """The database as a new SQLite file in the place of `path`.

        Raises:
            sqlite3.Error: the schema is none that SQLite builds.
        """
        path.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.executescript(schema_of(self.database.entry))
            for table in self.database.parents_first():
                _insert(connection, table, self.tables[table.name.lower()])


def _insert(connection: sqlite3.Connection, table: Table, rows: Sequence[Row]) -> None:
    marks = ", ".join("?" * len(table.columns))
    connection.executemany(
        f"INSERT INTO {quoted(table.name)} VALUES ({marks})",
        [[row[column.name.lower()] for column in table.columns] for row in rows],
    )


def _counts_up(column: Column) -> bool:
    return column.type == "number" or column.words.split(" ")[-1] == "id"
