"""Patterns with UNION, INTERSECT and EXCEPT."""

from kerasft.data.synth import conditions
from kerasft.data.synth.conditions import NoFit
from kerasft.data.synth.patterns.base import Draft, Draw, join_sql, pattern, qualified
from kerasft.data.synth.words import is_plural, pluralize


@pattern("hard", "set operations", tables=2)
def union_labels(draw: Draw) -> Draft:
    """The names of two tables as one list."""
    tables = [table for table in draw.schema.tables if table.label]
    if len(tables) < 2:
        raise NoFit
    first, second = draw.rng.sample(tables, 2)
    one, two = first.label, second.label
    left = f"SELECT {one.sql} FROM {first.sql}"
    right = f"SELECT {two.sql} FROM {second.sql}"
    many = [
        column.phrase if is_plural(column.phrase) else pluralize(column.phrase)
        for column in (one, two)
    ]
    if one.phrase == two.phrase:
        both = f"{many[0]} of all {first.plural} and all {second.plural}"
    else:
        both = f"{many[0]} of all {first.plural} and the {many[1]} of all {second.plural}"
    return Draft(
        f"{left} UNION {right};",
        (
            f"List the {both} in one column without duplicates.",
            f"Combine the {both} into a single list, each once.",
            f"Show one merged list of the {both} with no repeats.",
            f"Return the {both} together as one set.",
        ),
        f"Takes {one.name} from {first.name} and {two.name} from {second.name} and merges them.",
        (f"{left};", f"{right};"),
    )


@pattern("hard", "set operations")
def union_groups(draw: Draw) -> Draft:
    """Categories that have a row of one sort or of another."""
    return _two_filters(draw, "UNION")


@pattern("hard", "set operations")
def intersect_groups(draw: Draw) -> Draft:
    """Categories that have a row of one sort and a row of another."""
    return _two_filters(draw, "INTERSECT")


@pattern("hard", "set operations")
def except_groups(draw: Draw) -> Draft:
    """Categories that have a row of one sort and none of another."""
    return _two_filters(draw, "EXCEPT")


def _two_filters(draw: Draw, operation: str) -> Draft:
    table = draw.table("category")
    column = draw.column(table, "category")
    one_column = draw.column(table, "number", "date", "category", but=[column])
    two_column = draw.column(table, "number", "date", "category", but=[column, one_column])
    first = conditions.any_of(draw.rng, one_column)
    second = conditions.any_of(draw.rng, two_column)
    select = f"SELECT {column.sql} FROM {table.sql} WHERE"
    many = column.phrase if is_plural(column.phrase) else pluralize(column.phrase)
    one = f"{table.singular} whose {first.whose}"
    two = f"{table.singular} whose {second.whose}"
    if operation == "UNION":
        questions = (
            f"Which {many} occur for some {one}, or for some {two}, or both? List each once.",
            f"List every {column.phrase} that has at least one {one} or at least one {two}.",
            f"Combine the {many} of each {one} with the {many} of each {two}, without repeats.",
            f"Show the different {many} that have any {one} or any {two}.",
        )
        meaning = "either"
    elif operation == "INTERSECT":
        questions = (
            f"Which {many} have at least one {one} and also at least one {two}?",
            f"List every {column.phrase} that has both at least one {one} and at least one {two}.",
            f"Find the {many} shared by some {one} and some {two}.",
            f"Show the {many} that have any {one} as well as any {two}.",
        )
        meaning = "both"
    else:
        questions = (
            f"Which {many} have at least one {one} but no {two}?",
            f"List every {column.phrase} that has at least one {one} and not a single {two}.",
            f"Find the {many} that occur for some {one} but never for any {two}.",
            f"Show the {many} with any {one} except those that have any {two}.",
        )
        meaning = "the first but not the second"
    return Draft(
        f"{select} {first.sql} {operation} {select} {second.sql};",
        questions,
        f"Finds the values of {column.name} in rows whose {first.whose} and in rows whose "
        f"{second.whose}, and keeps those in {meaning}.",
        tuple(
            f"{select.replace('SELECT', 'SELECT DISTINCT')} {where} ORDER BY 1;"
            for where in (first.sql, second.sql, "1")
        ),
    )


@pattern("extra", "set operations", tables=2)
def intersect_parents(draw: Draw) -> Draft:
    """Parents that have a child of one sort and a child of another."""
    return _two_children(draw, "INTERSECT")


@pattern("extra", "set operations", tables=2)
def except_parents(draw: Draw) -> Draft:
    """Parents that have a child of one sort and none of another."""
    return _two_children(draw, "EXCEPT")


def _two_children(draw: Draw, operation: str) -> Draft:
    child, link, parent = draw.link()
    column = draw.column(child, "category", "number", "date")
    expression = qualified(child, column)
    first = conditions.any_of(draw.rng, column, expression)
    second = conditions.any_of(draw.rng, column, expression)
    if first.sql == second.sql:
        raise NoFit
    label = parent.label
    select = (
        f"SELECT {qualified(parent, label)} FROM {child.sql} {join_sql(child, link, parent)} WHERE"
    )
    one, two = first.of(child.singular), second.of(child.singular)
    asked, who = label.phrase, parent.who
    if operation == "INTERSECT":
        questions = (
            f"Which {parent.plural} have at least one {one} and at least one {two}? Give their "
            f"{asked}.",
            f"List the {asked} of every {parent.singular} {who} has both at least one {one} and at "
            f"least one {two}.",
            f"Find the {asked} of the {parent.plural} with at least one {one} and also at least "
            f"one {two}.",
            f"Show the {asked} of each {parent.singular} {who} has some {one} as well as some "
            f"{two}.",
        )
        meaning = "both"
    else:
        questions = (
            f"Which {parent.plural} have at least one {one} but no {two}? Give their {asked}.",
            f"List the {asked} of every {parent.singular} {who} has at least one {one} and not a "
            f"single {two}.",
            f"Find the {asked} of the {parent.plural} with at least one {one} but without any "
            f"{two}.",
            f"Show the {asked} of each {parent.singular} {who} has some {one} but not any {two}.",
        )
        meaning = "the first but not the second"
    return Draft(
        f"{select} {first.sql} {operation} {select} {second.sql};",
        questions,
        f"Finds the {parent.plural} of {child.plural} where {first.sql} and of those where "
        f"{second.sql}, and keeps those in {meaning}.",
        tuple(
            f"{select.replace('SELECT', 'SELECT DISTINCT')} {where} ORDER BY 1;"
            for where in (first.sql, second.sql)
        ),
    )
