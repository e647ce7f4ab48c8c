"""The rows that every database has: literals of gold queries, repeats, NULLs, skewed links.

Each literal stands in some rows. Links are skewed, so that counts by parent differ, and leave some
parents without children, so that NOT IN and EXCEPT find some. Columns that a LIMIT or an extreme
ranks by hold different values, because a tie at the cut would make the gold result arbitrary.
"""

from kerasft.data.spider_databases.queries import Value
from kerasft.data.spider_databases.rows import Cell, Row, Rows
from kerasft.data.spider_databases.schema import Column, Table
from kerasft.data.spider_databases.values import as_stored, is_label

_PLAIN_ROWS = 26
_LINKED_ROWS = 40
_LIST_ROWS = 8
_NULLS = 0.05
_CHILDLESS = 0.2
_SAME_NAMES = 2
_FEWEST_NAMES = 8
"""A column that others refer to has at least so many values."""
_REPEATS = 2
"""Rows of each literal."""


def fill(rows: Rows) -> None:
    """Fill every table, those referred to first."""
    for table in rows.database.parents_first():
        size = _size(rows, table)
        columns = {
            column.name.lower(): _cells(rows, table, column, size) for column in table.columns
        }
        for index in range(size):
            row: Row = {name: cells[index] for name, cells in columns.items()}
            if rows.find(table, row) is None:
                rows.add(table, row)


def _size(rows: Rows, table: Table) -> int:
    name = table.name.lower()
    wanted = [len(rows.wanted.literals.get((name, each), ())) for each in table.by_name]
    is_list = len(table.columns) <= 3 and not table.links
    base = _LIST_ROWS if is_list else (_LINKED_ROWS if len(table.links) > 1 else _PLAIN_ROWS)
    return max(base, _REPEATS * max(wanted, default=0))


def _cells(rows: Rows, table: Table, column: Column, size: int) -> list[Cell]:
    """The values of a column, one a row."""
    name = column.name.lower()
    place = table.name.lower(), name
    if name in table.links:
        return _links(rows, table, column, size)
    if table.key == (name,):
        return _keys(rows, table, column, size)
    pool = rows.pool(table, column)
    literals = _literals(rows, place, pool)
    referred = any(place in other.links.values() for other in rows.database.tables.values())
    if place in rows.wanted.ranked and len(pool) >= size:
        cells: list[Cell] = list(pool[:size])
    elif place in rows.wanted.ranked and len(pool) > 4:
        ordered = sorted(pool, key=lambda value: (isinstance(value, str), value))
        inner = [value for value in pool if value not in (ordered[0], ordered[-1])]
        cells = [ordered[0], ordered[-1], *inner * _REPEATS][:size]
        cells += rows.rng.choices(inner, k=size - len(cells))
    elif referred and column.type == "text" and len(pool) < _FEWEST_NAMES:
        cells = list(_more(pool, size))
    elif referred or is_label(table, column):
        cells = list(pool[: max(size - _SAME_NAMES, 1)])
        few = pool if len(cells) < len(pool) else cells
        cells += rows.rng.choices(few[: len(few) if referred else 6], k=size - len(cells))
    else:
        cells = [*literals * _REPEATS][:size]
        few = pool if len(pool) <= size else pool[: max(size * 3 // 4, len(literals) + 4)]
        cells += rows.rng.choices(few, k=size - len(cells))
    rows.rng.shuffle(cells)
    if place not in rows.wanted.excluded and name not in table.key:
        for index in range(size):
            if cells[index] not in literals and rows.rng.random() < _NULLS:
                cells[index] = None
    return cells


def _literals(rows: Rows, place: tuple[str, str], pool: list[Value]) -> list[Value]:
    count = len(rows.wanted.literals.get(place, ()))
    return pool[: min(len(pool), 2 * count)]


def _keys(rows: Rows, table: Table, column: Column, size: int) -> list[Cell]:
    if column.type == "number" or column.words.split(" ")[-1] == "id":
        wanted = rows.wanted.literals.get((table.name.lower(), column.name.lower()), ())
        literals = [as_stored(column, int(v)) for _, v in wanted if str(v).isdigit()]
        plain = [as_stored(column, number) for number in range(1, size + 1)]
        return list(dict.fromkeys([*literals, *plain]))[:size]
    return _more(rows.pool(table, column), size)


def _more(pool: list[Value], size: int) -> list[Cell]:
    """So many different texts: those of the pool, then the same with a number."""
    kept = pool[:size]
    more = (f"{pool[index % len(pool)]} {index}" for index in range(len(kept), size))
    return [*kept, *more]


def _links(rows: Rows, table: Table, column: Column, size: int) -> list[Cell]:
    name = column.name.lower()
    parents = list(dict.fromkeys(rows.values(table.links[name])))
    if not parents:
        return [None] * size
    literals = [
        as_stored(column, value)
        for _, value in rows.wanted.literals.get((table.name.lower(), name), ())
    ]
    known = {as_stored(column, parent): parent for parent in parents}
    asked = [known[value] for value in literals if value in known]
    rows.rng.shuffle(parents)
    if table.key == (name,):  # one row a parent
        cells = list(dict.fromkeys([*asked, *parents]))
        return [as_stored(column, v) for v in (cells + cells * (size // len(cells) + 1))[:size]]
    kept = parents[: max(1, round(len(parents) * (1 - _CHILDLESS)))]
    weights = [1 / (rank + 1.5) for rank in range(len(kept))]
    cells = [*asked * _REPEATS][:size]
    cells += rows.rng.choices(kept, weights, k=size - len(cells))
    rows.rng.shuffle(cells)
    return [as_stored(column, value) for value in cells]
