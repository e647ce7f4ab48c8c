"""Each row gets its database, nothing runs twice, and workers end with their owner."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from kerasft.sql.sandbox import Sandbox
from kerasft.tasks.row_databases import Databases


def test_the_same_sql_runs_once_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, bool]] = []
    run = Sandbox.run

    def counted(self: Sandbox, sql: str, **options: Any) -> Any:
        ran.append((sql, options.get("writes", False)))
        return run(self, sql, **options)

    with Databases() as databases:
        database = databases.of({"context": "CREATE TABLE t (a);"})
        monkeypatch.setattr(Sandbox, "run", counted)
        for _ in range(2):
            assert database.run("SELECT count(*) FROM t").rows == ((0,),)
            written = database.run("INSERT INTO t VALUES (1)", writes=True)
            assert written.state[0].rows == ((1,),)
    assert ran == [("SELECT count(*) FROM t", False), ("INSERT INTO t VALUES (1)", True)]


def test_tables_are_those_of_the_file_or_of_the_context(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE Song (Id INT, Title TEXT)")
    with Databases() as databases:
        file = databases.of({"context": "CREATE TABLE t (a);", "database": str(path)})
        built = databases.of({"context": "CREATE TABLE T (A INT AUTO_INCREMENT PRIMARY KEY);"})
        broken = databases.of({"context": "CREATE TABLE t (a, a);"})
        gone = databases.of({"context": "", "database": str(tmp_path)})
        assert file.tables() == {"song": {"id", "title"}}
        assert built.tables() == {"t": {"a"}}
        assert broken.tables() is None and gone.tables() is None
        assert broken.run("SELECT 1").status == gone.run("SELECT 1").status == "context_error"
        assert "is a folder" in gone.run("SELECT 1").message


def test_a_worker_an_engine_and_none_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Sandbox] = []
    closed: list[Sandbox] = []
    enter, close = Sandbox.__enter__, Sandbox.close
    monkeypatch.setattr(Sandbox, "__enter__", lambda self: (started.append(self), enter(self))[1])
    monkeypatch.setattr(Sandbox, "close", lambda self: (closed.append(self), close(self))[1])
    with Databases() as databases:
        assert not started
        for _ in range(3):
            databases.of({"context": ""}).run("SELECT 1")
        assert len(started) == 1 and not closed
    assert closed == started
