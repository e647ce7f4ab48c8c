"""Files of questions become databases, rows and a report."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kerasft.data.sources import load_rows
from kerasft.data.spider import schema_of
from kerasft.data.spider_databases import build_spider_databases
from kerasft.errors import DataError
from kerasft.recipe import DataSettings


@pytest.fixture
def tables(tmp_path: Path, entry: dict[str, Any]) -> Path:
    path = tmp_path / "tables.json"
    path.write_text(json.dumps([entry]))
    return path


def _questions(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_name_their_database_and_have_the_context_of_training(
    tmp_path: Path, tables: Path, entry: dict[str, Any]
) -> None:
    rows = [
        {"db_id": "music", "question": "a?", "query": "SELECT Name FROM singer WHERE Age > 120"},
        {"db_id": "music", "question": "b?", "query": "SELECT Nme FROM singer"},
    ]
    out = tmp_path / "out"
    report = build_spider_databases(tables, _questions(tmp_path / "q.jsonl", *rows), out).as_json()
    assert (report["questions"], report["run"], report["non_empty"]) == (2, 1, 1)
    assert len(report["failed"]) == 1 and "no such column: Nme" in report["failed"][0]
    assert 0 < report["mutants"]["told_apart"] <= report["mutants"]["queries"]
    loaded = load_rows(DataSettings(source=str(out / "rows.jsonl")), "text_to_sql").rows
    assert [row["question"] for row in loaded] == ["a?", "b?"]
    for row in loaded:
        assert row["context"] == schema_of(entry)
        assert row["database"] == "database/music/music.sqlite"
        assert row["difficulty"] == "easy"
    with closing(sqlite3.connect(out / loaded[0]["database"])) as connection:
        assert connection.execute(loaded[0]["sql"]).fetchall()
    kept = {path.name for path in out.rglob("*") if path.is_file()}
    assert kept == {"rows.jsonl", "music.sqlite"}


def test_all_faults_of_the_questions_at_once(tmp_path: Path, tables: Path) -> None:
    path = _questions(
        tmp_path / "q.jsonl",
        {"db_id": "musik", "question": "a?", "query": "SELECT 1"},
        {"db_id": "music", "question": "", "query": {}},
    )
    with pytest.raises(DataError) as caught:
        build_spider_databases(tables, path, tmp_path / "out")
    message = str(caught.value)
    assert "q.jsonl line 1" in message and "no database 'musik'" in message
    assert "q.jsonl line 2: expected text in the column 'question'" in message
    assert "q.jsonl line 2: expected SQL in the column 'query' or 'sql'" in message
    assert not (tmp_path / "out").exists()


def test_a_database_cannot_be_written_outside_the_folder(
    tmp_path: Path, entry: dict[str, Any]
) -> None:
    tables = tmp_path / "tables.json"
    tables.write_text(json.dumps([{**entry, "db_id": "../../x"}]))
    path = _questions(
        tmp_path / "q.jsonl", {"db_id": "../../x", "question": "a?", "query": "SELECT 1"}
    )
    with pytest.raises(DataError, match="makes no file name"):
        build_spider_databases(tables, path, tmp_path / "out")


def test_all_entries_that_are_no_schemas_at_once(tmp_path: Path, entry: dict[str, Any]) -> None:
    tables = tmp_path / "tables.json"
    twice = {**entry, "db_id": "twice", "table_names_original": ["singer", "Singer", "x"]}
    tables.write_text(json.dumps([{"db_id": "bare"}, twice]))
    asked = [{"db_id": name, "question": "a?", "query": "SELECT 1"} for name in ("bare", "twice")]
    with pytest.raises(DataError) as caught:
        build_spider_databases(tables, _questions(tmp_path / "q.jsonl", *asked), tmp_path / "out")
    message = str(caught.value)
    assert "bare: KeyError" in message and "twice: SQLite does not build it" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_all_of_dev(tmp_path: Path, shared_data: Path) -> None:
    spider = shared_data / "spider"
    if not (spider / "dev.json").is_file():
        pytest.skip("no Spider dev.json in ../shared/data")
    report = build_spider_databases(
        spider / "tables.json", spider / "dev.json", tmp_path / "out"
    ).as_json()
    assert report["databases"] == 20
    assert report["run"] == report["questions"] == 1034
    assert report["non_empty"] >= 0.9 * 1034
    assert report["mutants"]["told_apart"] >= 0.9 * report["mutants"]["queries"]
