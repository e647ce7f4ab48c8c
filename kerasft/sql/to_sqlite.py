"""Other dialects' expressions as SQLite's: names, dates, casts.

sqlglot reads every dialect and writes what SQLite has another word for; what is here is what it
leaves as it was read: dates and their parts, intervals, schemas, words that SQLite reserves.
An expression without a counterpart (`correlation`, `STR_TO_DATE`) stays, and SQLite says so.

Dates are text in SQLite (`2024-05-01`, `2024-05-01 10:00:00`), and its functions give text. A
month added to the 31st may end in the month after, where other engines stop at its end.
"""

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from kerasft.sql.names import is_reserved

if TYPE_CHECKING:
    from sqlglot import exp

# What strftime gives of a date as a number. DOW counts from Sunday = 0.
PARTS = {
    "YEAR": "%Y",
    "MONTH": "%m",
    "DAY": "%d",
    "HOUR": "%H",
    "MINUTE": "%M",
    "SECOND": "%S",
    "DOW": "%w",
    "DOY": "%j",
    "DAYOFYEAR": "%j",
    "EPOCH": "%s",
}
# A unit of an interval as SQLite's modifier: how many of which.
UNITS = {
    "YEAR": (1, "year"),
    "QUARTER": (3, "month"),
    "MONTH": (1, "month"),
    "WEEK": (7, "day"),
    "DAY": (1, "day"),
    "HOUR": (1, "hour"),
    "MINUTE": (1, "minute"),
    "SECOND": (1, "second"),
}
TRUNCATED = {
    "YEAR": "DATE({0}, 'start of year')",
    "QUARTER": (
        "DATE({0}, 'start of month', '-' || ((CAST(STRFTIME('%m', {0}) AS INTEGER) - 1) % 3)"
        " || ' months')"
    ),
    "MONTH": "DATE({0}, 'start of month')",
    "WEEK": "DATE({0}, 'weekday 0', '-6 days')",
    "DAY": "DATE({0})",
}


def as_sqlite(tree: "exp.Expression") -> "exp.Expression":
    """The tree with what SQLite has no word for rewritten, as far as it can be."""
    unqualify(tree)
    rewritten = tree.transform(_rewrite, copy=False)
    quote_reserved(rewritten)
    return rewritten


def unqualify(tree: "exp.Expression") -> None:
    """Drop the schemas before names: an SQLite database has one."""
    from sqlglot import exp

    for node in list(tree.find_all(exp.Table, exp.Column)):
        node.set("db", None)
        node.set("catalog", None)


def quote_reserved(tree: "exp.Expression") -> None:
    from sqlglot import exp

    for name in tree.find_all(exp.Identifier):
        if is_reserved(name.this):
            name.set("quoted", True)


def _rewrite(node: "exp.Expression") -> "exp.Expression":
    rule = RULES.get(type(node).__name__)
    return (rule(node) if rule else None) or node


def _sqlite(template: str, *parts: "exp.Expression") -> "exp.Expression":
    """The expression that SQLite's own SQL gives with the parts in its places."""
    import sqlglot

    written = [_bare(part).sql(dialect="sqlite", comments=False) for part in parts]
    return sqlglot.parse_one(template.format(*written), read="sqlite")


def _bare(node: "exp.Expression") -> "exp.Expression":
    """A date without the conversion that sqlglot puts around it; strftime takes all forms."""
    from sqlglot import exp

    while isinstance(node, (exp.TsOrDsToDate, exp.TimeStrToTime, exp.TsOrDsToTimestamp)):
        node = node.this
    return node.transform(_rewrite)


def _anonymous(node: "exp.Expression") -> "exp.Expression | None":
    name = node.name.upper()
    if name in ("NOW", "GETDATE", "SYSDATE", "LOCALTIMESTAMP") and not node.expressions:
        return _sqlite("CURRENT_TIMESTAMP")
    if name in ("CURDATE", "TODAY") and not node.expressions:
        return _sqlite("CURRENT_DATE")
    if name == "WEEKDAY" and len(node.expressions) == 1:  # MySQL counts from Monday = 0
        return _sqlite("(CAST(STRFTIME('%w', {0}) AS INTEGER) + 6) % 7", node.expressions[0])
    return None


def _array(node: "exp.Expression") -> "exp.Expression | None":
    """An array of constants as the text in which Postgres takes and shows it."""
    from sqlglot import exp

    if not all(isinstance(item, exp.Literal) for item in node.expressions):
        return None
    items = [
        item.this
        if re.fullmatch(r"[\w.]+", item.this)
        else json.dumps(item.this, ensure_ascii=False)
        for item in node.expressions
    ]
    return exp.Literal.string("{" + ",".join(items) + "}")


def _national(node: "exp.Expression") -> "exp.Expression":
    from sqlglot import exp

    return exp.Literal.string(node.name)


def _part(part: str, date: "exp.Expression") -> "exp.Expression | None":
    part = part.upper()
    if part == "QUARTER":
        return _sqlite("(CAST(STRFTIME('%m', {0}) AS INTEGER) + 2) / 3", date)
    if part == "DAYOFWEEK":  # MySQL and SQL Server count from Sunday = 1
        return _sqlite("(CAST(STRFTIME('%w', {0}) AS INTEGER) + 1)", date)
    if part not in PARTS:
        return None
    return _sqlite(f"CAST(STRFTIME('{PARTS[part]}', {{0}}) AS INTEGER)", date)


def _shifted(
    date: "exp.Expression",
    amount: "exp.Expression",
    unit: "exp.Expression | None",
    sign: int,
) -> "exp.Expression | None":
    """A date or time moved by so many units."""
    from sqlglot import exp

    if isinstance(amount, exp.Interval):
        amount, unit = amount.this, amount.unit
    name = (unit.name if unit is not None else "DAY").upper().removesuffix("S")
    if name not in UNITS or amount is None:
        return None
    times, word = UNITS[name]
    timed = word in ("hour", "minute", "second") or _has_time(date)
    function = "DATETIME" if timed else "DATE"
    try:
        number = int(amount.sql().strip("'\" "))
    except ValueError:
        written = f"(({{1}}) * {sign * times})"
        return _sqlite(f"{function}({{0}}, {written} || ' {word}')", date, amount)
    return _sqlite(f"{function}({{0}}, '{sign * times * number:+d} {word}')", date)


def _has_time(date: "exp.Expression") -> bool:
    from sqlglot import exp

    if isinstance(date, exp.Anonymous):
        return date.name.upper() in ("NOW", "GETDATE", "SYSDATE")
    if isinstance(date, (exp.CurrentTimestamp, exp.CurrentDatetime, exp.Datetime)):
        return True
    return date.sql().upper().startswith("DATETIME(")


def _interval(node: "exp.Expression", sign: int) -> "exp.Expression | None":
    from sqlglot import exp

    if isinstance(node.expression, exp.Interval):
        return _shifted(node.this, node.expression, None, sign)
    if sign == 1 and isinstance(node.this, exp.Interval):
        return _shifted(node.expression, node.this, None, sign)
    return None


def _difference(node: "exp.Expression", *, whole: bool) -> "exp.Expression | None":
    """From `expression` to `this` in units: boundaries crossed, or whole ones that passed."""
    unit = node.args.get("unit")
    name = (unit.name if unit is not None else "DAY").upper()
    later, earlier = node.this, node.expression
    seconds = "(STRFTIME('%s', {0}) - STRFTIME('%s', {1}))"
    months = "(STRFTIME('%Y', {0}) * 12 + STRFTIME('%m', {0}))"
    months_between = f"({months} - {months.replace('{0}', '{1}')})"
    templates = {
        "SECOND": seconds,
        "MINUTE": f"({seconds} / 60)",
        "HOUR": f"({seconds} / 3600)",
        "DAY": "CAST(JULIANDAY(DATE({0})) - JULIANDAY(DATE({1})) AS INTEGER)",
    }
    if whole:
        templates["DAY"] = f"({seconds} / 86400)"
        templates["WEEK"] = f"({seconds} / 604800)"
        templates["MONTH"] = f"({months_between} - (STRFTIME('%d', {{0}}) < STRFTIME('%d', {{1}})))"
        templates["YEAR"] = "((STRFTIME('%Y%m%d', {0}) - STRFTIME('%Y%m%d', {1})) / 10000)"
    else:
        templates["MONTH"] = months_between
        templates["YEAR"] = "(STRFTIME('%Y', {0}) - STRFTIME('%Y', {1}))"
    return _sqlite(templates[name], later, earlier) if name in templates else None


def _truncated(node: "exp.Expression") -> "exp.Expression | None":
    unit = node.args.get("unit")
    template = TRUNCATED.get(unit.name.upper() if unit is not None else "")
    return _sqlite(template, node.this) if template else None


# By the name of sqlglot's class; a rule gives None for what it cannot rewrite.
RULES: dict[str, "Callable[[exp.Expression], exp.Expression | None]"] = {
    "Anonymous": _anonymous,
    "Array": _array,
    "National": _national,
    "Extract": lambda node: _part(node.name, node.expression),
    "Year": lambda node: _part("YEAR", node.this),
    "Month": lambda node: _part("MONTH", node.this),
    "Day": lambda node: _part("DAY", node.this),
    "DayOfMonth": lambda node: _part("DAY", node.this),
    "Hour": lambda node: _part("HOUR", node.this),
    "Minute": lambda node: _part("MINUTE", node.this),
    "Second": lambda node: _part("SECOND", node.this),
    "Quarter": lambda node: _part("QUARTER", node.this),
    "DayOfYear": lambda node: _part("DOY", node.this),
    "DayOfWeek": lambda node: _part("DAYOFWEEK", node.this),
    "DateAdd": lambda node: _shifted(node.this, node.expression, node.args.get("unit"), 1),
    "DateSub": lambda node: _shifted(node.this, node.expression, node.args.get("unit"), -1),
    "Add": lambda node: _interval(node, 1),
    "Sub": lambda node: _interval(node, -1),
    "DateDiff": lambda node: _difference(node, whole=False),
    "TimestampDiff": lambda node: _difference(node, whole=True),
    "TimestampTrunc": _truncated,
    "DateTrunc": _truncated,
    "LastDay": lambda node: _sqlite("DATE({0}, 'start of month', '+1 month', '-1 day')", node.this),
    "TsOrDsToTimestamp": lambda node: node.this,
    "CurrentDatetime": lambda _: _sqlite("CURRENT_TIMESTAMP"),
}
