"""Schemas as text for a prompt: what is written, and that it builds the same schema again."""

import sqlite3

import pytest

from kerasft.data.schema import schema_only
from kerasft.data.spider import schema_of
from kerasft.sql.describe import create_statements
from kerasft.sql.names import quoted, table_reference
from kerasft.sql.sandbox import Sandbox
from kerasft.sql.schema import Column, ForeignKey, Schema, Table

ARTIST = Table(
    name="Artist",
    kind="table",
    columns=(Column("ArtistId", "INTEGER", True, 1), Column("Name", "NVARCHAR ( 120 )", False, 0)),
    foreign_keys=(),
    sql=None,
)
ALBUM = Table(
    name="Album",
    kind="table",
    columns=(Column("AlbumId", "INTEGER", True, 1), Column("Artist", "INTEGER", True, 0)),
    foreign_keys=(ForeignKey(("Artist",), "artist", ("ArtistId",)),),
    sql=None,
)
PRICE = Table(
    name="price list",
    kind="view",
    columns=(Column("order", "", False, 2), Column('a"b', "DECIMAL(10,2)", False, 1)),
    foreign_keys=(),
    sql="CREATE VIEW …",
)
SCHEMA = Schema("sqlite", (ARTIST, ALBUM, PRICE))
TEXT = (
    "CREATE TABLE Artist (ArtistId INTEGER, Name NVARCHAR(120), PRIMARY KEY (ArtistId));\n"
    "CREATE TABLE Album (AlbumId INTEGER, Artist INTEGER, PRIMARY KEY (AlbumId), "
    "FOREIGN KEY (Artist) REFERENCES artist(ArtistId));\n"
    'CREATE TABLE "price list" ("order", "a""b" DECIMAL(10, 2), PRIMARY KEY ("a""b", "order"));'
)


def test_one_table_a_line_with_types_and_keys():
    assert create_statements(SCHEMA) == TEXT


def test_the_text_is_sql_that_builds_the_tables():
    with sqlite3.connect(":memory:") as built:
        built.executescript(create_statements(SCHEMA))
        columns = built.execute("""SELECT name, pk FROM pragma_table_info('price list')""")
        assert columns.fetchall() == [("order", 2), ('a"b', 1)]


def test_it_is_written_as_spiders_schemas_are():
    entry = {
        "table_names_original": ["artist", "album"],
        "column_names_original": [[-1, "*"], [0, "id"], [0, "first name"], [1, "id"], [1, "a"]],
        "column_types": ["text", "number", "text", "number", "number"],
        "primary_keys": [1, 3],
        "foreign_keys": [[4, 1]],
    }
    number = "NUMERIC"
    schema = Schema(
        "sqlite",
        (
            Table(
                "artist",
                "table",
                (Column("id", number, False, 1), Column("first name", "TEXT", False, 0)),
                (),
                None,
            ),
            Table(
                "album",
                "table",
                (Column("id", number, False, 1), Column("a", number, False, 0)),
                (ForeignKey(("a",), "artist", ("id",)),),
                None,
            ),
        ),
    )
    assert create_statements(schema) == schema_of(entry)


def test_only_the_tables_asked_for_and_the_keys_between_them():
    assert create_statements(SCHEMA, tables=["Album"]) == (
        "CREATE TABLE Album (AlbumId INTEGER, Artist INTEGER, PRIMARY KEY (AlbumId));"
    )
    assert "FOREIGN KEY" in create_statements(SCHEMA, tables=["Artist", "Album"])


def test_samples_are_comments_that_a_schema_context_leaves_out():
    samples = {"Artist": {"Name": ["AC/DC", "O'Neil\n--x"], "ArtistId": []}, "Nowhere": {"a": [1]}}
    text = create_statements(SCHEMA, samples=samples)
    assert text.splitlines()[1] == "-- Artist.Name: 'AC/DC', 'O''Neil --x'"
    assert len(text.splitlines()) == len(TEXT.splitlines()) + 1
    assert schema_only(text) == TEXT


def test_a_schema_context_leaves_the_text_as_it_is():
    assert schema_only(TEXT) == TEXT


@pytest.mark.parametrize(
    ("declared", "written"),
    [
        ("x); DROP TABLE y; --", ""),
        ("TEXT) (", ""),
        ("TEXT; x", ""),
        ("STRUCT(a INTEGER,  b VARCHAR)[]", " STRUCT(a INTEGER, b VARCHAR)[]"),
        ("double\n precision", " double precision"),
        ("ENUM('a', 'b')", " ENUM('a', 'b')"),
    ],
)
def test_a_type_that_is_none_is_left_out(declared, written):
    table = Table("t", "table", (Column("a", declared, False, 0),), (), None)
    assert create_statements(Schema("duckdb", (table,))) == f"CREATE TABLE t (a{written});"


def test_a_key_without_named_columns_refers_to_the_table_alone():
    table = Table("t", "table", (Column("a", "", False, 0),), (ForeignKey(("a",), "t", ()),), None)
    text = create_statements(Schema("sqlite", (table,)))
    assert text == "CREATE TABLE t (a, FOREIGN KEY (a) REFERENCES t);"


def test_tables_of_other_schemas_are_written_in_two_parts():
    pytest.importorskip("duckdb")
    script = (
        "CREATE TABLE plain (id INTEGER, PRIMARY KEY (id));\n"
        'CREATE TABLE "a.b" (id INTEGER);\n'
        "CREATE TABLE s.u (id INTEGER, PRIMARY KEY (id));\n"
        'CREATE TABLE s."order" (u INTEGER, FOREIGN KEY (u) REFERENCES s.u(id));'
    )
    with Sandbox("duckdb") as sandbox:
        schema = sandbox.schema(context="CREATE SCHEMA s;" + script)
        assert create_statements(schema) == script
        assert [table.schema for table in schema.tables] == ["", "", "s", "s"]
        for table in schema.tables:
            query = f"SELECT * FROM {table_reference(table, 'duckdb')}"
            assert sandbox.run(query, context="CREATE SCHEMA s;" + script).status == "ok"
    assert "REFERENCES" not in create_statements(schema, tables=["s.order"])


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_every_bare_name_is_a_name_to_the_engine(engine):
    """The engines' own word lists: what `quoted` leaves bare can be a table and a column."""
    if engine == "duckdb":
        duckdb = pytest.importorskip("duckdb")
        connection = duckdb.connect()
        rows = connection.execute("SELECT keyword_name FROM duckdb_keywords()").fetchall()
        words = [row[0] for row in rows]
    else:
        connection = sqlite3.connect(":memory:")
        words = SQLITE_WORDS.split()
    assert len(words) > 100
    for word in words:
        name = quoted(word, engine)
        connection.execute(f"CREATE TABLE {name} ({name} INTEGER)")
        connection.execute(f"SELECT {name}, t.{name} FROM {name} AS t ORDER BY {name}")
        connection.execute(f"SELECT max(t.{name}) FROM {name} JOIN {name} AS t ON t.{name} = 1")
        connection.execute(f"DROP TABLE {name}")


# Every word of https://sqlite.org/lang_keywords.html.
SQLITE_WORDS = """
ABORT ACTION ADD AFTER ALL ALTER ALWAYS ANALYZE AND AS ASC ATTACH AUTOINCREMENT BEFORE BEGIN
BETWEEN BY CASCADE CASE CAST CHECK COLLATE COLUMN COMMIT CONFLICT CONSTRAINT CREATE CROSS CURRENT
CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP DATABASE DEFAULT DEFERRABLE DEFERRED DELETE DESC
DETACH DISTINCT DO DROP EACH ELSE END ESCAPE EXCEPT EXCLUDE EXCLUSIVE EXISTS EXPLAIN FAIL FILTER
FIRST FOLLOWING FOR FOREIGN FROM FULL GENERATED GLOB GROUP GROUPS HAVING IF IGNORE IMMEDIATE IN
INDEX INDEXED INITIALLY INNER INSERT INSTEAD INTERSECT INTO IS ISNULL JOIN KEY LAST LEFT LIKE
LIMIT MATCH MATERIALIZED NATURAL NO NOT NOTHING NOTNULL NULL NULLS OF OFFSET ON OR ORDER OTHERS
OUTER OVER PARTITION PLAN PRAGMA PRECEDING PRIMARY QUERY RAISE RANGE RECURSIVE REFERENCES REGEXP
REINDEX RELEASE RENAME REPLACE RESTRICT RETURNING RIGHT ROLLBACK ROW ROWS SAVEPOINT SELECT SET
TABLE TEMP TEMPORARY THEN TIES TO TRANSACTION TRIGGER UNBOUNDED UNION UNIQUE UPDATE USING VACUUM
VALUES VIEW VIRTUAL WHEN WHERE WINDOW WITH WITHOUT
"""
