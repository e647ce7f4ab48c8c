import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from kerasft.cli.synth import synth
from kerasft.errors import SqlError


def test_writes_rows_and_counts_them(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    result = CliRunner().invoke(synth, ["--rows", "30", "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert told["rows"] == len(rows) == 30
    assert sum(told["patterns"].values()) == sum(told["difficulties"].values()) == 30
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_the_table_says_generated(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    arguments = ["--rows", "20", "--out", str(out), "--domains", "library, film"]
    result = CliRunner().invoke(synth, arguments)
    assert result.exit_code == 0, result.output
    assert "20 generated rows" in result.output
    domains = {json.loads(line)["domain"] for line in out.read_text("utf-8").splitlines()}
    assert domains == {"library", "film"}


def test_db_and_domains_exclude_each_other(tmp_path: Path) -> None:
    arguments = ["--rows", "1", "--out", str(tmp_path / "x"), "--db", "a.db", "--domains", "film"]
    result = CliRunner().invoke(synth, arguments)
    assert result.exit_code == 2
    assert "exclude each other" in result.output


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    out.write_text("old\n")
    arguments = ["--rows", "1", "--out", str(out), "--db", str(tmp_path / "absent.db")]
    with pytest.raises(SqlError, match="does not exist"):
        CliRunner().invoke(synth, arguments, catch_exceptions=False)
    assert out.read_text() == "old\n"
    assert not (tmp_path / "absent.db").exists()


def test_rows_over_a_database_name_it_from_their_own_folder(tmp_path: Path) -> None:
    shop = tmp_path / "shop.db"
    with closing(sqlite3.connect(shop)) as connection, connection:
        connection.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, price REAL)")
        connection.executemany(
            "INSERT INTO item VALUES (?, ?, ?)", [(i, f"item {i}", i * 1.5) for i in range(1, 12)]
        )
    out = tmp_path / "data" / "rows.jsonl"
    arguments = ["--db", str(shop), "--rows", "25", "--out", str(out), "--hold-out", "0.3"]
    result = CliRunner().invoke(synth, [*arguments, "--json"], catch_exceptions=False)
    told = json.loads(result.output)
    held = out.with_name("rows-held-out.jsonl")
    rows, apart = (
        [json.loads(line) for line in file.read_text("utf-8").splitlines()] for file in (out, held)
    )
    assert told["files"] == {str(out): len(rows), str(held): len(apart)}
    assert len(rows) + len(apart) == 25 and rows and apart
    assert not {row["pattern"] for row in rows} & {row["pattern"] for row in apart}
    assert {row["database"] for row in rows + apart} == {"../shop.db"}


SCHEMAS = [
    {
        "db_id": "pets",
        "table_names": ["owner", "dog"],
        "table_names_original": ["owner", "dog"],
        "column_names": [[-1, "*"], [0, "id"], [0, "name"], [1, "id"], [1, "owner"], [1, "age"]],
        "column_names_original": [
            *([-1, "*"], [0, "id"], [0, "name"], [1, "id"], [1, "owner"], [1, "age"])
        ],
        "column_types": ["text", "number", "text", "number", "number", "number"],
        "primary_keys": [1, 3],
        "foreign_keys": [[4, 1]],
    }
]


def test_databases_for_spider_and_rows_that_score_on_them(tmp_path: Path) -> None:
    tables, questions = tmp_path / "tables.json", tmp_path / "dev.json"
    tables.write_text(json.dumps(SCHEMAS))
    asked = "SELECT T1.name FROM owner AS T1 JOIN dog AS T2 ON T1.id = T2.owner WHERE T2.age > 12"
    row = {"db_id": "pets", "question": "Who has an old dog?", "query": asked, "sql": {"a": 1}}
    questions.write_text(json.dumps([row]))
    out = tmp_path / "out"
    arguments = ["--spider", str(tables), "--data", str(questions), "--out", str(out)]
    result = CliRunner().invoke(synth, [*arguments, "--json"], catch_exceptions=False)
    told = json.loads(result.output)
    assert (told["databases"], told["questions"], told["non_empty"]) == (1, 1, 1)
    (made,) = (json.loads(line) for line in (out / "rows.jsonl").read_text("utf-8").splitlines())
    assert made["sql"] == asked and made["difficulty"] == "medium"
    with closing(sqlite3.connect(out / made["database"])) as connection:
        assert connection.execute(made["sql"]).fetchall()
    table = CliRunner().invoke(synth, arguments, catch_exceptions=False).output
    assert "1 generated databases" in table and "1 of 1 (100.0%)" in table


@pytest.mark.parametrize(
    "arguments, fault",
    [
        ([], "say with --rows"),
        (["--spider", "tables.json"], "go together"),
        (["--data", "dev.json"], "go together"),
        (["--spider", "t", "--data", "d", "--rows", "3", "--db", "x"], "takes no --rows or --db"),
    ],
)
def test_options_that_do_not_go_together(tmp_path: Path, arguments: list[str], fault: str) -> None:
    result = CliRunner().invoke(synth, [*arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert fault in " ".join(result.output.replace("│", " ").split())
