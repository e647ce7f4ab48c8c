"""Near and equivalent writings of a gold query, to see which of them a comparison tells apart.

Each perturbation gives a gold query and a prediction; some change the gold query too, where the
question is what an evaluator makes of it (an empty gold result, an ORDER BY in a string).
"""

import random
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import sqlglot
from sqlglot import exp


class Pair(NamedTuple):
    """A gold query, a prediction, and the name of what makes the difference."""

    name: str
    gold: str
    predicted: str


# In {q} stands the gold query: the gold side and the predicted side.
WRITTEN = {
    "same": ("{q}", "{q}"),
    "wrapped": ("{q}", "SELECT * FROM ({q})"),
    "comments": ("{q}", "/* distinct */ {q} -- order by"),
    "twice": ("{q}", "SELECT * FROM ({q}) UNION ALL SELECT * FROM ({q})"),
    "as a set": ("{q}", "SELECT * FROM ({q}) UNION SELECT * FROM ({q})"),
    "first row": ("{q}", "SELECT * FROM ({q}) LIMIT 1"),
    "first rows of gold": ("SELECT * FROM ({q}) LIMIT 3", "{q}"),
    "ordered prediction": ("{q}", "SELECT * FROM ({q}) ORDER BY 1 DESC"),
    "turned order": ("SELECT * FROM ({q}) ORDER BY 1", "SELECT * FROM ({q}) ORDER BY 1 DESC"),
    "order by with two spaces": (
        "SELECT * FROM ({q}) ORDER  BY 1",
        "SELECT * FROM ({q}) ORDER BY 1 DESC",
    ),
    "order by in a string": (
        "SELECT * FROM ({q}) WHERE 'order by' <> ''",
        "SELECT * FROM ({q}) ORDER BY 1 DESC",
    ),
    "both empty": ("SELECT * FROM ({q}) WHERE 1=0", "SELECT 1 WHERE 0"),
    "empty gold": ("SELECT * FROM ({q}) WHERE 1=0", "{q}"),
    "empty prediction": ("{q}", "SELECT * FROM ({q}) WHERE 1=0"),
    "two statements": ("{q}", "{q}; SELECT 1"),
    "no such column": ("{q}", "SELECT kerasft_nothing FROM ({q})"),
    "split operator": (
        "SELECT * FROM ({q}) WHERE 1 >= 1",
        "SELECT * FROM ({q}) WHERE 1 > = 1",
    ),
    "year of today": (
        "SELECT * FROM ({q}) WHERE 2020 = 2020",
        "SELECT * FROM ({q}) WHERE year(curdate( ) ) = 2020",
    ),
    "year of today before a word": (
        "SELECT 2020 AS y FROM ({q})",
        "SELECT YEAR(CURDATE()) AS y FROM ({q})",
    ),
}
# Of the text: a pattern and what stands for it.
REPLACED = {
    "wider spaces": (r"\s+", "  "),
    "without DISTINCT": (r"(?i)\bdistinct\b", ""),
    "with DISTINCT": (r"(?i)^\s*select\s+(?!distinct)", "SELECT DISTINCT "),
    "count DISTINCT": (r"(?i)count\s*\(\s*(?!\*|distinct)", "count(DISTINCT "),
    "split operators": (r"([<>!])=", r"\1 ="),
    "syntax error": (r"(?i)^\s*select", "SELECT FROM"),
}


def pairs(gold: str, seed: str) -> Iterator[Pair]:
    """Every perturbation that applies to the query and changes the pair's text.

    Args:
        seed: of the constant that is changed.
    """
    gold = gold.strip().rstrip(";")
    seen = set()
    for pair in _pairs(gold, random.Random(seed)):
        if pair[1:] not in seen:
            seen.add(pair[1:])
            yield pair


def _pairs(gold: str, chance: random.Random) -> Iterator[Pair]:
    for name, sides in WRITTEN.items():
        yield Pair(name, *(side.replace("{q}", gold) for side in sides))
    for name, (pattern, replacement) in REPLACED.items():
        yield Pair(name, gold, re.sub(pattern, replacement, gold))
    for change in CHANGES:
        changed = change(sqlglot.parse_one(gold, read="sqlite"), chance)
        if changed is not None:
            yield Pair(change.__name__.replace("_", " "), gold, changed.sql(dialect="sqlite"))


def rewritten(tree: exp.Expression, _: random.Random) -> exp.Expression:
    return tree


def columns_reversed(tree: exp.Expression, _: random.Random) -> exp.Expression | None:
    selects = [tree.left, tree.right] if isinstance(tree, exp.SetOperation) else [tree]
    if any(len(select.expressions) < 2 for select in selects):
        return None
    for select in selects:
        select.set("expressions", select.expressions[::-1])
    return tree


def column_dropped(tree: exp.Expression, _: random.Random) -> exp.Expression | None:
    if not isinstance(tree, exp.Select) or len(tree.expressions) < 2:
        return None
    tree.set("expressions", tree.expressions[:-1])
    return tree


def column_repeated(tree: exp.Expression, _: random.Random) -> exp.Expression | None:
    return tree.select(tree.expressions[0].copy()) if isinstance(tree, exp.Select) else None


def other_constant(tree: exp.Expression, chance: random.Random) -> exp.Expression | None:
    literals = list(tree.find_all(exp.Literal))
    if not literals:
        return None
    literal = chance.choice(literals)
    if literal.is_string:
        literal.replace(exp.Literal.string(f"{literal.this}x"))
    else:
        literal.replace(exp.Literal.number(int(float(literal.this)) + 1))
    return tree


def _without(clause: type[exp.Expression]) -> "Change":
    def change(tree: exp.Expression, _: random.Random) -> exp.Expression | None:
        found = tree.find(clause)
        if found is None:
            return None
        found.pop()
        return tree

    change.__name__ = f"without_{clause.__name__.upper()}"
    return change


def order_turned(tree: exp.Expression, _: random.Random) -> exp.Expression | None:
    if tree.args.get("order") is None:
        return None
    for ordered in tree.args["order"].expressions:
        ordered.set("desc", not ordered.args.get("desc"))
    return tree


def limit_raised(tree: exp.Expression, _: random.Random) -> exp.Expression | None:
    if tree.args.get("limit") is None:
        return None
    return tree.limit(int(tree.args["limit"].expression.this) + 1)


def left_joins(tree: exp.Expression, _: random.Random) -> exp.Expression | None:
    joins = list(tree.find_all(exp.Join))
    for join in joins:
        join.set("side", "LEFT")
    return tree if joins else None


def without_joins(tree: exp.Expression, _: random.Random) -> exp.Expression | None:
    if not tree.args.get("joins"):
        return None
    tree.set("joins", None)
    return tree


def count_of_column(tree: exp.Expression, _: random.Random) -> exp.Expression | None:
    column = tree.find(exp.Column)
    for count in tree.find_all(exp.Count):
        if isinstance(count.this, exp.Star) and column is not None:
            count.set("this", column.copy())
            return tree
    return None


def count_of_rows(tree: exp.Expression, _: random.Random) -> exp.Expression | None:
    for count in tree.find_all(exp.Count):
        if not isinstance(count.this, exp.Star):
            count.set("this", exp.Star())
            return tree
    return None


def other_aggregate(tree: exp.Expression, _: random.Random) -> exp.Expression | None:
    for one, other in ((exp.Max, exp.Min), (exp.Avg, exp.Sum), (exp.Sum, exp.Avg)):
        found = tree.find(one)
        if found is not None:
            found.replace(other(this=found.this))
            return tree
    return None


def union_all(tree: exp.Expression, _: random.Random) -> exp.Expression | None:
    if not isinstance(tree, exp.Union):
        return None
    tree.set("distinct", False)
    return tree


def sides_swapped(tree: exp.Expression, _: random.Random) -> exp.Expression | None:
    if not isinstance(tree, exp.SetOperation):
        return None
    left, right = tree.left.copy(), tree.right.copy()
    tree.set("this", right)
    tree.set("expression", left)
    return tree


def _first_column(name: str, template: str) -> "Change":
    def change(tree: exp.Expression, _: random.Random) -> exp.Expression | None:
        if not isinstance(tree, exp.Select) or tree.expressions[0].is_star:
            return None
        first = tree.expressions[0]
        written = template.format(first.unalias().sql(dialect="sqlite"))
        first.replace(sqlglot.parse_one(f"SELECT {written}", read="sqlite").expressions[0])
        return tree

    change.__name__ = f"first_column_{name}"
    return change


Change = Callable[[exp.Expression, random.Random], exp.Expression | None]
CHANGES: tuple[Change, ...] = (
    rewritten,
    columns_reversed,
    column_dropped,
    column_repeated,
    other_constant,
    _without(exp.Where),
    _without(exp.Having),
    _without(exp.Order),
    _without(exp.Group),
    order_turned,
    limit_raised,
    left_joins,
    without_joins,
    count_of_column,
    count_of_rows,
    other_aggregate,
    union_all,
    sides_swapped,
    _first_column("renamed", "{} AS x"),
    _first_column("as_text", "CAST({} AS TEXT)"),
    _first_column("as_float", "CAST({} AS REAL)"),
    _first_column("plus_zero", "({}) + 0.0"),
    _first_column("times_a_tenth", "({}) * 0.1 * 10"),
    _first_column("without_NULL", "COALESCE({}, 0)"),
)
