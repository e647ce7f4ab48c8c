"""Patterns over the rows of one table: which columns, which rows, in which order."""

from kerasft.data.synth import conditions
from kerasft.data.synth.conditions import Condition, NoFit
from kerasft.data.synth.patterns.base import (
    Draft,
    Draw,
    list_questions,
    pattern,
    phrases,
    select_list,
)
from kerasft.data.synth.schema import Column, Table
from kerasft.data.synth.words import is_plural, pluralize


@pattern("easy", "basic SQL")
def select_columns(draw: Draw) -> Draft:
    """Some columns of every row."""
    table = draw.table()
    columns = draw.shown(table, 3)
    asked = phrases(columns)
    return Draft(
        f"SELECT {select_list(columns)} FROM {table.sql};",
        (
            *list_questions(columns, table.singular, table.plural)[:3],
            f"Show me every {table.singular} with {table.its} {asked}.",
            f"Return the {asked} for the whole list of {table.plural}.",
            f"For each {table.singular}, what {'is' if len(columns) == 1 else 'are'} the {asked}?",
        ),
        f"Reads the {asked} of every row of {table.name}.",
    )


def _filtered(draw: Draw, table: Table, condition: Condition, but: tuple[Column, ...]) -> Draft:
    columns = draw.shown(table, 3, but)
    return Draft(
        f"SELECT {select_list(columns)} FROM {table.sql} WHERE {condition.sql};",
        list_questions(columns, condition.of(table.singular), condition.of(table.plural)),
        f"Keeps the rows of {table.name} whose {condition.whose} and returns the "
        f"{phrases(columns)}.",
        (f"SELECT {select_list(columns)} FROM {table.sql};",),
    )


@pattern("easy", "basic SQL")
def filter_text(draw: Draw) -> Draft:
    """Rows where a category has a value."""
    table = draw.table("category")
    column = draw.column(table, "category")
    return _filtered(draw, table, conditions.equals(draw.rng, column), (column,))


@pattern("easy", "basic SQL")
def filter_number(draw: Draw) -> Draft:
    """Rows where a number is above or below a bound."""
    table = draw.table("number")
    column = draw.column(table, "number")
    return _filtered(draw, table, conditions.compares(draw.rng, column), ())


@pattern("easy", "basic SQL")
def filter_date(draw: Draw) -> Draft:
    """Rows before or after a day."""
    table = draw.table("date")
    column = draw.column(table, "date")
    return _filtered(draw, table, conditions.compares(draw.rng, column), ())


@pattern("easy", "basic SQL")
def filter_between(draw: Draw) -> Draft:
    """Rows within a closed range."""
    kind = draw.choice(("number", "number", "date"))
    table = draw.table(kind)
    return _filtered(draw, table, conditions.between(draw.rng, draw.column(table, kind)), ())


@pattern("easy", "basic SQL")
def filter_in(draw: Draw) -> Draft:
    """Rows where a category is one of several values."""
    table = draw.table("category")
    column = draw.column(table, "category")
    return _filtered(draw, table, conditions.among(draw.rng, column), ())


@pattern("easy", "basic SQL")
def filter_like(draw: Draw) -> Draft:
    """Rows whose text starts with, ends with or contains a part."""
    kind = draw.choice(("label", "text"))
    table = draw.table(kind)
    return _filtered(draw, table, conditions.matches(draw.rng, draw.column(table, kind)), ())


@pattern("medium", "basic SQL")
def filter_null(draw: Draw) -> Draft:
    """Rows where a value is missing, or is not."""
    table, column = draw.choice(
        [
            (table, column)
            for table in draw.schema.tables
            for column in table.columns
            if column.has_null
        ]
    )
    columns = draw.shown(table, 2, (column,))
    if draw.rng.random() < 0.65:
        test, forms = (
            "IS NULL",
            (
                f"* whose {column.phrase} is missing",
                f"* with no {column.phrase} recorded",
                f"* whose {column.phrase} is unknown",
            ),
        )
    else:
        test, forms = (
            "IS NOT NULL",
            (
                f"* whose {column.phrase} is known",
                f"* with a recorded {column.phrase}",
                f"* whose {column.phrase} is not missing",
            ),
        )
    condition = Condition(
        f"{column.sql} {test}", draw.choice(forms), f"{column.phrase} {test[3:].lower()}"
    )
    asked = phrases(columns)
    return Draft(
        f"SELECT {select_list(columns)} FROM {table.sql} WHERE {condition.sql};",
        list_questions(columns, condition.of(table.singular), condition.of(table.plural)),
        f"Keeps the rows of {table.name} where {column.name} {test} and returns the {asked}.",
        (f"SELECT {select_list(columns)} FROM {table.sql};",),
    )


@pattern("medium", "basic SQL")
def filter_not(draw: Draw) -> Draft:
    """Rows where a category is anything but a value."""
    table = draw.table("category")
    column = draw.column(table, "category")
    return _filtered(draw, table, conditions.differs(draw.rng, column), ())


@pattern("medium", "basic SQL")
def filter_year(draw: Draw) -> Draft:
    """Rows of one year, taken from a date."""
    table = draw.table("date")
    column = draw.column(table, "date")
    return _filtered(draw, table, conditions.in_year(draw.rng, column), ())


@pattern("medium", "basic SQL")
def filter_two(draw: Draw) -> Draft:
    """Two conditions joined by AND or by OR."""
    table = draw.table("category")
    first_column = draw.column(table, "category")
    second_column = draw.column(table, "number", "date", "category", but=[first_column])
    first = conditions.equals(draw.rng, first_column)
    second = conditions.any_of(draw.rng, second_column)
    word = draw.choice(("and", "and", "or"))
    together = Condition(
        f"{first.sql} {word.upper()} {second.sql}",
        f"* whose {first.whose} {word} whose {second.whose}",
        f"{first.whose} {word} {second.whose}",
    )
    if word == "and" and not first.form.startswith("*"):
        together = Condition(together.sql, second.of(first.form), together.whose)
    draft = _filtered(draw, table, together, (first_column,) if word == "and" else ())
    start = draft.sql.split(" WHERE ")[0]
    return Draft(
        draft.sql,
        draft.questions,
        draft.explanation,
        (f"{start};", f"{start} WHERE {first.sql};", f"{start} WHERE {second.sql};"),
    )


@pattern("easy", "basic SQL")
def distinct_values(draw: Draw) -> Draft:
    """The different values of a category."""
    table = draw.table("category")
    column = draw.column(table, "category")
    many = column.phrase if is_plural(column.phrase) else pluralize(column.phrase)
    return Draft(
        f"SELECT DISTINCT {column.sql} FROM {table.sql};",
        (
            f"What are the different {many} of the {table.plural}?",
            f"List all distinct {many} found among the {table.plural}.",
            f"Which {many} occur among the {table.plural}? Name each once.",
            f"Show each unique {column.phrase} of the {table.plural}.",
            f"Give me the {many} of the {table.plural} without repeats.",
        ),
        f"Returns each value of {column.name} in {table.name} once.",
        (f"SELECT {column.sql} FROM {table.sql};",),
    )


@pattern("easy", "basic SQL")
def order_rows(draw: Draw) -> Draft:
    """All rows in a stated order."""
    kind = draw.choice(("number", "number", "date", "label"))
    table = draw.table(kind)
    column = draw.column(table, kind)
    columns = draw.shown(table)
    if column not in columns and draw.rng.random() < 0.5:
        columns.append(column)
    way = draw.choice(("DESC", "ASC"))
    if kind == "label":
        plain = "in alphabetical order" if way == "ASC" else "in reverse alphabetical order"
        named = f"{'from A to Z' if way == 'ASC' else 'from Z to A'} by {column.phrase}"
    else:
        high, low = column.extremes
        first, last = (high, low) if way == "DESC" else (low, high)
        plain, named = f"from {first} to {last}", f"with the {first} {column.phrase} first"
    asked = phrases(columns)
    sorted_plain = f"sorted by {column.phrase} {plain}"
    suffix = " DESC" if way == "DESC" else ""
    return Draft(
        f"SELECT {select_list(columns)} FROM {table.sql} ORDER BY {column.sql}{suffix};",
        (
            f"List the {asked} of all {table.plural}, {sorted_plain}.",
            f"Show the {asked} of every {table.singular} {named}.",
            f"What {'is' if len(columns) == 1 else 'are'} the {asked} of each {table.singular}, "
            f"{sorted_plain}?",
            f"Sort the {table.plural} by {column.phrase} {plain} and return their {asked}.",
            f"Return the {asked} of the {table.plural}, ordered by {column.phrase} {plain}.",
        ),
        f"Returns the {asked} of every row of {table.name}, sorted by {column.name} "
        f"({'descending' if suffix else 'ascending'}).",
        (f"SELECT {select_list(columns)} FROM {table.sql};",),
        sort_keys=f"SELECT {column.sql} FROM {table.sql} ORDER BY {column.sql}{suffix};",
    )


def superlative(column: Column, number: int, noun: str, word: str, adjective: str) -> list[str]:
    """`3 books with the highest price`, and `3 most expensive books` where there is a word."""
    forms = [f"{number} {noun} with the {word} {column.phrase}"]
    if adjective:
        forms.append(f"{number} {adjective} {noun}")
    return forms


@pattern("medium", "basic SQL")
def top_rows(draw: Draw) -> Draft:
    """The first few rows by a number or a date, sometimes of those that pass a filter."""
    kind = draw.choice(("number", "number", "date"))
    table = draw.table(kind)
    column = draw.column(table, kind)
    way, word, adjective = draw.direction(column)
    number = draw.choice((2, 3, 3, 4, 5))
    columns = draw.shown(table)
    where, noun = "", table.plural
    if draw.rng.random() < 0.3:
        condition = conditions.equals(draw.rng, draw.column(table, "category"))
        if condition.form.startswith("* w"):
            raise NoFit
        where, noun = f" WHERE {condition.sql}", condition.of(table.plural)
    rows = draw.choice(superlative(column, number, noun, word, adjective))
    asked = phrases(columns)
    tail = f"FROM {table.sql}{where} ORDER BY {column.sql}{' DESC' if way == 'DESC' else ''}"
    first = "starting with" if way == "DESC" else "beginning with"
    return Draft(
        f"SELECT {select_list(columns)} {tail} LIMIT {number};",
        (
            f"What are the {rows}? Show their {asked}, {first} the {word} {column.phrase}.",
            f"List the {asked} of the {rows}, the {word} first.",
            f"Find the {rows} and return their {asked}, {word} {column.phrase} first.",
            f"Give me the {asked} of the {rows}, ordered from the {word}.",
            f"Show the {rows} in order, {first} the {word}, with their {asked}.",
        ),
        f"Sorts {table.name} by {column.name} and keeps the first {number} rows.",
        (f"SELECT {select_list(columns)} {tail};",),
        sort_keys=f"SELECT {column.sql} {tail};",
        limit=number,
    )


@pattern("hard", "basic SQL")
def nth_row(draw: Draw) -> Draft:
    """The second or third row in an order."""
    kind = draw.choice(("number", "number", "date"))
    table = draw.table(kind)
    column = draw.column(table, kind)
    way, word, _ = draw.direction(column)
    place, ordinal = draw.choice(((1, "second"), (2, "third")))
    columns = draw.shown(table)
    asked = phrases(columns)
    be = "is" if len(columns) == 1 else "are"
    tail = f"FROM {table.sql} ORDER BY {column.sql}{' DESC' if way == 'DESC' else ''}"
    return Draft(
        f"SELECT {select_list(columns)} {tail} LIMIT 1 OFFSET {place};",
        (
            f"What {be} the {asked} of the {table.singular} with the {ordinal} {word} "
            f"{column.phrase}?",
            f"Show the {asked} of the {table.singular} {table.who} has the {ordinal} {word} "
            f"{column.phrase}.",
            f"Find the {table.singular} with the {ordinal} {word} {column.phrase} and return "
            f"{table.its} {asked}.",
            f"Which {table.singular} has the {ordinal} {word} {column.phrase}? Give {table.its} "
            f"{asked}.",
        ),
        f"Sorts {table.name} by {column.name}, skips {place} and returns the next row.",
        sort_keys=f"SELECT {column.sql} {tail};",
        limit=place + 1,
    )
