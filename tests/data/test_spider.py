"""Schemas of Spider as CREATE TABLE statements that SQLite takes."""

import json
import sqlite3
from pathlib import Path

import pytest

from kerasft.data.sources import load_rows
from kerasft.data.spider import load_schemas, schema_of
from kerasft.errors import DataError
from kerasft.recipe import DataSettings

ENTRY = {
    "db_id": "shop",
    "table_names_original": ["item", "order line"],
    "column_names_original": [[-1, "*"], [0, "id"], [0, "From"], [1, "item"], [1, "n"]],
    "column_types": ["text", "number", "time", "number", "others"],
    "primary_keys": [1, [3, 4]],
    "foreign_keys": [[3, 1]],
}


def test_types_keys_and_names() -> None:
    assert schema_of(ENTRY) == (
        'CREATE TABLE item (id NUMERIC, "From" TIME, PRIMARY KEY (id));\n'
        'CREATE TABLE "order line" (item NUMERIC, n BLOB, PRIMARY KEY (item, n), '
        "FOREIGN KEY (item) REFERENCES item(id));"
    )


@pytest.mark.parametrize("content", ["{", "[1]", '{"a": 1}', '[{"db_id": "x"}]'])
def test_what_is_no_tables_json(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tables.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"is not Spider's tables.json"):
        load_schemas(path)


def test_a_missing_file_and_an_unknown_database(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        load_schemas(tmp_path / "tables.json")
    (tmp_path / "tables.json").write_text(json.dumps([ENTRY]))
    rows = [{"db_id": name, "question": "q", "query": "a"} for name in ("shop", "shopp")]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match=r"row 2: data\.schemas has no database 'shopp'"):
        load_rows(DataSettings(source=str(tmp_path)), "text_to_sql")


def test_every_schema_is_built_and_every_gold_query_compiles(shared_data: Path) -> None:
    spider = shared_data / "spider"
    schemas = load_schemas(spider / "tables.json")
    assert len(schemas) == 166
    databases = {}
    for name, schema in schemas.items():
        databases[name] = sqlite3.connect(":memory:")
        databases[name].executescript(schema)
    dev = load_rows(DataSettings(source=str(spider), split="dev"), "text_to_sql")
    for row in dev.rows:
        databases[row["db_id"]].execute(f"EXPLAIN {row['sql']}")
