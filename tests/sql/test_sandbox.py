"""What a query gets from the sandbox, what becomes of broken contexts and files, and of workers."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kerasft.sql.sandbox import GRACE_SECONDS, BadText, Sandbox
from tests.sql.attacks import CONTEXT, ROWS
from tests.sql.attacks_sqlite import ENDLESS, HANG

SECONDS = 0.4


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def files_of(sandbox: Sandbox) -> list[str]:
    return os.listdir(sandbox._folder.name)


def assert_unharmed(sandbox: Sandbox) -> None:
    """The worker's folder is empty and the next query sees what it should."""
    assert files_of(sandbox) == []
    outcome = sandbox.run("SELECT id, name, age FROM singer ORDER BY id", context=CONTEXT)
    assert outcome.rows == ROWS


def test_a_step_that_never_looks_at_the_clock_is_killed(sandbox: Sandbox) -> None:
    sandbox.run("SELECT 1")
    before = sandbox._process.pid
    outcome = sandbox.run(f"SELECT {HANG}", seconds=SECONDS)
    assert outcome.status == "timeout"
    # The wait is rounded to the clock of the system's poll: 1 ms less was seen.
    waited = outcome.seconds - SECONDS - GRACE_SECONDS
    assert -0.02 < waited < 1.0
    assert sandbox.run("SELECT 1").status == "ok"
    assert sandbox._process.pid != before


def test_a_worker_that_dies_is_replaced(sandbox: Sandbox) -> None:
    sandbox.run("SELECT 1")
    os.kill(sandbox._process.pid, signal.SIGSTOP)  # so that the query is there when it dies
    pid = sandbox._process.pid
    threading.Timer(0.1, os.kill, (pid, signal.SIGKILL)).start()
    outcome = sandbox.run("SELECT 1", context=CONTEXT)
    assert outcome.status == "context_error"  # it had not come to the query
    assert sandbox.run("SELECT 1").rows == ((1,),)


def test_an_interrupted_query_leaves_no_answer_behind(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    sandbox.run("SELECT 1")
    with monkeypatch.context() as patch:
        patch.setattr("kerasft.sql.worker_process.WorkerProcess.receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sandbox.run("SELECT 'the interrupted one'")
    assert sandbox.run("SELECT 'the next one'").rows == (("the next one",),)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_the_worker_gets_no_secrets_and_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary-in-the-environment")
    with Sandbox() as sandbox:
        process = Path(f"/proc/{sandbox._process.pid}")
        assert b"canary" not in (process / "environ").read_bytes()
        assert len(list((process / "fd").iterdir())) == 3
        limits = (process / "limits").read_text()
        assert "Max file size             0                    0" in limits


def test_close_leaves_no_process_and_no_folder() -> None:
    with Sandbox() as sandbox:
        pid, folder = sandbox._process.pid, sandbox._folder.name
        assert os.path.isdir(folder)
    assert not os.path.exists(folder)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_values_come_back_without_loss(sandbox: Sandbox) -> None:
    sql = (
        "SELECT NULL, 9223372036854775807, -9223372036854775808, 0.1, 9e999, -9e999, 1.0, 'é\n\"', "
        "'', x'00ff', x'', CAST(x'ff41' AS TEXT), '1', 1"
    )
    (row,) = sandbox.run(sql).rows
    expected = (
        None,
        2**63 - 1,
        -(2**63),
        0.1,
        float("inf"),
        float("-inf"),
        1.0,
        'é\n"',
        "",
        b"\x00\xff",
        b"",
        BadText(b"\xffA"),
        "1",
        1,
    )
    assert row == expected
    assert [type(value) for value in row] == [type(value) for value in expected]
    assert str(row[11]) == "\ufffdA"


@pytest.mark.parametrize(
    ("sql", "status"),
    [
        ("", "no_sql"),
        ("  -- only a comment\n/* and one more */ ", "no_sql"),
        (";", "no_sql"),
        ("SELEC 1", "invalid_sql"),
        ("SELECT missing FROM singer", "invalid_sql"),
        ("SELECT * FROM missing", "invalid_sql"),
        ("SELECT 'a\0b'", "invalid_sql"),
        ("SELECT '\ud800'", "invalid_sql"),
        ("SELECT abs(-9223372036854775808)", "invalid_sql"),
        ("SELECT name FROM singer;", "ok"),
        ("SELECT name FROM singer; -- done", "ok"),
        ("VALUES (1), (2)", "ok"),
        ("WITH c AS (SELECT 1 FROM singer) SELECT count(*) FROM c", "ok"),
        (
            "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c LIMIT 9) SELECT * FROM c",
            "ok",
        ),
        ("SELECT rank() OVER (ORDER BY age) FROM singer", "ok"),
        ("SELECT value FROM json_each('[1, 2]')", "ok"),
        ("SELECT '{\"a\": 1}' ->> 'a', strftime('%Y', '2020-01-01')", "ok"),
        ("SELECT name FROM sqlite_master", "ok"),
        ("EXPLAIN QUERY PLAN SELECT * FROM singer", "ok"),
        ("SELECT * FROM singer WHERE name LIKE 'a%' AND name GLOB 'A*'", "ok"),
    ],
)
def test_status(sandbox: Sandbox, sql: str, status: str) -> None:
    assert sandbox.run(sql, context=CONTEXT).status == status


def test_one_row_more_than_allowed_is_cut_and_said(sandbox: Sandbox) -> None:
    assert sandbox.run("SELECT id FROM singer", context=CONTEXT, max_rows=3).status == "ok"
    outcome = sandbox.run("SELECT id FROM singer", context=CONTEXT, max_rows=2)
    assert (outcome.status, len(outcome.rows), outcome.truncated) == ("too_many_rows", 2, True)


def test_a_context_may_do_what_dumps_do(sandbox: Sandbox) -> None:
    context = """
        PRAGMA foreign_keys=OFF;
        BEGIN TRANSACTION;
        CREATE TABLE t (a INT, b TEXT);
        CREATE UNIQUE INDEX ta ON t (a);
        ALTER TABLE t ADD COLUMN c INT;
        ALTER TABLE t RENAME COLUMN b TO name;
        INSERT INTO t VALUES (1, 'x;y', 2);
        UPDATE t SET c = c + 1;
        CREATE VIEW v AS SELECT a + c AS total FROM t;
        COMMIT;
        ANALYZE;
    """
    assert sandbox.run("SELECT total FROM v", context=context).rows == ((4,),)


@pytest.mark.parametrize(
    "context",
    [
        "CREATE SCHEMA x",
        "CREATE TABLE t (a); INSERT INTO t VALUES (1, 2)",
        "ATTACH 'x.db' AS x",
        "VACUUM INTO 'x.db'",
        "PRAGMA hard_heap_limit = 0",
        "CREATE VIRTUAL TABLE t USING fts5(a)",
        "CREATE TABLE t AS SELECT load_extension('x')",
        f"CREATE TABLE t AS {ENDLESS} SELECT x FROM c",
        f"CREATE TABLE t AS SELECT {HANG} AS a",
    ],
)
def test_a_context_that_fails_is_not_the_query_s_fault(sandbox: Sandbox, context: str) -> None:
    outcome = sandbox.run("SELECT 1", context=context, seconds=SECONDS)
    assert outcome.status == "context_error"
    assert outcome.message
    assert_unharmed(sandbox)


def test_contexts_beyond_the_cache_are_built_again(sandbox: Sandbox) -> None:
    # 12 databases of about 5 MB: more than the worker keeps
    contexts = [
        f"CREATE TABLE t (a); {ENDLESS.replace('FROM c', 'FROM c LIMIT 5000')} "
        f"INSERT INTO t SELECT printf('%.*c', 1000, 'x') || {number} FROM c"
        for number in range(12)
    ]
    for context in [*contexts, contexts[0]]:
        outcome = sandbox.run("SELECT count(*), max(a) FROM t", context=context, seconds=10)
        assert outcome.rows[0][0] == 5000, outcome
        assert context.startswith("CREATE") and outcome.rows[0][1].strip("x") in context


def test_wrong_use_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not on both"):
        sandbox.run("SELECT 1", context="", database=tmp_path / "a.db")
    with pytest.raises(ValueError, match="positive"):
        sandbox.run("SELECT 1", seconds=0)


# Files


def make_database(path: Path, rows: int = 3) -> Path:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (a INT, b TEXT)")
    connection.executemany("INSERT INTO t VALUES (?, ?)", [(i, "x" * 500) for i in range(rows)])
    connection.execute("INSERT INTO t VALUES (-1, CAST(x'ff41' AS TEXT))")
    connection.commit()
    connection.close()
    return path


@pytest.mark.parametrize(
    "name", ["plain.db", "a?b#c%d e.db", "naïve ñ.sqlite", "%41.db", "a&b=c.db"]
)
def test_the_right_file_is_opened(sandbox: Sandbox, tmp_path: Path, name: str) -> None:
    path = make_database(tmp_path / name)
    before = path.read_bytes()
    assert sandbox.run("SELECT count(*) FROM t", database=path).rows == ((4,),)
    text = sandbox.run("SELECT b FROM t WHERE a = -1", database=path)
    assert text.rows == ((BadText(b"\xffA"),),)
    for sql in ("DELETE FROM t", "ATTACH 'x' AS y", "CREATE TEMP TABLE x (a)", "VACUUM INTO 'x'"):
        assert sandbox.run(sql, database=path).status == "refused"
    assert os.listdir(tmp_path) == [name]
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_a_context_error(sandbox: Sandbox, tmp_path: Path) -> None:
    whole = make_database(tmp_path / "whole.db", rows=200).read_bytes()
    contents = {
        "empty.db": b"",
        "text.db": b"id,name\n1,Ann\n" * 20,
        "header.db": whole[:50],
        "half.db": whole[: len(whole) // 2],
    }
    messages = {}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        outcome = sandbox.run("SELECT * FROM t", database=tmp_path / name)
        assert outcome.status == "context_error", (name, outcome)
        messages[name] = outcome.message
    assert "empty" in messages["empty.db"]
    assert "not an SQLite database" in messages["text.db"]
    assert "damaged" in messages["half.db"]
    missing = sandbox.run("SELECT 1", database=tmp_path / "missing.db")
    assert missing.status == "context_error"
    assert "does not exist" in missing.message
    assert not (tmp_path / "missing.db").exists()
    assert sandbox.run("SELECT 1", database=tmp_path).status == "context_error"


def log_files(source: Path, target: Path) -> Path:
    """A copy of a database and its log, as a killed writer leaves them."""
    target.parent.mkdir(exist_ok=True)
    for end in ("", "-wal", "-journal"):
        if Path(f"{source}{end}").exists():
            Path(f"{target}{end}").write_bytes(Path(f"{source}{end}").read_bytes())
    return target


def test_rows_in_a_write_ahead_log_are_read(tmp_path: Path) -> None:
    source = tmp_path / "live.db"
    writer = sqlite3.connect(source)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    writer.executescript("CREATE TABLE t (a); INSERT INTO t VALUES (1), (2);")
    writer.execute("INSERT INTO t VALUES (3)")
    writer.commit()
    count = "SELECT count(*) FROM t"
    with Sandbox() as sandbox:
        assert sandbox.run(count, database=source).rows == ((3,),)
        left = log_files(source, tmp_path / "left" / "a?b#.db")
        before = {path.name: path.read_bytes() for path in left.parent.iterdir()}
        assert sandbox.run(count, database=left).rows == ((3,),)
        copies = Path(sandbox._copies.name)
        # The copy is made once for the file as it is, and again when it changed.
        assert sandbox.run(count, database=left).rows == ((3,),)
        assert len(list(copies.iterdir())) == 1
        assert {path.name: path.read_bytes() for path in left.parent.iterdir()} == before
        writer.execute("INSERT INTO t VALUES (4)")
        writer.commit()
        log_files(source, left)
        assert sandbox.run(count, database=left).rows == ((4,),)
        for sql in ("DELETE FROM t", "VACUUM INTO 'x'"):
            assert sandbox.run(sql, database=left).status == "refused"
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        writer.close()
        assert not Path(f"{source}-wal").exists()
        assert sandbox.run(count, database=source).rows == ((4,),)
    assert not copies.exists()
    assert sorted(os.listdir(tmp_path)) == ["left", "live.db"]


def test_a_transaction_that_a_killed_writer_left_is_rolled_back(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    source = make_database(tmp_path / "live.db", rows=500)
    writer = sqlite3.connect(source)
    writer.execute("PRAGMA cache_size = 1")  # so that changed pages come to the file early
    writer.execute("UPDATE t SET b = b || 'changed'")
    left = log_files(source, tmp_path / "left" / "live.db")
    writer.close()
    assert Path(f"{left}-journal").stat().st_size > 0
    outcome = sandbox.run("SELECT count(*), sum(b LIKE '%changed') FROM t", database=left)
    assert outcome.rows == ((501, 0),), outcome


def test_a_broken_log_is_said(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    path.write_bytes(path.read_bytes()[:-100])
    Path(f"{path}-wal").write_bytes(b"nonsense" * 100)
    outcome = sandbox.run("SELECT * FROM t", database=path)
    assert outcome.status == "context_error"
    assert "write-ahead log" in outcome.message or "damaged" in outcome.message


def test_a_locked_file_is_said_and_does_not_hang(sandbox: Sandbox, tmp_path: Path) -> None:
    path = make_database(tmp_path / "locked.db")
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    outcome = sandbox.run("SELECT * FROM t", database=path)
    writer.close()
    assert (outcome.status, "locked" in outcome.message) == ("context_error", True)


def test_the_worker_ends_with_its_parent(tmp_path: Path) -> None:
    program = (
        "import os\n"
        "from kerasft.sql.sandbox import Sandbox\n"
        "sandbox = Sandbox().__enter__()\n"
        "print(sandbox._process.pid, flush=True)\n"
        "os._exit(1)\n"
    )
    parent = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    worker = int(parent.stdout)
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("the worker outlived its parent by five seconds")
