"""Four thousand generated rows, checked from the outside: from their text alone."""

import re
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from random import Random
from typing import Any

import pytest

from kerasft.data.synth import COMPLEXITIES, DIFFICULTIES, DOMAINS, PATTERNS, generate
from kerasft.data.synth.builtin import draw_schema
from kerasft.data.synth.catalogue import CATALOGUE
from kerasft.data.synth.conditions import NoFit
from kerasft.data.synth.patterns import Draw
from kerasft.errors import DataError

Row = dict[str, Any]
ROWS = 4_000
GRETEL = [
    "id",
    "domain",
    "domain_description",
    "sql_complexity",
    "sql_complexity_description",
    "sql_task_type",
    "sql_task_type_description",
    "sql_prompt",
    "sql_context",
    "sql",
    "sql_explanation",
]
MONTHS = [
    *("January", "February", "March", "April", "May", "June", "July", "August"),
    *("September", "October", "November", "December"),
]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return list(generate(ROWS, seed=1))


def test_columns(rows: list[Row]) -> None:
    for row in rows:
        assert list(row) == [*GRETEL, "difficulty", "pattern", "generated"]
        assert row["generated"] is True
        assert row["sql_complexity_description"] == COMPLEXITIES[row["sql_complexity"]]
    assert [row["id"] for row in rows] == list(range(ROWS))


def test_a_longer_stream_starts_with_the_shorter(rows: list[Row]) -> None:
    assert list(generate(200, seed=1)) == rows[:200]
    assert list(generate(50, seed=2)) != rows[:50]


def test_every_pattern_and_domain_occurs(rows: list[Row]) -> None:
    assert {row["pattern"] for row in rows} == set(PATTERNS)
    assert {row["domain"] for row in rows} == set(DOMAINS)
    assert len(PATTERNS) >= 30
    assert len(DOMAINS) >= 30
    shares = Counter(row["difficulty"] for row in rows)
    assert all(shares[difficulty] >= ROWS / 10 for difficulty in DIFFICULTIES)


def test_every_query_runs_on_its_context_and_gives_rows(rows: list[Row]) -> None:
    for row in rows:
        assert row["sql"].endswith(";")
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.executescript(row["sql_context"])
            result = connection.execute(row["sql"]).fetchall()
        assert any(cell is not None for line in result for cell in line), row


def _schema(context: str) -> frozenset[str]:
    """Tables and columns of a context, as SQLite itself tells them."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(context)
        return frozenset(
            f"{table}.{column[1]}".lower()
            for (table,) in connection.execute("SELECT name FROM sqlite_master").fetchall()
            for column in connection.execute(f'PRAGMA table_info("{table}")').fetchall()
        )


def _bare(row: Row) -> Counter[str]:
    """The question's words without quoted parts, numbers, month names and the SQL's strings."""
    text = row["sql_prompt"]
    for value in re.findall(r"'([^']*)'", row["sql"]):
        text = re.sub(rf"(?<!\w){re.escape(value.strip('%'))}(?!\w)", " ", text)
    words = re.findall(
        r"[a-z]+", re.sub(r"\b(" + "|".join(MONTHS) + r") \d+, \d+", "", text).lower()
    )
    return Counter(words)


def test_no_near_duplicate_question_over_one_schema(rows: list[Row]) -> None:
    by_schema = defaultdict(list)
    for row in rows:
        by_schema[_schema(row["sql_context"])].append(row)
    assert max(map(len, by_schema.values())) > 1  # else this proves nothing
    for group in by_schema.values():
        bags = [_bare(row) for row in group]
        assert len({row["sql"] for row in group}) == len(group)
        for place, one in enumerate(bags):
            for other in bags[:place]:
                assert (one & other).total() / (one | other).total() < 0.9
    assert len({(row["sql_prompt"], row["sql_context"]) for row in rows}) == len(rows)


def _said(value: str, question: str) -> bool:
    if re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        year, month, day = value.split("-")
        if f"{MONTHS[int(month) - 1]} {int(day)}, {year}" in question:
            return True
    return value.lower() in question.lower()


def test_a_question_names_every_literal_of_its_query(rows: list[Row]) -> None:
    for row in rows:
        sql = re.sub(r"strftime\('[^']*'", "", row["sql"])
        sql = re.sub(r"LIMIT 1(?: OFFSET \d)?;|LIMIT 1\)|place = 1|SELECT 1 FROM|100\.0", "", sql)
        values = [value.strip("%") for value in re.findall(r"'([^']*)'", sql)]
        values += re.findall(r"(?<![\w.'])\d+(?:\.\d+)?(?![\w'.])", re.sub(r"'[^']*'", "", sql))
        for value in values:
            assert _said(value, row["sql_prompt"]), (value, row["sql_prompt"], row["sql"])


def test_a_stated_order_is_in_the_query(rows: list[Row]) -> None:
    for row in rows:
        if row["pattern"] in ("order_rows", "top_rows", "join_sorted", "running_total"):
            words = r"sort|order|first|starting|beginning|from (a|z) to|alphabetical"
            assert re.search(words, row["sql_prompt"].lower()), row["sql_prompt"]
            assert "ORDER BY" in row["sql"]


VOWEL_LETTER_CONSONANT_SOUND = ("uni", "use", "euro", "one")


def test_grammar(rows: list[Row]) -> None:
    for row in rows:
        question = row["sql_prompt"]
        plain = re.sub(r"'[^']*'", "", question)
        assert question[0].isupper() or question[0].isdigit()
        assert question.endswith((".", "?"))
        assert "  " not in question and " ," not in question and " ." not in question
        assert not re.search(r"[{}*]|None|\bNULL\b", plain), question
        assert not re.search(r"\b(the the|of of|a the|a a|total total|is is)\b", plain), question
        for article, noun in re.findall(r"\b(an?) ([a-z]+)", plain):
            sounds = noun[0] in "aeiou" and not noun.startswith(VOWEL_LETTER_CONSONANT_SOUND)
            assert (article == "an") == (sounds or noun.startswith("hour")), question


def test_contexts_are_short(rows: list[Row]) -> None:
    lengths = sorted(len(row["sql_context"]) for row in rows)
    assert lengths[-1] <= 1200
    assert lengths[len(lengths) // 2] < 700


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_has_four_wordings_that_differ(name: str) -> None:
    pattern = PATTERNS[name]
    rng = Random(name)
    for _ in range(5000):
        try:
            schema = draw_schema(rng, rng.choice(list(CATALOGUE.values())), pattern.tables)
            draft = pattern.build(Draw(rng, schema))
        except NoFit:
            continue
        assert len(set(draft.questions)) >= 4
        return
    pytest.fail(f"{name} never found a schema that fits")


def test_domains_can_be_held_out() -> None:
    some = DOMAINS[:3]
    assert {row["domain"] for row in generate(60, seed=4, domains=some)} == set(some)


def test_unknown_domains_are_told_at_once() -> None:
    with pytest.raises(DataError, match=r"libary(.|\n)*'library'(.|\n)*moon"):
        list(generate(1, domains=["libary", "moon"]))
