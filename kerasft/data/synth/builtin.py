"""A schema from a built-in domain: some of its tables and columns, renamed, with a few rows."""

from dataclasses import dataclass
from random import Random
from typing import Any

from kerasft.data.synth.catalogue import Domain, Entity, Field
from kerasft.data.synth.conditions import NoFit
from kerasft.data.synth.schema import Column, Link, Schema, Table
from kerasft.data.synth.words import identifier, is_plural, literal, pluralize

_ROWS = {1: (4, 6), 2: (3, 5), 3: (3, 4)}
"""Fewest and most rows a table, by the number of tables: contexts stay short."""
_FIELDS = {1: (3, 5), 2: (2, 3), 3: (1, 3)}
"""Fewest and most fields a table beside keys."""
_NOT_A_NOUN = (
    *("on", "since", "into", "used", "driven"),
    *("founded", "built", "opened", "formed", "established", "appointed"),
)
"""Last words of column names that cannot stand in a question as they are."""


@dataclass(frozen=True, slots=True)
class _Style:
    """How one schema writes its names and keys."""

    case: str
    plural_tables: bool
    long_keys: bool
    references: str

    def name(self, words: str) -> str:
        parts = words.replace("-", " ").split()
        if self.case == "snake":
            return "_".join(parts).lower()
        capitals = [part[:1].upper() + part[1:] for part in parts]
        if self.case == "camel":
            capitals[0] = parts[0].lower()
        return "".join(capitals)


def draw_schema(rng: Random, domain: Domain, tables: int) -> Schema:
    """A schema of `tables` linked tables of the domain.

    Raises:
        NoFit: the domain has no so many linked tables.
    """
    entities = _linked(rng, domain, tables)
    style = _Style(
        case=rng.choice(("snake", "snake", "snake", "snake", "pascal", "camel")),
        plural_tables=rng.random() < 0.7,
        long_keys=rng.random() < 0.5,
        references=rng.choice(("inline", "inline", "clause", "none")),
    )
    built: dict[str, Table] = {}
    statements = []
    rows_of: dict[str, int] = {}
    for entity in entities:
        table, statement, rows = _draw_table(rng, entity, style, built, rows_of, len(entities))
        built[entity.names[0]] = table
        rows_of[entity.names[0]] = rows
        statements.append(statement)
    return Schema(domain.name, domain.description, tuple(built.values()), " ".join(statements))


def _linked(rng: Random, domain: Domain, tables: int) -> list[Entity]:
    """`tables` entities that hang together, in the order in which they refer to each other."""
    by_name = {entity.names[0]: entity for entity in domain.entities}
    chosen = {rng.choice(domain.entities).names[0]}
    while len(chosen) < tables:
        near = sorted(
            {
                name
                for entity in domain.entities
                for parent, _ in entity.parents
                for name, other in ((entity.names[0], parent), (parent, entity.names[0]))
                if other in chosen and name not in chosen
            }
        )
        if not near:
            raise NoFit
        chosen.add(rng.choice(near))
    return [by_name[name] for name in by_name if name in chosen]


def _draw_table(
    rng: Random,
    entity: Entity,
    style: _Style,
    built: dict[str, Table],
    rows_of: dict[str, int],
    tables: int,
) -> tuple[Table, str, int]:
    """The table, its CREATE and INSERT statements, and how many rows it has."""
    singular = rng.choice(entity.names) if rng.random() < 0.5 else entity.names[0]
    plural = pluralize(singular)
    name = style.name(plural if style.plural_tables else singular)
    if identifier(name) != name:
        name = style.name(plural)
    key = style.name(f"{singular} id" if style.long_keys else "id")

    parents = [(parent, word) for parent, word in entity.parents if parent in built]
    low, high = _ROWS[tables]
    rows = rng.randint(low, high) + (1 if parents and tables > 1 else 0)
    fields = _draw_fields(rng, entity, tables)
    columns, data, taken = [], [], {key.lower()}
    for field in fields:
        column, values = _draw_column(rng, entity, field, style, rows, taken)
        taken.add(column.name.lower())
        columns.append(column)
        data.append((column.sql, column.sql_type, values))
    links = []
    for parent, preposition in parents:
        table = built[parent]
        link = Link(style.name(f"{table.singular} id"), table.name, preposition)
        links.append(link)
        kind = (
            "INTEGER"
            if style.references != "inline"
            else (f"INTEGER REFERENCES {table.sql}({identifier(table.key)})")
        )
        data.append((link.sql, kind, _draw_parents(rng, rows, rows_of[parent])))
    statement = _statements(name, key, data, rows, style, links, built)
    return (
        Table(name, singular, plural, tuple(columns), key, tuple(links), entity.is_person),
        statement,
        rows,
    )


def _draw_fields(rng: Random, entity: Entity, tables: int) -> list[Field]:
    """The label, if there is one, and some others in a random order."""
    low, high = _FIELDS[tables]
    labels = [field for field in entity.fields if field.kind == "label"]
    others = [field for field in entity.fields if field.kind != "label"]
    wanted = min(rng.randint(low, high) - len(labels), len(others))
    chosen = rng.sample(others, max(wanted, 1))
    if rng.random() < 0.5:
        return labels + chosen
    return rng.sample(labels + chosen, len(labels) + len(chosen))


def _draw_column(
    rng: Random, entity: Entity, field: Field, style: _Style, rows: int, taken: set[str]
) -> tuple[Column, list[Any]]:
    words = rng.choice(field.names) if rng.random() < 0.5 else field.names[0]
    name = style.name(words)
    if identifier(name) != name or name.lower() in taken:
        raise NoFit
    said = words if rng.random() < 0.75 else rng.choice(field.names)
    clumsy = said.startswith(tuple(f"{own} " for own in entity.names))  # the book's book title
    if clumsy or said.split(" ")[-1] in _NOT_A_NOUN or is_plural(said):
        said = field.names[0]
    values = field.draw(rng, rows)
    has_null = field.optional and rng.random() < 0.4
    if has_null:
        for place in rng.sample(range(rows), rng.choice((1, 1, 2))):
            values[place] = None
    column = Column(
        name,
        f"number of {field.counts}" if field.counts else said,
        field.kind,
        rng.choice(field.sql_types),
        tuple(dict.fromkeys(value for value in values if value is not None)),
        unit=field.unit,
        counts=field.counts,
        verb=field.verb,
        tag=field.tag,
        adjectives=field.adjectives,
        adds_up=field.adds_up,
        is_year=field.is_year,
        has_null=has_null,
    )
    return column, values


def _draw_parents(rng: Random, rows: int, parents: int) -> list[int]:
    """The parent of each row; half of the time one parent is left without a row."""
    open_to = list(range(1, parents + 1))
    if rng.random() < 0.5:
        open_to.remove(rng.choice(open_to))
        return [rng.choice(open_to) for _ in range(rows)]
    if rows < parents:
        return [rng.choice(open_to) for _ in range(rows)]
    drawn = open_to + [rng.choice(open_to) for _ in range(rows - parents)]
    rng.shuffle(drawn)
    return drawn


def _statements(
    name: str,
    key: str,
    data: list[tuple[str, str, list[Any]]],
    rows: int,
    style: _Style,
    links: list[Link],
    built: dict[str, Table],
) -> str:
    parts = [f"{identifier(key)} INTEGER PRIMARY KEY"]
    parts += [f"{column} {sql_type}" for column, sql_type, _ in data]
    if style.references == "clause":
        for link in links:
            parent = next(table for table in built.values() if table.name == link.parent)
            parts.append(
                f"FOREIGN KEY ({link.sql}) REFERENCES {parent.sql}({identifier(parent.key)})"
            )
    tuples = ", ".join(
        f"({', '.join([str(row + 1), *(literal(values[row]) for _, _, values in data)])})"
        for row in range(rows)
    )
    table = identifier(name)
    return f"CREATE TABLE {table} ({', '.join(parts)}); INSERT INTO {table} VALUES {tuples};"
