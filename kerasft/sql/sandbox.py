"""Running SQL that a model wrote, in a process that is killed when it takes too long.

A `Sandbox` keeps one warm worker (`worker/`) and gives each query a fresh database: a copy in
memory of what a context script builds, or a file opened for reading only. The worker has an
empty environment, an empty folder and no right to write a file; SQL may read and nothing else
(an allow-list stands in SQLite's authorizer, DuckDB's configuration is locked); time, memory,
rows and bytes are limited; what does not end by itself is killed and replaced.

What this covers, what it does not, and what it costs is in docs/sandbox.md. In short: it is
a wall around SQL, not around a flaw in the engine that runs code. Who runs SQL or opens files
of unknown people should put a container or a virtual machine around it all.
"""

import base64
import os
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kerasft.errors import SqlError
from kerasft.sql.engine import Engine
from kerasft.sql.schema import (
    BadText,
    Cell,
    Column,
    ForeignKey,
    Row,
    Schema,
    Table,
    TableState,
)
from kerasft.sql.worker_process import (
    CPU_TIME_SPENT,
    PYTHON,
    WORKER,
    Deadline,
    WorkerGone,
    WorkerProcess,
    require_engine,
    worker_environment,
)

Status = Literal[
    "ok",
    "invalid_sql",
    "refused",
    "timeout",
    "memory",
    "too_many_rows",
    "context_error",
    "no_sql",
    "worker_died",
]
GRACE_SECONDS = 0.25  # between the worker's own deadline and the kill
RECOVERY_SECONDS = 120.0  # to copy a database with its log


@dataclass(frozen=True)
class Outcome:
    """What became of one query or script.

    Attributes:
        status: `ok`; `too_many_rows` (the first ones are in `rows` or `state`); `invalid_sql`
            (the engine refused to compile it or it failed while running); `refused` (a
            statement, function or table that is not allowed, or more than one statement);
            `timeout`; `memory` (a value, the heap or the process reached its limit); `no_sql`
            (nothing but space and comments); `context_error` (the database could not be had,
            which is never the query's fault); `worker_died`.
        columns: names as the engine gives them.
        rows: tuples as long as `columns`. SQLite's values come as they are. DuckDB's integers of
            any width come as int, BOOLEAN as 1 or 0, FLOAT and DOUBLE as float, DECIMAL as int
            where it has no fraction digits and else as the nearest float, BLOB as bytes, and
            everything else (dates, times, intervals, UUID, lists, structs, …) as the text that
            DuckDB's own cast to VARCHAR gives, in UTC.
        truncated: there were more rows than `rows` holds.
        message: why the status is not `ok`.
        seconds: wall time of the query alone, without the building of its context.
        state: the tables and views after a script that was run with `writes`, by name.
    """

    status: Status
    columns: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    truncated: bool = False
    message: str = ""
    seconds: float = 0.0
    state: tuple[TableState, ...] = ()


class Sandbox:
    """A warm worker process that runs one query at a time.

    Use it as a context manager. Calls from several threads wait for each other; for queries
    side by side take several sandboxes.

    Args:
        engine: whose SQL it runs and whose files it opens (`kerasft.sql.engine.engine_of`).

    Raises:
        SqlError: the engine is DuckDB and its package is not installed.
    """

    def __init__(self, engine: Engine = "sqlite") -> None:
        require_engine(engine)
        self.engine: Engine = engine
        self._lock = threading.Lock()
        self._process: WorkerProcess | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._copies: tempfile.TemporaryDirectory[str] | None = None
        self._copied: dict[tuple, str] = {}  # a file and its log as they were -> the copy

    def __enter__(self) -> "Sandbox":
        with self._lock:
            self._worker()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker and remove its folder. A later `run` would start a new one."""
        with self._lock:
            self._end_worker()
            for folder in (self._folder, self._copies):
                if folder is not None:
                    folder.cleanup()
            self._folder = self._copies = None
            self._copied.clear()

    def run(
        self,
        sql: str,
        *,
        context: str | None = None,
        database: str | Path | None = None,
        seconds: float = 5.0,
        max_rows: int = 10_000,
        writes: bool = False,
        explain: bool = False,
    ) -> Outcome:
        """Run one reading statement, or a writing script, on a fresh database.

        Args:
            sql: one statement of the engine's SQL; with `writes`, one or more.
            context: script that builds the database (CREATE, INSERT, …). None: an empty one.
            database: a file to read instead of a context.
            seconds: for the query, and as much again for building the context.
            max_rows: more make the outcome `too_many_rows`; of all tables together in a state.
            writes: run a script that may change data and schema, on a copy in memory of the
                context or file that is thrown away; the outcome has no rows but a `state`.
            explain: give the rows of the query's plan and do not run it.

        Raises:
            SqlError: the worker process could not be started.
            ValueError: arguments that exclude each other, or a limit that is not positive.
        """
        if writes and explain:
            raise ValueError("a script that writes has no plan: give writes or explain")
        do = "write" if writes else "explain" if explain else "query"
        outcome, _ = self._request(do, sql, context, database, seconds, max_rows)
        return outcome

    def schema(
        self,
        *,
        context: str | None = None,
        database: str | Path | None = None,
        seconds: float = 5.0,
    ) -> Schema:
        """The tables and views of a database, with columns and keys.

        Raises:
            SqlError: the database cannot be had or read, or the worker could not be started.
            ValueError: both `context` and `database` are given, or `seconds` is not positive.
        """
        outcome, tables = self._request("schema", "", context, database, seconds, 1)
        if outcome.status != "ok":
            raise SqlError(f"the schema could not be read: {outcome.message}.")
        return Schema(self.engine, tables)

    def _request(
        self,
        do: str,
        sql: str,
        context: str | None,
        database: str | Path | None,
        seconds: float,
        max_rows: int,
    ) -> tuple[Outcome, tuple[Table, ...]]:
        if context is not None and database is not None:
            raise ValueError("a query runs on a context or on a database, not on both")
        if seconds <= 0 or max_rows <= 0:
            raise ValueError(f"seconds and max_rows must be positive: {seconds}, {max_rows}")
        path = None if database is None else str(Path(database).expanduser().absolute())
        request = {
            "do": do,
            "sql": sql,
            "context": context,
            "database": path,
            "seconds": seconds,
            "max_rows": max_rows,
        }
        with self._lock:
            answer, recover = self._ask(request)
            if not recover:
                return answer
            copy, reason = self._recovered(path)
            if copy is None:
                message = f"{answer[0].message}; a copy could not be made either: {reason}"
                return Outcome("context_error", message=message), ()
            answer, _ = self._ask(request | {"database": copy})
            return answer

    def _ask(self, request: dict[str, Any]) -> tuple[tuple[Outcome, tuple[Table, ...]], bool]:
        """The answer, and whether a recovered copy of the database could give a better one."""
        process = self._worker()
        seconds = request["seconds"]
        building, recover = True, False
        began = time.monotonic()
        watch = Deadline(process, seconds + GRACE_SECONDS)
        try:
            process.send(request)
            reply = process.receive()
            if "phase" in reply:
                building = False
                watch.restart()
                began = time.monotonic()
                reply = process.receive()
            recover = reply.get("recover", False)
            answer = _answer(reply, time.monotonic() - began)
        except WorkerGone:
            answer = self._gone(process, watch, building, began), ()
        except BaseException:  # Ctrl-C: the answer still to come must not be the next query's
            self._end_worker()
            raise
        finally:
            watch.stop()
        # After memory ran short the heap is in pieces: a new worker is cheaper than a doubt.
        if watch.fired or answer[0].status in ("memory", "worker_died"):
            self._end_worker()
        return answer, recover

    def _gone(
        self,
        process: WorkerProcess,
        watch: Deadline,
        building: bool,
        began: float,
    ) -> Outcome:
        elapsed = time.monotonic() - began
        self._end_worker()
        late = watch.fired or process.returncode == CPU_TIME_SPENT
        ending = "was killed at its deadline" if late else f"ended by itself ({process.returncode})"
        if building:
            return Outcome("context_error", message=f"the worker that built the context {ending}")
        status: Status = "timeout" if late else "worker_died"
        return Outcome(status, message=f"the worker {ending}", seconds=elapsed)

    def _recovered(self, path: str) -> tuple[str | None, str]:
        """A copy of an SQLite file with its log applied, or None and why there is none."""
        state = (path, *map(_version, (path, path + "-wal", path + "-journal")))
        if state in self._copied:
            return self._copied[state], ""
        if self._copies is None:
            self._copies = tempfile.TemporaryDirectory(prefix="kerasft-sql-copies-")
        for old in [key for key in self._copied if key[0] == path]:
            os.remove(self._copied.pop(old))
        target = tempfile.mkdtemp(dir=self._copies.name) + "/copy.db"
        try:
            done = subprocess.run(
                [*PYTHON, str(WORKER / "recover.py"), path, target],
                capture_output=True,
                timeout=RECOVERY_SECONDS,
                env=worker_environment(),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return None, str(error)
        if done.returncode:
            return None, done.stderr.decode("utf-8", "replace").strip()
        self._copied[state] = target
        return target, ""

    def _worker(self) -> WorkerProcess:
        if self._process is None or not self._process.running:
            self._end_worker()
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="kerasft-sql-")
            self._process = WorkerProcess(self.engine, self._folder.name)
        return self._process

    def _end_worker(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()


def _version(path: str) -> tuple[int, int] | None:
    """What tells one content of a file from the next; None where there is no file."""
    try:
        found = os.stat(path)
    except OSError:  # a log goes when its writer ends, at any moment
        return None
    return found.st_size, found.st_mtime_ns


def _answer(reply: dict[str, Any], seconds: float) -> tuple[Outcome, tuple[Table, ...]]:
    try:
        outcome = Outcome(
            status=reply["status"],
            columns=tuple(reply["columns"]),
            rows=_rows(reply["rows"]),
            truncated=reply["truncated"],
            message=reply["message"],
            seconds=seconds,
            state=tuple(map(_state, reply.get("state", ()))),
        )
        return outcome, tuple(map(_table, reply.get("tables", ())))
    except (KeyError, IndexError, TypeError, ValueError):
        raise WorkerGone from None


def _rows(rows: list[list[Any]]) -> tuple[Row, ...]:
    return tuple(tuple(map(_cell, row)) for row in rows)


def _cell(value: Any) -> Cell:
    if type(value) is list:
        data = base64.b64decode(value[1])
        return data if value[0] == "b" else BadText(data)
    return value


def _state(table: dict[str, Any]) -> TableState:
    return TableState(
        name=table["name"],
        kind=table["kind"],
        columns=tuple((name, declared) for name, declared in table["columns"]),
        rows=_rows(table["rows"]),
        constraints=tuple(table["constraints"]),
    )


def _table(table: dict[str, Any]) -> Table:
    return Table(
        name=table["name"],
        kind=table["kind"],
        columns=tuple(Column(*column) for column in table["columns"]),
        foreign_keys=tuple(
            ForeignKey(tuple(columns), target, tuple(references))
            for columns, target, references in table["foreign_keys"]
        ),
        sql=table["sql"],
        schema=table["schema"],
    )
