"""The rows of examples/spider/make_rows.py: one spelling, and schemas that have what SQL names."""

import importlib.util
import json
import random
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from kerasft.data.spider import schema_of

FILE = Path(__file__).parents[1] / "examples" / "spider" / "make_rows.py"
ENTRY = {
    "db_id": "music",
    "table_names_original": ["Singer", "song", "label"],
    "column_names_original": [
        [-1, "*"],
        [0, "Singer_ID"],
        [0, "Name"],
        [1, "id"],
        [1, "singer"],
        [2, "town"],
    ],
    "column_types": ["text", "number", "text", "number", "number", "text"],
    "primary_keys": [1, [3]],
    "foreign_keys": [[4, 1]],
}


@pytest.fixture(scope="module")
def make_rows():
    spec = importlib.util.spec_from_file_location("make_rows", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        (
            'select  name from singer where name = "Ada";',
            "SELECT Name FROM Singer WHERE Name = 'Ada'",
        ),
        ('SELECT "NAME" FROM SINGER', 'SELECT "Name" FROM Singer'),
        ("no  query (", "no query ("),
    ],
)
def test_a_query_is_spelled_as_its_schema(make_rows, typed, written):
    assert make_rows.one_spelling(typed, ENTRY) == written


def test_a_rearranged_schema_has_the_tables_of_its_query(make_rows):
    generator = random.Random(0)
    query = "SELECT Name FROM Singer JOIN song ON Singer_ID = singer"
    texts = set()
    for _ in range(40):
        text = schema_of(make_rows.rearranged(ENTRY, query, generator))
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.executescript(text)
            connection.execute(query)
        texts.add(text)
    assert len(texts) > 4 and any("label" not in text for text in texts)


def test_rows_of_both_kinds(make_rows, tmp_path, monkeypatch, capsys):
    (tmp_path / "tables.json").write_text(json.dumps([ENTRY]))
    asked = {"db_id": "music", "question": "Who?", "query": "select name from singer"}
    left_out = {**asked, "db_id": make_rows.LEFT_OUT}
    (tmp_path / "q.json").write_text(json.dumps([asked, left_out]))
    made = {
        "sql_prompt": "How\u2028many?",  # no line of JSON ends there
        "sql_context": "CREATE TABLE a (b TEXT); INSERT INTO a VALUES ('x');",
        "sql": "SELECT COUNT(*) FROM a;",
    }
    unseen = {**made, "sql": "SELECT ROUND(1.5) FROM a;"}
    lines = [json.dumps(row, ensure_ascii=False) for row in (made, unseen)]
    (tmp_path / "synth.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    arguments = ["--spider", tmp_path, "--questions", "q.json", "--copies", 2]
    arguments += ["--synth", tmp_path / "synth.jsonl", "--out", tmp_path / "train.jsonl"]
    monkeypatch.setattr(sys, "argv", ["make_rows.py", *map(str, arguments)])
    make_rows.main()
    rows = [
        json.loads(line) for line in (tmp_path / "train.jsonl").read_text("utf-8").split("\n")[:-1]
    ]
    assert "3 rows of 1 questions" in capsys.readouterr().out
    spider = [row for row in rows if row["question"] == "Who?"]
    assert [row["sql"] for row in spider] == ["SELECT Name FROM Singer"] * 2
    assert schema_of(ENTRY) in {row["context"] for row in spider}
    (generated,) = (row for row in rows if row not in spider)
    assert generated["sql"] == "SELECT COUNT(*) FROM a" and "INSERT" not in generated["context"]
