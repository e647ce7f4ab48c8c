"""The CREATE statements of a context, whatever stands inside quotes."""

import pytest

from kerasft.data.schema import schema_only, statements


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("SELECT 1; SELECT 2", ["SELECT 1", "SELECT 2"]),
        ("SELECT 'a;b'';c'; SELECT 2;", ["SELECT 'a;b'';c'", "SELECT 2"]),
        ('SELECT "a;b" FROM `c;d`, [e;f]', ['SELECT "a;b" FROM `c;d`, [e;f]']),
        ("SELECT 1 -- one; two\n + 2 /* ; */;", ["SELECT 1 + 2"]),
        ("SELECT   'two  spaces'\n\t,  x", ["SELECT 'two  spaces', x"]),
        ("SELECT a - b / c", ["SELECT a - b / c"]),
        ("CREATE TABLE t (\n  a INT,\n  b TEXT\n)", ["CREATE TABLE t (a INT, b TEXT)"]),
        ("SELECT 'never closed; SELECT 2", ["SELECT 'never closed; SELECT 2"]),
        (" ;; -- nothing", []),
    ],
)
def test_statements(script: str, expected: list[str]) -> None:
    assert statements(script) == expected


def test_rows_go_and_definitions_stay() -> None:
    context = (
        "CREATE TABLE a (x TEXT DEFAULT 'INSERT; '); INSERT INTO a VALUES ('CREATE TABLE b;');"
        "create temporary view v AS SELECT * FROM a; UPDATE a SET x = 1; CREATE INDEX i ON a(x)"
    )
    assert schema_only(context) == (
        "CREATE TABLE a (x TEXT DEFAULT 'INSERT; ');\ncreate temporary view v AS SELECT * FROM a;"
    )


def test_a_context_without_definitions_stays_as_it_is() -> None:
    assert schema_only("table  head: name, age") == "table  head: name, age"


def test_every_gretel_context_keeps_its_tables(shared_data) -> None:
    import json
    import re

    lines = (shared_data / "gretel" / "gretel_500_rows.jsonl").read_text("utf-8").splitlines()
    for line in lines:
        context = json.loads(line)["sql_context"]
        # These rows have no CREATE inside a literal, so counting words is a fair reference.
        words = re.findall(r"\bCREATE\s+(?:TABLE|VIEW)\b", context, re.IGNORECASE)
        kept = schema_only(context)
        assert len(kept.splitlines()) == len(words) or not words
        assert "INSERT INTO" not in kept.upper()
