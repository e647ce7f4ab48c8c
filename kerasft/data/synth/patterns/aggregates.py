"""Patterns that count, add up and group the rows of one table."""

from kerasft.data.synth import conditions
from kerasft.data.synth.conditions import NoFit
from kerasft.data.synth.patterns.base import Draft, Draw, pattern
from kerasft.data.synth.schema import Column
from kerasft.data.synth.words import counted, is_plural, pluralize


def _many(column: Column) -> str:
    return column.phrase if is_plural(column.phrase) else pluralize(column.phrase)


@pattern("easy", "aggregation")
def count_rows(draw: Draw) -> Draft:
    """How many rows there are."""
    table = draw.table()
    return Draft(
        f"SELECT COUNT(*) FROM {table.sql};",
        (
            f"How many {table.plural} are there?",
            f"Count all {table.plural}.",
            f"What is the total number of {table.plural}?",
            f"Give me the number of {table.plural}.",
            f"How many {table.plural} are on record in total?",
        ),
        f"Counts the rows of {table.name}.",
    )


@pattern("easy", "aggregation")
def count_where(draw: Draw) -> Draft:
    """How many rows pass a filter."""
    table = draw.table()
    condition = conditions.any_of(draw.rng, draw.column(table, "category", "number", "date"))
    many = condition.of(table.plural)
    return Draft(
        f"SELECT COUNT(*) FROM {table.sql} WHERE {condition.sql};",
        (
            f"How many {many} are there?",
            f"Count the {many}.",
            f"What is the number of {many}?",
            f"Give me the count of {many}.",
            f"I would like to know the number of {many}.",
        ),
        f"Counts the rows of {table.name} whose {condition.whose}.",
        (f"SELECT COUNT(*) FROM {table.sql};",),
    )


@pattern("easy", "aggregation")
def aggregate_all(draw: Draw) -> Draft:
    """One aggregate over all rows."""
    kind = draw.choice(("number", "number", "number", "date"))
    table = draw.table(kind)
    function, words = draw.aggregate(draw.column(table, kind))
    return Draft(
        f"SELECT {function} FROM {table.sql};",
        (
            f"What is the {words} of all {table.plural}?",
            f"Find the {words} among the {table.plural}.",
            f"Calculate the {words} across all {table.plural}.",
            f"Show the {words} of the {table.plural}.",
            f"Tell me the {words} over all {table.plural}.",
        ),
        f"Computes {function} over every row of {table.name}.",
    )


@pattern("medium", "aggregation")
def aggregate_where(draw: Draw) -> Draft:
    """One aggregate over the rows that pass a filter."""
    table = draw.table("number", "category")
    column = draw.column(table, "number")
    condition = conditions.any_of(
        draw.rng, draw.column(table, "category", "category", "number", "date", but=[column])
    )
    function, words = draw.aggregate(column)
    many = condition.of(table.plural)
    return Draft(
        f"SELECT {function} FROM {table.sql} WHERE {condition.sql};",
        (
            f"What is the {words} of {many}?",
            f"Find the {words} among {many}.",
            f"Calculate the {words} of all {many}.",
            f"Show the {words} for {many}.",
            f"Among {many}, what is the {words}?",
        ),
        f"Computes {function} over the rows of {table.name} whose {condition.whose}.",
        (f"SELECT {function} FROM {table.sql};",),
    )


@pattern("medium", "aggregation")
def two_aggregates(draw: Draw) -> Draft:
    """Two aggregates at once."""
    table = draw.table("number")
    column = draw.column(table, "number")
    first, first_words = draw.aggregate(column)
    second, second_words = draw.aggregate(column)
    if first == second:
        raise NoFit
    if draw.rng.random() < 0.3:
        first, first_words = "COUNT(*)", f"number of {table.plural}"
        both = f"{first_words} and their {second_words}"
    else:
        both = f"{first_words} and the {second_words}"
    return Draft(
        f"SELECT {first}, {second} FROM {table.sql};",
        (
            f"What are the {both}{'' if first == 'COUNT(*)' else f' of the {table.plural}'}?",
            f"Show the {first_words} and the {second_words} over all {table.plural}.",
            f"For all {table.plural}, return the {first_words} and the {second_words}.",
            f"Calculate the {first_words} as well as the {second_words} across the {table.plural}.",
        ),
        f"Computes {first} and {second} over every row of {table.name}.",
    )


@pattern("medium", "aggregation")
def count_distinct(draw: Draw) -> Draft:
    """How many different values a category has."""
    table = draw.table("category")
    column = draw.column(table, "category")
    many = _many(column)
    return Draft(
        f"SELECT COUNT(DISTINCT {column.sql}) FROM {table.sql};",
        (
            f"How many different {many} do the {table.plural} have?",
            f"Count the distinct {many} among the {table.plural}.",
            f"What is the number of unique {many} of the {table.plural}?",
            f"How many distinct {many} occur among the {table.plural}?",
        ),
        f"Counts the different values of {column.name} in {table.name}.",
        (f"SELECT COUNT({column.sql}) FROM {table.sql};",),
    )


@pattern("medium", "aggregation")
def group_count(draw: Draw) -> Draft:
    """How many rows each category has."""
    table = draw.table("category")
    column = draw.column(table, "category")
    return Draft(
        f"SELECT {column.sql}, COUNT(*) FROM {table.sql} GROUP BY {column.sql};",
        (
            f"How many {table.plural} are there for each {column.phrase}?",
            f"Show each {column.phrase} and its number of {table.plural}.",
            f"Count the {table.plural} per {column.phrase}, showing the {column.phrase} and the "
            "count.",
            f"For every {column.phrase}, return the {column.phrase} and how many {table.plural} "
            "it has.",
            f"List the {_many(column)} together with the number of {table.plural} in each.",
        ),
        f"Groups {table.name} by {column.name} and counts the rows of each group.",
    )


@pattern("medium", "aggregation")
def group_aggregate(draw: Draw) -> Draft:
    """An aggregate for each category."""
    table = draw.table("category", "number")
    group = draw.column(table, "category")
    function, words = draw.aggregate(draw.column(table, "number"))
    return Draft(
        f"SELECT {group.sql}, {function} FROM {table.sql} GROUP BY {group.sql};",
        (
            f"What is the {words} of the {table.plural} for each {group.phrase}?",
            f"Show each {group.phrase} with the {words} of its {table.plural}.",
            f"For every {group.phrase}, return the {group.phrase} and the {words}.",
            f"List the {_many(group)} together with the {words} of the {table.plural} in each.",
            f"Group the {table.plural} by {group.phrase} and give the {words} of each group.",
        ),
        f"Groups {table.name} by {group.name} and computes {function} for each group.",
    )


@pattern("hard", "aggregation")
def group_sorted(draw: Draw) -> Draft:
    """Groups in the order of their aggregate or count."""
    table = draw.table("category")
    group = draw.column(table, "category")
    if draw.rng.random() < 0.5:
        function, words = "COUNT(*)", f"number of {table.plural}"
        high, low = "largest", "smallest"
    else:
        column = draw.column(table, "number")
        function, words = draw.aggregate(column)
        high, low = column.extremes
    way, order = draw.choice(((" DESC", f"{high} to {low}"), ("", f"{low} to {high}")))
    tail = f"FROM {table.sql} GROUP BY {group.sql} ORDER BY {function}{way};"
    return Draft(
        f"SELECT {group.sql}, {function} {tail}",
        (
            f"Show each {group.phrase} and the {words}, sorted by the {words} from {order}.",
            f"For each {group.phrase}, what is the {words}? Sort by it from {order}.",
            f"List the {_many(group)} with the {words} of each, ordered from {order}.",
            f"Return the {words} per {group.phrase} along with the {group.phrase}, from {order}."
            if not words.startswith("number")
            else f"Rank every {group.phrase} by its {words} from {order} and show both.",
        ),
        f"Groups {table.name} by {group.name}, computes {function} and sorts by it.",
        sort_keys=f"SELECT {function} {tail}",
    )


@pattern("hard", "aggregation")
def most_common(draw: Draw) -> Draft:
    """The category with the most or the fewest rows."""
    table = draw.table("category")
    column = draw.column(table, "category")
    way, most, words = draw.choice(
        ((" DESC", "most", "largest number of"), ("", "fewest", "smallest number of"))
    )
    tail = f"FROM {table.sql} GROUP BY {column.sql} ORDER BY COUNT(*){way}"
    return Draft(
        f"SELECT {column.sql} {tail} LIMIT 1;",
        (
            f"Which {column.phrase} has the {most} {table.plural}?",
            f"Find the {column.phrase} with the {words} {table.plural}.",
            f"What is the {column.phrase} {'shared by' if way else 'with'} the {most} "
            f"{table.plural}?",
            f"Return the single {column.phrase} that has the {words} {table.plural}.",
        ),
        f"Groups {table.name} by {column.name}, sorts by the number of rows and keeps the first.",
        sort_keys=f"SELECT COUNT(*) {tail};",
        limit=1,
    )


@pattern("hard", "aggregation")
def having_count(draw: Draw) -> Draft:
    """Categories with at least so many rows."""
    table = draw.table("category")
    column = draw.column(table, "category")
    number = draw.choice((1, 2, 2, 3, 4))
    operator, word = draw.choice((("> ", "more than"), (">= ", "at least"), ("<= ", "at most")))
    if number == 1 and operator != "> ":
        raise NoFit
    many = _many(column)
    said = f"{word} {number} {table.plural if number > 1 else table.singular}"
    group = f"SELECT {column.sql} FROM {table.sql} GROUP BY {column.sql}"
    return Draft(
        f"{group} HAVING COUNT(*) {operator}{number};",
        (
            f"Which {many} have {said}?",
            f"List every {column.phrase} that has {said}.",
            f"Find the {many} with {said}.",
            f"Show each {column.phrase} shared by {said}.",
        ),
        f"Groups {table.name} by {column.name} and keeps the groups with {word} {number} rows.",
        (f"{group};",),
    )


@pattern("hard", "aggregation")
def having_aggregate(draw: Draw) -> Draft:
    """Categories whose aggregate passes a bound, with the aggregate."""
    table = draw.table("category", "number")
    group = draw.column(table, "category")
    column = draw.column(table, "number")
    if column.is_year:
        raise NoFit
    function, words = draw.aggregate(column)
    bound = conditions.compares(draw.rng, column, function)
    operator, number = bound.sql.removeprefix(f"{function} ").split(" ", 1)
    word = {">": "above", "<": "below", ">=": "at least", "<=": "at most"}[operator]
    said = f"{word} {counted(float(number), column.unit)}"
    select = f"SELECT {group.sql}, {function} FROM {table.sql} GROUP BY {group.sql}"
    many = _many(group)
    return Draft(
        f"{select} HAVING {bound.sql};",
        (
            f"For which {many} is the {words} of the {table.plural} {said}? Show the {words} too.",
            f"Show each {group.phrase} and its {words} where the {words} is {said}.",
            f"List the {many} and the {words} of their {table.plural}, keeping only those whose "
            f"{words} is {said}.",
            f"For every {group.phrase} whose {words} is {said}, return the {group.phrase} and the "
            f"{words}.",
        ),
        f"Groups {table.name} by {group.name} and keeps the groups where {bound.sql}.",
        (f"{select};",),
    )


@pattern("hard", "aggregation")
def group_year(draw: Draw) -> Draft:
    """A count or an aggregate for each year or month of a date."""
    table = draw.table("date")
    column = draw.column(table, "date")
    part, word = draw.choice((("%Y", "year"), ("%Y", "year"), ("%m", "month"), ("%Y-%m", "")))
    group = f"strftime('{part}', {column.sql})"
    if draw.rng.random() < 0.5:
        function, words = "COUNT(*)", f"number of {table.plural}"
    else:
        function, words = draw.aggregate(draw.column(table, "number"))
    unit = {"%Y": "year", "%m": "month number", "%Y-%m": "year and month"}[part]
    by = f"{word} of the {column.phrase}" if word else f"year and month of the {column.phrase}"
    return Draft(
        f"SELECT {group}, {function} FROM {table.sql} GROUP BY {group};",
        (
            f"Show the {words} by {by}.",
            f"For each {by}, return the {unit} and the {words}.",
            f"What is the {words} for each {by}? Show both.",
            f"Group the {table.plural} by the {by} and give the {words} of each group.",
        ),
        f"Takes the {unit} from {column.name}, groups {table.name} by it and computes {function}.",
    )


_BANDS = (("low", "high"), ("small", "large"), ("minor", "major"), ("basic", "premium"))


@pattern("hard", "basic SQL")
def case_bands(draw: Draw) -> Draft:
    """A name for each side of a bound."""
    table = draw.table("label", "number")
    label = draw.column(table, "label")
    column = draw.column(table, "number")
    bound = conditions.compares(draw.rng, column)
    _, _, number = bound.sql.rpartition(" ")
    low, high = ("earlier", "later") if column.is_year else draw.choice(_BANDS)
    said = counted(float(number), column.unit)
    below = "before" if column.is_year else "below"
    rule = f"'{low}' if the {column.phrase} is {below} {said} and '{high}' otherwise"
    return Draft(
        f"SELECT {label.sql}, CASE WHEN {column.sql} < {number} THEN '{low}' ELSE '{high}' END "
        f"FROM {table.sql};",
        (
            f"Show the {label.phrase} of each {table.singular} and label it {rule}.",
            f"List every {table.singular} by {label.phrase} with a level: {rule}.",
            f"For each {table.singular}, return the {label.phrase} and {rule}.",
            f"Classify the {table.plural} as {rule}, showing the {label.phrase} and the class.",
        ),
        f"Gives each row of {table.name} the name '{low}' or '{high}' by its {column.phrase}.",
    )
