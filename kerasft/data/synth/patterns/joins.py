"""Patterns over two linked tables."""

from kerasft.data.synth import conditions
from kerasft.data.synth.conditions import NoFit
from kerasft.data.synth.patterns.base import (
    Draft,
    Draw,
    join_sql,
    key_sql,
    list_questions,
    pattern,
    phrases,
    qualified,
    qualified_list,
    total_of,
)
from kerasft.data.synth.schema import Column, Link, Table
from kerasft.data.synth.words import counted, with_article


def _be(columns: list[Column]) -> str:
    return "is" if len(columns) == 1 else "are"


@pattern("medium", "single join", tables=2)
def join_columns(draw: Draw) -> Draft:
    """Columns of each child with columns of its parent."""
    child, link, parent = draw.link()
    if link.has_null:  # an inner join would drop rows that the question asks for
        raise NoFit
    columns = draw.shown(child)
    others = draw.shown(parent)[: 2 if len(columns) == 1 else 1]
    asked, related = phrases(columns), phrases(others)
    one, other = child.singular, parent.singular
    return Draft(
        f"SELECT {qualified_list(child, columns)}, {qualified_list(parent, others)} FROM "
        f"{child.sql} {join_sql(child, link, parent)};",
        (
            f"List the {asked} of each {one} together with the {related} of {child.its} {other}.",
            f"For every {one}, show {child.its} {asked} and the {related} of {child.its} {other}.",
            f"What {_be(columns)} the {asked} of each {one}, and what {_be(others)} the {related} "
            f"of {child.its} {other}?",
            f"Show the {asked} of all {child.plural} along with the {related} of the {other} of "
            "each.",
            f"Return each {one}'s {asked} and {child.its} {other}'s {related}.",
        ),
        f"Joins {child.name} to {parent.name} and returns the {asked} and the {related}.",
    )


def _parent_condition(draw: Draw, child: Table, link: Link, parent: Table) -> tuple[str, str, str]:
    """A condition on the parent: its SQL, and the child's noun, one and many, with it."""
    column = draw.column(parent, "label", "category", "category", "number")
    condition = conditions.any_of(draw.rng, column, qualified(parent, column))
    if column.kind == "label":
        value = condition.whose.removeprefix(f"{column.phrase} is ")
        form = draw.choice(
            (
                f"* {link.preposition} the {parent.singular} {value}",
                f"* whose {parent.singular} is {value}",
            )
        )
    else:
        form = draw.choice(
            (
                f"* {link.preposition} {condition.of(parent.plural)}",
                f"* whose {parent.singular}'s {condition.whose}",
            )
        )
    return condition.sql, form.replace("*", child.singular), form.replace("*", child.plural)


@pattern("medium", "single join", tables=2)
def join_filter(draw: Draw) -> Draft:
    """Children whose parent passes a filter."""
    child, link, parent = draw.link()
    where, one, many = _parent_condition(draw, child, link, parent)
    columns = draw.shown(child)
    select = (
        f"SELECT {qualified_list(child, columns)} FROM {child.sql} {join_sql(child, link, parent)}"
    )
    return Draft(
        f"{select} WHERE {where};",
        list_questions(columns, one, many),
        f"Joins {child.name} to {parent.name}, keeps the rows where {where} and returns the "
        f"{phrases(columns)}.",
        (f"{select};",),
    )


@pattern("medium", "single join", tables=2)
def join_aggregate_where(draw: Draw) -> Draft:
    """A count or an aggregate over the children of some parents."""
    child, link, parent = draw.link()
    where, _, many = _parent_condition(draw, child, link, parent)
    tail = f"FROM {child.sql} {join_sql(child, link, parent)}"
    if draw.rng.random() < 0.4:
        function, words = "COUNT(*)", "number"
        first, second = f"How many {many} are there?", f"Count the {many}."
    else:
        column = draw.column(child, "number")
        function, words = draw.aggregate(column, qualified(child, column))
        first, second = (
            f"Among the {many}, what is the {words}?",
            f"Find the {words} of all {many}.",
        )
    return Draft(
        f"SELECT {function} {tail} WHERE {where};",
        (
            first,
            second,
            f"What is the {words} of {many}?",
            f"Give me the {words} of {many}.",
        ),
        f"Joins {child.name} to {parent.name}, keeps the rows where {where} and computes "
        f"{function}.",
        (f"SELECT {function} {tail};",),
    )


@pattern("hard", "single join", tables=2)
def join_group_count(draw: Draw) -> Draft:
    """How many children each parent has."""
    child, link, parent = draw.link()
    label = parent.label
    name = qualified(parent, label)
    tail = f"GROUP BY {name};"
    return Draft(
        f"SELECT {name}, COUNT(*) FROM {child.sql} {join_sql(child, link, parent)} {tail}",
        (
            f"How many {child.plural} does each {parent.singular} have? Show the {label.phrase} "
            f"of the {parent.singular} and the count.",
            f"Show the {label.phrase} of each {parent.singular} and the number of {child.plural}.",
            f"Count the {child.plural} per {parent.singular}, returning the {parent.singular}'s "
            f"{label.phrase} and the count.",
            f"For every {parent.singular}, return the {label.phrase} and how many {child.plural} "
            f"{'they have' if parent.is_person else 'it has'}.",
        ),
        f"Joins {child.name} to {parent.name}, groups by {name} and counts the rows.",
        agrees_with=(
            f"SELECT {name}, COUNT({child.sql}.{link.sql}) FROM {parent.sql} LEFT JOIN "
            f"{child.sql} ON {child.sql}.{link.sql} = {key_sql(parent)} {tail}",
        ),
    )


@pattern("hard", "single join", tables=2)
def join_group_aggregate(draw: Draw) -> Draft:
    """An aggregate of the children by a column of the parent."""
    child, link, parent = draw.link()
    group = draw.column(parent, "label", "category")
    column = draw.column(child, "number")
    function, words = draw.aggregate(column, qualified(child, column))
    name = qualified(parent, group)
    by = (
        f"{parent.singular}"
        if group.kind == "label"
        else f"{group.phrase} of the {parent.singular}"
    )
    shown = f"{parent.singular}'s {group.phrase}"
    tail = f"{join_sql(child, link, parent)} GROUP BY {name};"
    outer = f"LEFT JOIN {child.sql} ON {child.sql}.{link.sql} = {key_sql(parent)} GROUP BY {name};"
    return Draft(
        f"SELECT {name}, {function} FROM {child.sql} {tail}",
        (
            f"What is the {words} of the {child.plural} for each {by}? Show the {shown} too.",
            f"Show the {shown} and the {words} of {parent.its} {child.plural} for each {by}.",
            f"For each {by}, return the {shown} and the {words} of the {child.plural}.",
            f"Group the {child.plural} by {by} and give the {shown} and the {words} of each group.",
        ),
        f"Joins {child.name} to {parent.name}, groups by {name} and computes {function}.",
        agrees_with=(f"SELECT {name}, {function} FROM {parent.sql} {outer}",),
    )


@pattern("hard", "single join", tables=2)
def left_join_count(draw: Draw) -> Draft:
    """How many children each parent has, with zero for those without."""
    child, link, parent = draw.link()
    label = parent.label
    name = qualified(parent, label)
    on = f"{child.sql} ON {child.sql}.{link.sql} = {key_sql(parent)}"
    tail = f"GROUP BY {name};"
    zero = draw.choice(
        (
            f"including {parent.plural} without any {child.plural}",
            f"with 0 for {parent.plural} {parent.who} have none",
            f"also counting {parent.plural} that have no {child.plural}"
            if not parent.is_person
            else f"also counting {parent.plural} who have no {child.plural}",
        )
    )
    count = f"COUNT({child.sql}.{link.sql})"
    return Draft(
        f"SELECT {name}, {count} FROM {parent.sql} LEFT JOIN {on} {tail}",
        (
            f"Show the {label.phrase} of each {parent.singular} and the number of {child.plural}, "
            f"{zero}.",
            f"For all {parent.plural}, return the {label.phrase} and how many {child.plural} there "
            f"are, {zero}.",
            f"Count the {child.plural} of every {parent.singular}, {zero}, and show the "
            f"{label.phrase} with the count.",
            f"How many {child.plural} does each {parent.singular} have, {zero}? Return the "
            f"{label.phrase} and the number.",
        ),
        f"Starts from every row of {parent.name}, joins {child.name} where there is a match and "
        "counts the matches.",
        (f"SELECT {name}, {count} FROM {parent.sql} JOIN {on} {tail}",),
    )


@pattern("hard", "single join", tables=2)
def left_join_missing(draw: Draw) -> Draft:
    """Parents without children, by an outer join."""
    child, link, parent = draw.link()
    columns = draw.shown(parent)
    asked = phrases(columns)
    many, none = parent.plural, child.plural
    select = (
        f"SELECT {qualified_list(parent, columns)} FROM {parent.sql} LEFT JOIN {child.sql} ON "
        f"{child.sql}.{link.sql} = {key_sql(parent)}"
    )
    return Draft(
        f"{select} WHERE {child.sql}.{link.sql} IS NULL;",
        (
            f"Which {many} have no {none}? Show their {asked}.",
            f"List the {asked} of every {parent.singular} without {none}.",
            f"Find the {many} {parent.who} do not have any {none} and return their {asked}.",
            f"Show the {asked} of the {many} {parent.who} have no {none}.",
        ),
        f"Joins {child.name} to every row of {parent.name} and keeps those without a match.",
        (f"SELECT {qualified_list(parent, columns)} FROM {parent.sql};",),
    )


@pattern("hard", "single join", tables=2)
def join_top(draw: Draw) -> Draft:
    """The parent with the most children, or with the largest total."""
    child, link, parent = draw.link()
    label = parent.label
    name = qualified(parent, label)
    if draw.rng.random() < 0.6:
        function, what = "COUNT(*)", f"the most {child.plural}"
    else:
        column = draw.column(child, "number")
        if not column.adds_up:
            raise NoFit
        function = f"SUM({qualified(child, column)})"
        what = f"the {column.extremes[0]} {total_of(column)} over {parent.its} {child.plural}"
    tail = f"{child.sql} {join_sql(child, link, parent)} GROUP BY {name} ORDER BY {function} DESC"
    return Draft(
        f"SELECT {name} FROM {tail} LIMIT 1;",
        (
            f"Which {parent.singular} has {what}? Give the {label.phrase}.",
            f"What is the {label.phrase} of the {parent.singular} with {what}?",
            f"Find the {label.phrase} of the {parent.singular} {parent.who} has {what}.",
            f"Return only the {label.phrase} of the {parent.singular} having {what}.",
        ),
        f"Joins {child.name} to {parent.name}, groups by {name}, sorts by {function} and keeps "
        "the first.",
        sort_keys=f"SELECT {function} FROM {tail};",
        limit=1,
    )


@pattern("hard", "single join", tables=2)
def join_sorted(draw: Draw) -> Draft:
    """Children with their parent's label in the order of a number, or only the first few."""
    child, link, parent = draw.link()
    if link.has_null:  # an inner join would drop rows that the question asks for
        raise NoFit
    kind = draw.choice(("number", "number", "date"))
    column = draw.column(child, kind)
    way, word, adjective = draw.direction(column)
    columns = draw.shown(child)
    number = draw.choice((2, 3, 4))
    asked, label = phrases(columns), parent.label
    rows = f"{number} {child.plural} with the {word} {column.phrase}"
    if adjective and draw.rng.random() < 0.5:
        rows = f"{number} {adjective} {child.plural}"
    tail = (
        f"FROM {child.sql} {join_sql(child, link, parent)} ORDER BY {qualified(child, column)}"
        f"{' DESC' if way == 'DESC' else ''}"
    )
    return Draft(
        f"SELECT {qualified_list(child, columns)}, {qualified(parent, label)} {tail} "
        f"LIMIT {number};",
        (
            f"Show the {asked} of the {rows} and the {label.phrase} of the {parent.singular} of "
            f"each, {word} first.",
            f"What are the {rows}? Return their {asked} and the {label.phrase} of their "
            f"{parent.singular}, starting with the {word}.",
            f"List the {rows} with their {asked} and their {parent.singular}'s {label.phrase}, "
            f"the {word} first.",
            f"Find the {rows}, {word} first, and give the {asked} together with the "
            f"{parent.singular}'s {label.phrase}.",
        ),
        f"Joins {child.name} to {parent.name}, sorts by {column.name} and keeps {number} rows.",
        sort_keys=f"SELECT {qualified(child, column)} {tail};",
        limit=number,
    )


@pattern("extra", "single join", tables=2)
def join_having(draw: Draw) -> Draft:
    """Parents with at least so many children, or whose aggregate passes a bound."""
    child, link, parent = draw.link()
    label = parent.label
    name = qualified(parent, label)
    if draw.rng.random() < 0.6:
        number = draw.choice((2, 2, 3, 4))
        operator, word = draw.choice(((">=", "at least"), (">", "more than")))
        having = f"COUNT(*) {operator} {number}"
        said = f"{word} {number} {child.plural}"
    else:
        column = draw.column(child, "number")
        if column.is_year:
            raise NoFit
        function = draw.choice(("AVG", "SUM"))
        if function == "SUM" and not column.adds_up:
            raise NoFit
        words = total_of(column) if function == "SUM" else f"average {column.phrase}"
        having = conditions.compares(
            draw.rng, column, f"{function}({qualified(child, column)})"
        ).sql
        _, operator, number = having.rsplit(" ", 2)
        word = {">": "above", "<": "below", ">=": "of at least", "<=": "of at most"}[operator]
        said = (
            f"{with_article(words)} over their {child.plural} {word} "
            f"{counted(float(number), column.unit)}"
        )
    select = f"SELECT {name} FROM {child.sql} {join_sql(child, link, parent)} GROUP BY {name}"
    return Draft(
        f"{select} HAVING {having};",
        (
            f"Which {parent.plural} have {said}? Give their {label.phrase}.",
            f"List the {label.phrase} of every {parent.singular} with {said}.",
            f"Find all {parent.plural} {parent.who} have {said} and return their {label.phrase}.",
            f"Show the {label.phrase} of the {parent.plural} having {said}.",
        ),
        f"Joins {child.name} to {parent.name}, groups by {name} and keeps the groups where "
        f"{having}.",
        (f"{select};",),
    )
