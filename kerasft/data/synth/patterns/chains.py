"""Patterns over three linked tables."""

from kerasft.data.synth import conditions
from kerasft.data.synth.conditions import NoFit
from kerasft.data.synth.patterns.base import (
    Draft,
    Draw,
    join_sql,
    pattern,
    phrases,
    qualified,
    qualified_list,
)
from kerasft.data.synth.schema import Table


def _path(draw: Draw) -> tuple[Table, str, Table, Table, str]:
    """A child and two tables above it: both its parents, or its parent and grandparent.

    Returns the child, the FROM clause, the nearer and the farther table, and whose the farther
    one is: `its` or `that album's`.
    """
    paths = []
    for child in draw.schema.tables:
        for near, join in _parents(draw, child):
            start = f"{child.sql} {join}"
            paths += [
                (child, f"{start} {other}", near, far, child.its)
                for far, other in _parents(draw, child)
                if far is not near
            ]
            paths += [
                (child, f"{start} {above}", near, far, f"that {near.singular}'s")
                for far, above in _parents(draw, near)
                if far is not child
            ]
    return draw.choice(paths)


def _parents(draw: Draw, child: Table) -> list[tuple[Table, str]]:
    """Parents with a label, and the JOIN to each."""
    return [
        (parent, join_sql(child, link, parent))
        for link in child.links
        for parent in [draw.schema.table(link.parent)]
        # An inner join over a NULL would drop rows that the question asks for.
        if parent.label and parent.key and not link.has_null
    ]


@pattern("hard", "multiple_joins", tables=3)
def join_three(draw: Draw) -> Draft:
    """A column of each of three linked tables."""
    child, tables, near, far, whose = _path(draw)
    columns = draw.shown(child, 2)
    asked = phrases(columns)
    be = "is" if len(columns) == 1 else "are"
    near_of = f"the {near.label.phrase} of {child.its} {near.singular}"
    far_of = f"the {far.label.phrase} of {whose} {far.singular}"
    return Draft(
        f"SELECT {qualified_list(child, columns)}, {qualified(near, near.label)}, "
        f"{qualified(far, far.label)} FROM {tables};",
        (
            f"For each {child.singular}, show the {asked}, {near_of} and {far_of}.",
            f"List the {asked} of every {child.singular} with {near_of} and {far_of}.",
            f"What {be} the {asked} of each {child.singular}, along with {near_of} and {far_of}?",
            f"Return the {asked} of all {child.plural}, and for each one {near_of} and {far_of}.",
        ),
        f"Joins {child.name}, {near.name} and {far.name} by their keys.",
    )


@pattern("extra", "multiple_joins", tables=3)
def join_three_filter(draw: Draw) -> Draft:
    """Names from one table for rows that pass a filter on a table two joins away."""
    child, tables, near, far, whose = _path(draw)
    if whose != child.its:  # the farther table must own the children itself
        raise NoFit
    column = draw.column(near, "label", "category", "number")
    condition = conditions.any_of(draw.rng, column, qualified(near, column))
    shown = draw.shown(far)
    asked = phrases(shown)
    if column.kind == "label":
        value = condition.whose.removeprefix(f"{column.phrase} is ")
        rows = f"the {near.singular} {value}"
    else:
        rows = condition.of(near.plural)
    link = next(link for link in child.links if link.parent == near.name)
    noun = f"{child.plural} {link.preposition} {rows}"
    select = f"SELECT DISTINCT {qualified_list(far, shown)} FROM {tables}"
    return Draft(
        f"{select} WHERE {condition.sql};",
        (
            f"Which {far.plural} have {noun}? Show their {asked} without repeats.",
            f"List the distinct {asked} of the {far.plural} {far.who} have {noun}.",
            f"Find every {far.singular} with {noun} and return each {asked} once.",
            f"Show the {asked}, without duplicates, of {far.plural} having {noun}.",
        ),
        f"Joins {child.name} to {near.name} and {far.name}, keeps the rows where {condition.sql} "
        f"and returns each {asked} once.",
        (f"{select};",),
    )


@pattern("extra", "multiple_joins", tables=3)
def join_three_group(draw: Draw) -> Draft:
    """A count or an aggregate of the lowest table by the farthest."""
    child, tables, near, far, _ = _path(draw)
    name = qualified(far, far.label)
    if draw.rng.random() < 0.5:
        function, words = "COUNT(*)", f"number of {child.plural}"
    else:
        column = draw.column(child, "number")
        function, words = draw.aggregate(column, qualified(child, column))
        words = f"{words} of the {child.plural}"
    condition_column = draw.column(near, "category")
    condition = conditions.equals(draw.rng, condition_column, qualified(near, condition_column))
    rows = condition.of(near.plural)
    link = next(link for link in child.links if link.parent == near.name)
    only = (
        f"counting only {child.plural} {link.preposition} {rows} and leaving out {far.plural} "
        f"{far.who} have none"
    )
    shown = f"{far.label.phrase} of the {far.singular}"
    return Draft(
        f"SELECT {name}, {function} FROM {tables} WHERE {condition.sql} GROUP BY {name};",
        (
            f"Show the {shown} and the {words} for each {far.singular}, {only}.",
            f"For each {far.singular}, return the {far.label.phrase} and the {words}, {only}.",
            f"What is the {words} per {far.singular}, {only}? Give the {shown} too.",
            f"List each {far.singular}'s {far.label.phrase} with the {words}, {only}.",
        ),
        f"Joins {child.name}, {near.name} and {far.name}, keeps the rows where {condition.sql}, "
        f"groups by {name} and computes {function}.",
        (f"SELECT {name}, {function} FROM {tables} GROUP BY {name};",),
    )
