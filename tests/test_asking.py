"""From a question to rows: what is in the prompt, what runs, and what is tried again."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from kerasft.asking import LONGEST_SAMPLE, Asker, ask
from kerasft.errors import DataError, KerasftError, SqlError
from kerasft.models import shipped
from kerasft.sql_writer import ModelWriter, open_writer, trained_length
from tests.asking import CannedWriter, shop

QUESTION = "Which customers are there?"


@pytest.fixture
def database(tmp_path):
    return shop(tmp_path / "a shop#1?.db")


def asked(database, *texts: str, **settings):
    writer = CannedWriter({QUESTION: texts}, settings.pop("max_prompt_tokens", 1000))
    heard = []
    with Asker(database, writer, **settings) as asker:
        answer = asker.ask(QUESTION, heard.append)
    assert "".join(heard) == texts[0]
    return answer, writer


def test_rows_of_the_sql_that_the_model_wrote(database):
    answer, writer = asked(database, "```sql\nSELECT name FROM customer ORDER BY id;\n```")
    assert answer.ok and answer.sql == "SELECT name FROM customer ORDER BY id;"
    assert (answer.columns, answer.rows) == (("name",), (("Ada",), ("Bo",), ("Cy",)))
    assert not answer.truncated and answer.tables_left_out == () and answer.retried == 0
    assert 0 < answer.seconds < 60
    assert writer.contexts[0].splitlines() == [
        "CREATE TABLE customer (id INTEGER, name TEXT, city TEXT, PRIMARY KEY (id));",
        "CREATE TABLE orders (id INTEGER, customer INTEGER, placed DATE, total REAL, "
        "PRIMARY KEY (id), FOREIGN KEY (customer) REFERENCES customer(id));",
        "CREATE TABLE odd (a TEXT, b BLOB);",
    ]


def test_rows_are_capped_and_said_so(database):
    answer, _ = asked(database, "SELECT * FROM customer", limit=2)
    assert answer.ok and answer.truncated and len(answer.rows) == 2


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM customer",
        "DROP TABLE customer",
        "ATTACH 'x.db' AS x",
        "VACUUM INTO 'copy.db'",
        "WITH x AS (SELECT 1) INSERT INTO odd SELECT 'a', 'b'",
        "PRAGMA writable_schema = 1",
    ],
)
def test_nothing_is_written(database, sql):
    before = database.read_bytes(), sorted(database.parent.iterdir())
    answer, _ = asked(database, sql)
    assert answer.status == "refused" and not answer.ok and answer.rows == ()
    assert (database.read_bytes(), sorted(database.parent.iterdir())) == before


def test_a_query_that_runs_on_is_stopped(database):
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    answer, writer = asked(database, endless, seconds=0.2, retry=3)
    assert answer.status == "timeout" and answer.seconds < 30
    assert writer.widths == []  # another candidate would take as long


def test_the_next_candidates_of_the_beam(database):
    good = "SELECT count(*) FROM customer"
    wrong = ("SELECT nme FROM customer", "SELECT  NME from customer;", "no SQL at all")
    answer, writer = asked(database, *wrong, good, retry=4)
    assert answer.ok and answer.sql == good and answer.rows == ((3,),)
    assert writer.widths == [4]
    assert answer.retried == 2  # the second says the same as the first

    answer, writer = asked(database, *wrong, good)
    assert answer.status == "invalid_sql" and "nme" in answer.message
    assert (answer.sql, answer.retried, writer.widths) == (wrong[0], 0, [])


def test_where_no_candidate_runs_the_first_error_is_told(database):
    answer, _ = asked(database, "SELECT a FROM nowhere", "I do not know", retry=2)
    assert answer.sql == "SELECT a FROM nowhere" and "nowhere" in answer.message
    assert answer.retried == 1


def test_an_answer_without_sql(database):
    answer, _ = asked(database, "I do not know.")
    assert (answer.status, answer.sql) == ("no_sql", "I do not know.")
    assert "I do not know" in answer.message


def test_a_schema_that_is_too_long_is_cut_to_the_question(database):
    answer, writer = asked(database, "SELECT 1", max_prompt_tokens=20)
    assert answer.tables_left_out == ("orders", "odd")
    assert writer.contexts[0].startswith("CREATE TABLE customer")
    with pytest.raises(DataError, match="--max-prompt-tokens"):
        asked(database, "SELECT 1", max_prompt_tokens=5)


def test_values_of_the_question_say_which_tables(database):
    writer = CannedWriter({"How many in oslo?": ["SELECT 1"]}, 20)
    with sqlite3.connect(database) as changed:
        changed.execute("CREATE TABLE aaa (b TEXT, c TEXT, d TEXT, e TEXT, f TEXT)")
    with Asker(database, writer) as asker:
        asker.ask("How many in oslo?")
    assert writer.contexts[0].startswith("CREATE TABLE customer")


def test_sample_values_are_the_frequent_short_ones(database):
    with sqlite3.connect(database) as changed:
        changed.execute("INSERT INTO customer VALUES (4, ?, 'Rome')", ["x" * (LONGEST_SAMPLE + 1)])
    _, writer = asked(database, "SELECT 1", samples=2)
    lines = writer.contexts[0].splitlines()
    assert lines[1:3] == ["-- customer.name: 'Ada', 'Bo'", "-- customer.city: 'Oslo', 'Rome'"]


def test_values_of_duckdbs_enums_beside_lists_of_texts_in_a_schema_of_their_own(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "shop.duckdb"
    with closing(duckdb.connect(str(path))) as built:
        built.execute("CREATE TYPE mood AS ENUM ('sad', 'happy')")
        built.execute("CREATE TABLE aaa (x TEXT, y TEXT, z TEXT)")
        built.execute("CREATE SCHEMA inn")
        built.execute("CREATE TABLE inn.guest (felt mood, names VARCHAR[])")
        built.execute("INSERT INTO inn.guest VALUES ('happy', ['a']), ('happy', ['b'])")
    writer = CannedWriter({"Who is happy?": ["SELECT 1"]}, 14)
    with Asker(path, writer, samples=1) as asker:
        assert "guest.felt: 'happy'" in asker.describe()
        assert asker.ask("Who is happy?").tables_left_out == ("aaa",)


def test_the_plan(database):
    with Asker(database, CannedWriter({})) as asker:
        plan = asker.explain("SELECT * FROM customer WHERE id = 1")
    assert plan.status == "ok" and "customer" in str(plan.rows)


@pytest.mark.parametrize("content", [None, b"", b"not a database at all", "folder"])
def test_what_is_no_database_is_told_before_a_model_is_loaded(tmp_path, content):
    path = tmp_path / "x.db"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(SqlError):
        ask("How many?", path, model="no such model")
    assert path.exists() == (content is not None)


def test_a_database_without_tables(tmp_path):
    path = tmp_path / "x.db"
    with sqlite3.connect(path) as built:
        built.execute("CREATE TABLE a (b)")
        built.execute("DROP TABLE a")
    with pytest.raises(SqlError, match="no tables"):
        Asker(path, CannedWriter({}))


def test_duckdb(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "x.duckdb"
    with duckdb.connect(str(path)) as built:
        built.execute("CREATE TABLE customer (id INTEGER PRIMARY KEY, name VARCHAR, born DATE)")
        built.execute("CREATE TABLE aaa (b VARCHAR, c VARCHAR, d VARCHAR, e VARCHAR)")
        built.execute("INSERT INTO customer VALUES (1, 'Ada', '1815-12-10')")
    sql = "SELECT name, born FROM customer"
    answer, writer = asked(path, sql, max_prompt_tokens=22, samples=1)
    assert answer.rows == (("Ada", "1815-12-10"),)
    assert answer.tables_left_out == ("aaa",)
    assert writer.contexts[0].splitlines()[1] == "-- customer.name: 'Ada'"
    assert asked(path, "DROP TABLE customer")[0].status == "refused"
    with Asker(path, CannedWriter({})) as asker:
        assert asker.explain(sql).status == "ok"


def test_the_shipped_adapter_is_found_where_it_lies(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "_PLACES", (tmp_path / "wheel", tmp_path / "checkout"))
    with pytest.raises(KerasftError, match="give --model RUN"):
        shipped.shipped_adapter()
    for place in ("checkout", "wheel"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "adapter.json").write_text("{}")
        assert shipped.shipped_adapter() == tmp_path / place


def test_a_bare_model_needs_a_recipe(tmp_path):
    with pytest.raises(KerasftError, match="give --recipe"):
        open_writer(str(tmp_path))


@pytest.mark.keras
@pytest.mark.once
def test_a_model_writes_in_its_own_template(tiny_run, database, tmp_path, backend):
    """Of a run, of its adapter's folder, and of the model that is loaded already."""
    run = tiny_run.result.run.path
    alone = tmp_path / "ask"
    shutil.copytree(run / "adapter", alone)
    assert trained_length(alone) is None
    shutil.copy(run / "recipe.toml", alone)
    length = trained_length(run)
    assert length == trained_length(run / "adapter") == trained_length(alone) == 64

    writers = [open_writer(model, backend=backend, max_new_tokens=5) for model in (run, str(alone))]
    assert {writer.max_prompt_tokens for writer in writers} == {length}
    context = "CREATE TABLE a (b TEXT);\n-- a.b: 'x'"
    tokens = writers[0].prompt_tokens("Say river", context)
    assert tokens > writers[0].prompt_tokens("Say river", "CREATE TABLE a (b TEXT);")
    streamed = ["".join(writer.stream("Say river", context)).strip() for writer in writers]
    assert streamed[0] == streamed[1] != ""
    found = writers[0].candidates("Say river", context, 3)
    assert len(found) == 3 and len(set(found)) == 3

    answer = ask("Say river", database, model=run, backend=backend, max_prompt_tokens=500)
    assert answer.question == "Say river" and answer.status != "context_error"


@pytest.mark.keras
def test_a_loaded_model_stays_as_it_is(tiny_run, backend):
    import kerasft

    model = kerasft.load(tiny_run.result.run.path, backend=backend)
    template = model.template
    writer = open_writer(model)
    assert isinstance(writer, ModelWriter) and writer.max_prompt_tokens == 1024
    assert model.template is template
