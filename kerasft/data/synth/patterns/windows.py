"""Patterns with window functions."""

from kerasft.data.synth.conditions import NoFit, date_sql
from kerasft.data.synth.patterns.base import (
    Draft,
    Draw,
    pattern,
    phrases,
    select_list,
    total_of,
)
from kerasft.data.synth.schema import Column, Table


def _ranked(draw: Draw, table: Table) -> tuple[Column, str, str, str]:
    """A column to rank by: ORDER BY clause, and the direction in words."""
    column = draw.column(table, "number", "number", "date")
    way, word, _ = draw.direction(column)
    highest, lowest = column.extremes
    order = f"from {highest} to {lowest}" if way == "DESC" else f"from {lowest} to {highest}"
    return column, f"ORDER BY {column.sql}{' DESC' if way == 'DESC' else ''}", order, word


@pattern("extra", "window functions")
def rank_rows(draw: Draw) -> Draft:
    """The rank of each row over all rows."""
    table = draw.table()
    column, order_by, order, word = _ranked(draw, table)
    columns = draw.shown(table)
    if column not in columns and draw.rng.random() < 0.5:
        columns.append(column)
    asked = phrases(columns)
    return Draft(
        f"SELECT {select_list(columns)}, RANK() OVER ({order_by}) FROM {table.sql};",
        (
            f"Rank the {table.plural} by {column.phrase} {order}, showing the {asked} and the "
            "rank.",
            f"Show the {asked} of each {table.singular} and {table.its} rank by {column.phrase} "
            f"{order}.",
            f"For every {table.singular}, return the {asked} and the rank by {column.phrase}, "
            f"where the {word} {column.phrase} has rank 1.",
            f"Give the {asked} and the {column.phrase} rank ({order}) of all {table.plural}.",
        ),
        f"Ranks the rows of {table.name} by {column.name}, {order}.",
    )


@pattern("extra", "window functions")
def rank_in_group(draw: Draw) -> Draft:
    """The rank of each row within its category."""
    table = draw.table("category")
    group = draw.column(table, "category")
    column, order_by, order, word = _ranked(draw, table)
    columns = draw.shown(table, 2, (group,))
    asked = phrases(columns)
    window = f"OVER (PARTITION BY {group.sql} {order_by})"
    select = f"SELECT {select_list(columns)}, {group.sql}, RANK()"
    return Draft(
        f"{select} {window} FROM {table.sql};",
        (
            f"Rank the {table.plural} within each {group.phrase} by {column.phrase} {order}; show "
            f"the {asked}, the {group.phrase} and the rank.",
            f"For each {table.singular}, show the {asked}, the {group.phrase} and {table.its} rank "
            f"by {column.phrase} among {table.plural} of the same {group.phrase}, {order}.",
            f"Return the {asked}, the {group.phrase} and the rank by {column.phrase} inside the "
            f"{group.phrase} for every {table.singular}, the {word} first.",
            f"Within every {group.phrase}, rank {table.plural} by {column.phrase} {order} and list "
            f"{asked}, {group.phrase} and rank.",
        ),
        f"Ranks the rows of {table.name} by {column.name} separately for each {group.name}.",
        (f"{select} OVER ({order_by}) FROM {table.sql};",),
    )


@pattern("extra", "window functions")
def first_in_group(draw: Draw) -> Draft:
    """The row with the extreme value of each category."""
    table = draw.table("category")
    group = draw.column(table, "category")
    column, order_by, _, word = _ranked(draw, table)
    columns = [group, *draw.shown(table, 2, (group,))]
    asked = phrases(columns[1:])
    window = f"OVER (PARTITION BY {group.sql} {order_by})"
    inner = f"SELECT {select_list(columns)}, ROW_NUMBER() {window} AS place FROM {table.sql}"
    keys = f"{group.sql}, {column.sql}"
    return Draft(
        f"SELECT {select_list(columns)} FROM ({inner}) WHERE place = 1;",
        (
            f"For each {group.phrase}, show the {group.phrase} and the {asked} of the "
            f"{table.singular} with the {word} {column.phrase}.",
            f"Which {table.singular} has the {word} {column.phrase} in each {group.phrase}? Return "
            f"the {group.phrase} and the {asked}.",
            f"Find the {table.singular} with the {word} {column.phrase} per {group.phrase}, "
            f"listing the {group.phrase} and the {asked}.",
            f"List every {group.phrase} with the {asked} of its {table.singular} with the {word} "
            f"{column.phrase}.",
        ),
        f"Numbers the rows of each {group.name} by {column.name} and keeps the first of each.",
        (f"SELECT {select_list(columns)} FROM {table.sql};",),
        sort_keys=f"SELECT {keys} FROM {table.sql} ORDER BY {keys};",
    )


@pattern("extra", "window functions")
def running_total(draw: Draw) -> Draft:
    """A sum that grows with the date."""
    table = draw.table("number", "date")
    day = draw.column(table, "date")
    column = draw.choice([c for c in table.of_kind("number") if c.adds_up and not c.has_null])
    total = f"SUM({column.sql}) OVER (ORDER BY {day.sql})"
    tail = f"FROM {table.sql} ORDER BY {day.sql};"
    return Draft(
        f"SELECT {day.sql}, {total} {tail}",
        (
            f"Show the running total of the {column.phrase} by {day.phrase}, with the "
            f"{day.phrase}, earliest first.",
            f"For each {table.singular} in order of {day.phrase}, return the {day.phrase} and the "
            f"cumulative {column.phrase} so far.",
            f"How does the {column.phrase} add up over time? List each {day.phrase} and the "
            f"running total, sorted by {day.phrase}.",
            f"Compute the cumulative sum of the {column.phrase} ordered by {day.phrase} and show "
            f"the {day.phrase} beside it, earliest first.",
        ),
        f"Adds up {column.name} in the order of {day.name}.",
        sort_keys=f"SELECT {day.sql} {tail}",
    )


@pattern("extra", "window functions")
def change_from_previous(draw: Draw) -> Draft:
    """The difference of a number to the row before it in time."""
    table = draw.table("number", "date")
    day = draw.column(table, "date")
    column = draw.column(table, "number")
    if column.is_year:
        raise NoFit
    before = f"LAG({column.sql}) OVER (ORDER BY {day.sql})"
    tail = f"FROM {table.sql} ORDER BY {day.sql};"
    return Draft(
        f"SELECT {day.sql}, {column.sql} - {before} {tail}",
        (
            f"Show each {day.phrase} and the change in {column.phrase} from the previous "
            f"{table.singular}, ordered by {day.phrase}.",
            f"By how much does the {column.phrase} differ from that of the {table.singular} before "
            f"it? List the {day.phrase} and the difference in order of {day.phrase}.",
            f"For every {table.singular}, earliest {day.phrase} first, return the {day.phrase} and "
            f"the {column.phrase} minus the previous {column.phrase}.",
            f"In order of {day.phrase}, list the {day.phrase} and the difference of the "
            f"{column.phrase} to the one before.",
        ),
        f"Subtracts from {column.name} its value in the row before, in the order of {day.name}.",
        sort_keys=f"SELECT {day.sql} {tail}",
    )


@pattern("extra", "window functions")
def beside_group_average(draw: Draw) -> Draft:
    """Each row's number beside the average or total of its group."""
    table = draw.table("category", "number")
    group = draw.column(table, "category")
    column = draw.column(table, "number")
    if column.is_year:
        raise NoFit
    columns = draw.shown(table, 1, (column,))
    columns.append(column)
    function, word = draw.choice((("AVG", "average"), ("MAX", column.extremes[0])))
    window = f"{function}({column.sql}) OVER (PARTITION BY {group.sql})"
    asked = phrases(columns)
    aggregate = f"{word} {column.phrase}"
    select = f"SELECT {select_list(columns)}, {function}({column.sql}) OVER"
    return Draft(
        f"SELECT {select_list(columns)}, {window} FROM {table.sql};",
        (
            f"Show the {asked} of each {table.singular} beside the {aggregate} of {table.its} "
            f"{group.phrase}.",
            f"For every {table.singular}, return the {asked} and the {aggregate} over all "
            f"{table.plural} with the same {group.phrase}.",
            f"List the {asked} of the {table.plural} along with the {aggregate} per "
            f"{group.phrase}.",
            f"What are the {asked} of each {table.singular}, and what is the {aggregate} within "
            f"{table.its} {group.phrase}?",
        ),
        f"Puts the {word} {column.name} of each {group.name} beside every row of {table.name}.",
        (f"{select} () FROM {table.sql};",),
    )


@pattern("extra", "window functions")
def share_of_total(draw: Draw) -> Draft:
    """The percentage that each row has of the total."""
    table = draw.table("number")
    column = draw.choice([c for c in table.of_kind("number") if c.adds_up and not c.has_null])
    columns = draw.shown(table, 1, (column,))
    asked = phrases(columns)
    total = total_of(column)
    share = f"ROUND(100.0 * {column.sql} / SUM({column.sql}) OVER (), 1)"
    return Draft(
        f"SELECT {select_list(columns)}, {share} FROM {table.sql};",
        (
            f"What percentage of the {total} does each {table.singular} have? Show "
            f"the {asked} and the percentage rounded to 1 decimal.",
            f"For each {table.singular}, return the {asked} and {table.its} share of the "
            f"{total} in percent, rounded to 1 decimal.",
            f"Show the {asked} of every {table.singular} with {table.its} percentage of the "
            f"{total}, to 1 decimal place.",
            f"List the {asked} and the percent of the {total}, rounded to 1 decimal, "
            f"of all {table.plural}.",
        ),
        f"Divides {column.name} of each row by the total over {table.name}, in percent.",
    )


@pattern("extra", "window functions")
def previous_days(draw: Draw) -> Draft:
    """Days since the row before it in time."""
    table = draw.table("date")
    day = draw.column(table, "date")
    expression = date_sql(day, day.sql)
    gap = f"julianday({expression}) - julianday(LAG({expression}) OVER (ORDER BY {expression}))"
    tail = f"FROM {table.sql} ORDER BY {expression};"
    return Draft(
        f"SELECT {day.sql}, {gap} {tail}",
        (
            f"How many days lie between each {day.phrase} and the one before it? Show the "
            f"{day.phrase} and the days, earliest first.",
            f"In order of {day.phrase}, list the {day.phrase} and the number of days since the "
            "previous one.",
            f"For each {table.singular}, earliest first, return the {day.phrase} and the days that "
            f"have passed since the previous {day.phrase}.",
            f"Sort the {table.plural} by {day.phrase} and show each {day.phrase} with the days "
            "since the one before.",
        ),
        f"Subtracts from {day.name} its value in the row before, in days.",
        sort_keys=f"SELECT {expression} {tail}",
    )
