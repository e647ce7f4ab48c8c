"""Patterns with a query inside a query, and with a common table expression."""

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
    select_list,
    total_of,
)
from kerasft.data.synth.words import is_plural, pluralize, with_article


@pattern("hard", "subqueries")
def above_average(draw: Draw) -> Draft:
    """Rows above or below the average of all rows."""
    table = draw.table("number")
    column = draw.column(table, "number")
    if column.is_year:
        raise NoFit
    operator, word = draw.choice((((">"), "above"), (">", "higher than"), ("<", "below")))
    columns = draw.shown(table)
    condition = draw.choice(
        (
            f"* whose {column.phrase} is {word} the average {column.phrase}",
            f"* whose {column.phrase} is {word} the average over all {table.plural}",
        )
    )
    select = f"SELECT {select_list(columns)} FROM {table.sql}"
    return Draft(
        f"{select} WHERE {column.sql} {operator} (SELECT AVG({column.sql}) FROM {table.sql});",
        list_questions(
            columns, condition.replace("*", table.singular), condition.replace("*", table.plural)
        ),
        f"Compares {column.name} of each row with the average over all of {table.name}.",
        (f"{select};",),
    )


@pattern("hard", "subqueries")
def extreme_row(draw: Draw) -> Draft:
    """The row or rows that hold the largest or smallest value."""
    kind = draw.choice(("number", "number", "date"))
    table = draw.table(kind)
    column = draw.column(table, kind)
    way, word, adjective = draw.direction(column)
    function = "MAX" if way == "DESC" else "MIN"
    columns = draw.shown(table)
    asked = phrases(columns)
    be = "is" if len(columns) == 1 else "are"
    one = table.singular
    what = f"{adjective} {one}" if adjective else f"{one} with the {word} {column.phrase}"
    select = f"SELECT {select_list(columns)} FROM {table.sql}"
    return Draft(
        f"{select} WHERE {column.sql} = (SELECT {function}({column.sql}) FROM {table.sql});",
        (
            f"What {be} the {asked} of the {what}?",
            f"Which {one} has the {word} {column.phrase}? Return {table.its} {asked}.",
            f"Find the {one} whose {column.phrase} is the {word} of all and show {table.its} "
            f"{asked}.",
            f"Show the {asked} of the {one} with the {word} {column.phrase}.",
            f"Give me the {asked} of the {what}.",
        ),
        f"Finds the {word} {column.name} of {table.name} and returns the rows that hold it.",
        (f"{select};",),
    )


@pattern("hard", "subqueries", tables=2)
def in_subquery(draw: Draw) -> Draft:
    """Parents that have a child which passes a filter."""
    child, link, parent = draw.link()
    column = draw.column(child, "category", "category", "number", "date")
    condition = conditions.any_of(draw.rng, column)
    columns = draw.shown(parent)
    one_child = condition.of(child.singular)
    has = f"have at least one {one_child}"
    select = f"SELECT {select_list(columns)} FROM {parent.sql}"
    key = key_sql(parent).split(".", 1)[1]
    inner = f"SELECT {link.sql} FROM {child.sql}"
    asked = phrases(columns)
    return Draft(
        f"{select} WHERE {key} IN ({inner} WHERE {condition.sql});",
        (
            f"Which {parent.plural} {has}? Show their {asked}.",
            f"List the {asked} of the {parent.plural} {parent.who} {has}.",
            f"Find every {parent.singular} with at least one {one_child} and return "
            f"{parent.its} {asked}.",
            f"Show the {asked} of each {parent.singular} {parent.who} has at least one "
            f"{one_child}.",
        ),
        f"Finds the rows of {child.name} whose {condition.whose}, then the rows of {parent.name} "
        "that they name.",
        (f"{select} WHERE {key} IN ({inner});", f"{select};"),
    )


@pattern("hard", "subqueries", tables=2)
def not_in_subquery(draw: Draw) -> Draft:
    """Parents that no child names."""
    child, link, parent = draw.link()
    if link.has_null:
        raise NoFit
    columns = draw.shown(parent)
    asked = phrases(columns)
    key = key_sql(parent).split(".", 1)[1]
    select = f"SELECT {select_list(columns)} FROM {parent.sql}"
    return Draft(
        f"{select} WHERE {key} NOT IN (SELECT {link.sql} FROM {child.sql});",
        (
            f"Which {parent.plural} are not linked to any {child.singular}? Show their {asked}.",
            f"Return the {asked} of each {parent.singular} {parent.who} does not appear among the "
            f"{child.plural}.",
            f"Show the {asked} of {parent.plural} that are missing from the {child.plural}."
            if not parent.is_person
            else f"Show the {asked} of {parent.plural} who are missing from the {child.plural}.",
            f"Find {parent.plural} not referenced by any {child.singular} and list their {asked}.",
        ),
        f"Keeps the rows of {parent.name} whose key does not occur in {child.name}.",
        (f"{select};",),
    )


@pattern("extra", "subqueries", tables=2)
def not_exists(draw: Draw) -> Draft:
    """Parents without a child that passes a filter."""
    child, link, parent = draw.link()
    column = draw.column(child, "category", "category", "number", "date")
    condition = conditions.any_of(draw.rng, column)
    columns = draw.shown(parent)
    asked = phrases(columns)
    one_child = condition.of(child.singular)
    select = f"SELECT {select_list(columns)} FROM {parent.sql} WHERE NOT EXISTS (SELECT 1 FROM"
    on = f"{child.sql} WHERE {child.sql}.{link.sql} = {key_sql(parent)}"
    qualified_condition = condition.sql.replace(column.sql, qualified(child, column), 1)
    return Draft(
        f"{select} {on} AND {qualified_condition});",
        (
            f"Which {parent.plural} do not have a single {one_child}? Show their {asked}.",
            f"List the {asked} of the {parent.plural} for which no {one_child} exists.",
            f"Find every {parent.singular} {parent.who} has no {one_child} and return "
            f"{parent.its} {asked}.",
            f"Show the {asked} of each {parent.singular} without any {one_child}.",
        ),
        f"Keeps the rows of {parent.name} for which {child.name} has no row whose "
        f"{condition.whose}.",
        (
            f"{select} {on});",
            f"SELECT {select_list(columns)} FROM {parent.sql};",
        ),
    )


@pattern("extra", "subqueries")
def above_group_average(draw: Draw) -> Draft:
    """Rows above the average of their own group."""
    table = draw.table("category", "number")
    group = draw.column(table, "category")
    column = draw.column(table, "number")
    if column.is_year:
        raise NoFit
    columns = draw.shown(table)
    operator, word = draw.choice(((">", "above"), (">", "higher than"), ("<", "below")))
    condition = (
        f"* whose {column.phrase} is {word} the average {column.phrase} of {table.plural} with "
        f"the same {group.phrase}"
    )
    select = f"SELECT {select_list(columns)} FROM {table.sql}"
    average = f"(SELECT AVG({column.sql}) FROM {table.sql}"
    outer = f"{select} WHERE {column.sql} {operator} {average}"
    shown = ", ".join(f"a.{column.sql}" for column in columns)
    return Draft(
        f"SELECT {shown} FROM {table.sql} AS a WHERE a.{column.sql} {operator} (SELECT "
        f"AVG(b.{column.sql}) FROM {table.sql} AS b WHERE b.{group.sql} = a.{group.sql});",
        list_questions(
            columns, condition.replace("*", table.singular), condition.replace("*", table.plural)
        ),
        f"Compares {column.name} of each row with the average over the rows of the same "
        f"{group.name}.",
        (f"{outer});", f"{select};"),
    )


@pattern("hard", "subqueries", tables=2)
def child_of_extreme(draw: Draw) -> Draft:
    """Children of the parent with the largest or smallest value."""
    child, link, parent = draw.link()
    column = draw.column(parent, "number", "date")
    way, word, adjective = draw.direction(column)
    columns = draw.shown(child)
    asked = phrases(columns)
    if adjective and draw.rng.random() < 0.5:
        owner = f"{adjective} {parent.singular}"
    else:
        owner = f"{parent.singular} with the {word} {column.phrase}"
    condition = f"* {link.preposition} the {owner}"
    tail = f"FROM {parent.sql} ORDER BY {column.sql}{' DESC' if way == 'DESC' else ''}"
    key = key_sql(parent).split(".", 1)[1]
    select = f"SELECT {select_list(columns)} FROM {child.sql}"
    return Draft(
        f"{select} WHERE {link.sql} = (SELECT {key} {tail} LIMIT 1);",
        list_questions(
            columns, condition.replace("*", child.singular), condition.replace("*", child.plural)
        ),
        f"Finds the row of {parent.name} with the {word} {column.name}, then its {child.plural}, "
        f"and returns the {asked}.",
        (f"{select};",),
        sort_keys=f"SELECT {column.sql} {tail};",
        limit=1,
    )


@pattern("extra", "CTEs")
def cte_group_above(draw: Draw) -> Draft:
    """Groups whose total is above the average of all groups."""
    table = draw.table("category")
    group = draw.column(table, "category")
    numbers = [column for column in table.of_kind("number") if column.adds_up]
    if numbers and draw.rng.random() < 0.6:
        column = draw.choice(numbers)
        function, words = f"SUM({column.sql})", total_of(column)
    else:
        function, words = "COUNT(*)", f"number of {table.plural}"
    operator, word = draw.choice(((">", "above"), ("<", "below")))
    many = group.phrase if is_plural(group.phrase) else pluralize(group.phrase)
    cte = f"WITH totals AS (SELECT {group.sql}, {function} AS total FROM {table.sql} GROUP BY"
    select = f"{cte} {group.sql}) SELECT {group.sql}, total FROM totals"
    return Draft(
        f"{select} WHERE total {operator} (SELECT AVG(total) FROM totals);",
        (
            f"Which {many} have {with_article(words)} {word} the average over all {many}? "
            f"Show the {words} too.",
            f"List each {group.phrase} and its {words}, keeping only those {word} the average "
            f"of all {many}.",
            f"Compute the {words} per {group.phrase} and return the {many} {word} the average of "
            f"these, with their {words}.",
            f"Show every {group.phrase} whose {words} is {word} the average {words} per "
            f"{group.phrase}, with the {words}.",
        ),
        f"Computes {function} for each {group.name}, then keeps the groups {word} the average of "
        "these.",
        (f"{select};",),
    )


@pattern("extra", "CTEs", tables=2)
def cte_count_above(draw: Draw) -> Draft:
    """Parents with more children than parents have on average."""
    child, link, parent = draw.link()
    label = parent.label
    name = qualified(parent, label)
    operator, word = draw.choice(((">", "more"), ("<", "fewer")))
    cte = (
        f"WITH counts AS (SELECT {name}, COUNT(*) AS total FROM {child.sql} "
        f"{join_sql(child, link, parent)} GROUP BY {name})"
    )
    select = f"{cte} SELECT {label.sql}, total FROM counts"
    some = f"{parent.plural} with at least one {child.singular}"
    return Draft(
        f"{select} WHERE total {operator} (SELECT AVG(total) FROM counts);",
        (
            f"Among {some}, which have {word} {child.plural} than the average? Show the "
            f"{label.phrase} and the number of {child.plural}.",
            f"Return the {label.phrase} and the number of {child.plural} of the {parent.plural} "
            f"with {word} {child.plural} than the average over {some}.",
            f"For {some}, list the {label.phrase} and the {child.singular} count of those with "
            f"{word} than the average.",
            f"Which {parent.plural} have {word} {child.plural} than average, looking only at "
            f"{some}? Give the {label.phrase} and the count.",
        ),
        f"Counts the rows of {child.name} for each {parent.singular}, then keeps those with "
        f"{word} than the average.",
        (f"{select};",),
    )
