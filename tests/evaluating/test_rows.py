"""Which rows are scored: held back, of a file, of a split, or of another task."""

import json
import sqlite3

import pytest

from kerasft.errors import DataError, KerasftError
from kerasft.evaluating.rows import rows_of_another_task, rows_to_score
from kerasft.recipe import resolve
from kerasft.tasks import text_to_sql
from tests.small import TINY, say_rows, write_rows

SQL_ROW = {
    "question": "How many?",
    "context": "CREATE TABLE t (a)",
    "sql": "SELECT COUNT(*) FROM t",
}


def recipe(source, **settings):
    base = {
        "task": "instruct",
        "model": {"preset": str(TINY)},
        "data": {"source": str(source)},
        "prompt": {"template": "instruction"},
    }
    return resolve(base, {name.replace("__", "."): value for name, value in settings.items()})


@pytest.fixture
def source(tmp_path):
    return write_rows(tmp_path / "rows.jsonl", say_rows(10))


def test_the_rows_that_the_recipe_held_back_are_the_default(source):
    found = rows_to_score(recipe(source, data__validation=4))
    assert found.name == "validation" and len(found.rows) == 4
    assert found.described["which"] == "rows held back from training"
    assert rows_to_score(recipe(source, data__validation=4), limit=3).rows == found.rows[:3]
    with pytest.raises(KerasftError, match="holds no rows back"):
        rows_to_score(recipe(source))


def test_a_file_is_scored_whole_and_says_what_was_left_out(source, tmp_path):
    other = write_rows(tmp_path / "mine.jsonl", say_rows(6))
    found = rows_to_score(recipe(source), data=str(other))
    assert (found.name, len(found.rows)) == ("mine", 6)
    assert found.described == {
        "source": "mine.jsonl",
        "content_hash": found.described["content_hash"],
        "which": "all rows",
    }
    few = rows_to_score(recipe(source), data=other, limit=2)
    assert few.described["which"] == "all rows, the first 2" and len(few.rows) == 2


def test_databases_of_rows_are_found_from_the_folder_of_the_file(tmp_path, monkeypatch):
    folder = tmp_path / "spider"
    folder.mkdir()
    absolute = str(tmp_path / "elsewhere.sqlite")
    rows = [{**SQL_ROW, "database": name} for name in ("databases/a.sqlite", absolute)]
    write_rows(folder / "rows.jsonl", [*rows, {**SQL_ROW, "task_type": "read"}])
    monkeypatch.chdir(tmp_path)
    found = rows_to_score(
        recipe("unused", task="text_to_sql", prompt__template="gemma"), data="spider/rows.jsonl"
    )
    first, second, third = found.rows
    assert first["database"] == "spider/databases/a.sqlite"
    assert second["database"] == absolute
    assert "database" not in third and third["task_type"] == "read"


@pytest.mark.parametrize(
    ("named", "row", "context"),
    [
        # Trained on Spider's `query`; these rows have `sql`.
        ({"question": "question", "sql": "query"}, SQL_ROW, SQL_ROW["context"]),
        # These rows have the recipe's column, and one with a usual name beside it.
        ({"sql": "gold"}, {**SQL_ROW, "sql": "no SQL", "gold": SQL_ROW["sql"]}, SQL_ROW["context"]),
        # The recipe's source has no context; these rows do, or do not either.
        ({"context": ""}, SQL_ROW, SQL_ROW["context"]),
        ({"context": ""}, {"question": "How many?", "sql": SQL_ROW["sql"]}, ""),
    ],
)
def test_rows_of_a_file_have_columns_of_their_own(tmp_path, named, row, context):
    given = recipe("unused", task="text_to_sql", prompt__template="gemma", data__columns=named)
    found = rows_to_score(given, data=write_rows(tmp_path / "mine.jsonl", [row]))
    assert found.rows[0]["sql"] == SQL_ROW["sql"] and found.rows[0]["context"] == context


def test_a_column_that_a_file_lacks_is_named(tmp_path):
    given = recipe(
        "unused", task="text_to_sql", prompt__template="gemma", data__columns={"sql": "query"}
    )
    rows = write_rows(tmp_path / "mine.jsonl", [{"question": "q", "context": ""}])
    with pytest.raises(DataError, match="sql"):
        rows_to_score(given, data=rows)


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_questions_about_a_database_get_its_schema(tmp_path, engine):
    if engine == "sqlite":
        database = tmp_path / "shop #1.sqlite"
        connection = sqlite3.connect(database)
    else:
        database = tmp_path / "shop.duckdb"
        connection = pytest.importorskip("duckdb").connect(str(database))
    connection.execute("CREATE TABLE sale (id INTEGER PRIMARY KEY, amount INTEGER)")
    connection.close()
    rows = [{"question": "How many sales?", "sql": "SELECT COUNT(*) FROM sale"}]
    questions = write_rows(tmp_path / "questions.jsonl", rows)
    found = rows_to_score(
        recipe("unused", task="text_to_sql", prompt__template="gemma"),
        data=questions,
        database=database,
    )
    assert found.name == "questions"
    assert found.described["which"] == f"all questions about {database.name}"
    assert str(tmp_path) not in str(found.described)
    [row] = found.rows
    assert "sale" in row["context"] and row["database"] == str(database)
    [judgement] = text_to_sql.score([row], ["SELECT COUNT(id) FROM sale"])
    assert judgement.execution_match is True


def test_a_file_tells_what_was_forgotten_of_the_other_task(source, tmp_path):
    """Dolly rows for a SQL model are prompted as the dolly recipe does, with their contexts."""
    rows = [{"instruction": f"i{n}", "context": "c" * n, "response": "r"} for n in range(4)]
    dolly = write_rows(tmp_path / "dolly-rows.jsonl", rows)
    found = rows_of_another_task(str(dolly), "text_to_sql", 3)
    assert (found.name, found.task, len(found.rows)) == ("dolly-rows", "instruct", 3)
    assert [row["context"] for row in found.rows] == ["", "c", "cc"]
    assert "Instruction" in str(found.template.to_dict())
    sql = write_rows(tmp_path / "sql.jsonl", [SQL_ROW])
    assert rows_of_another_task(str(sql), "instruct", 0).task == "text_to_sql"
    with pytest.raises(DataError, match="no column"):
        rows_of_another_task(str(sql), "text_to_sql", 0)


def test_a_recipe_tells_by_the_rows_that_it_held_back(tmp_path, source):
    file = tmp_path / "other.toml"
    file.write_text(
        'task = "instruct"\n[model]\npreset = "gemma3-270m"\n[prompt]\ntemplate = "alpaca"\n'
        f"[data]\nvalidation = 3\nsource = {json.dumps(str(source))}\n"
    )
    found = rows_of_another_task(file, "text_to_sql", 0)
    assert (found.name, len(found.rows)) == ("other", 3)
    assert found.described["which"] == "rows held back"
