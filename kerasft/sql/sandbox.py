"""Running SQL that a model wrote, in a process that is killed when it takes too long.

A `Sandbox` keeps one warm worker (`worker.py`) and gives each query a fresh database: a copy
in memory of what a context script builds, or a file opened for reading only.

What it covers:
- Files. The worker writes none (RLIMIT_FSIZE is 0, temporary storage is in memory), its
  folder is an empty temporary one, ATTACH and VACUUM INTO are refused, and a database file is
  opened with `mode=ro`.
- What SQL may do. An authorizer lets SELECT, READ and recursive queries pass, and functions
  and tables that are on a list. Everything else (writing, PRAGMA, ATTACH, transactions,
  virtual tables, load_extension, fts3_tokenizer, temporary tables) is refused by name. Scripts
  that build a context may also create, fill and drop tables, indexes, views and triggers.
- Time. The worker stops a query that runs on in SQLite's own steps; what stays inside one step
  (`instr` over a large text, the planner) is ended by killing the worker's process group, at
  most `GRACE_SECONDS` after the deadline. Building the context and running the query each have
  `seconds`. If this process dies, the kernel's CPU limit ends a worker that computes on.
- Memory. SQLite's heap, the address space, one value, the number of rows and the size of the
  result are limited (numbers in `worker.py`).
- Carry-over. One query cannot change what the next sees: every query has its own connection,
  and a worker that ran out of memory, died or was killed is replaced.
- Secrets. The worker gets none of this process's environment (but the two variables that a
  loader may need), open files or arguments.

What it does not cover:
- A flaw in SQLite itself that runs code. The worker is an ordinary process of the same user:
  no namespace, no seccomp filter, no network barrier stands around it. SQL has no means to
  open a socket or another file, but code would have. Who runs SQL or opens database files of
  unknown people should put a container or a virtual machine around it all.
- Windows has no resource limits and macOS does not enforce all of them: there SQLite's own
  limits and the kill carry it alone, and the worker's children would not be killed with it
  (it has no way to start any).
- What the data says. Cells can hold terminal escapes or instructions to a model; whoever
  prints them must escape them.
- The reading of anything in the database that was given. There are no rights by table.
- SQLite's own leniency: a misspelt name in double quotes is text to it, and `printf` past the
  largest value returns NULL instead of failing.
- Full-text tables in a file, which need PRAGMA, are refused. Only SQLite is run.
"""

import base64
import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kerasft.errors import SqlError
from kerasft.sql.schema import BadText, Cell, Row, TableState

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
START_SECONDS = 30.0
CPU_TIME_SPENT = -signal.SIGXCPU if hasattr(signal, "SIGXCPU") else None  # a return code
LARGEST_MESSAGE = 512 << 20  # bytes; a worker that claims more is not believed
LOADER_VARIABLES = ("LD_LIBRARY_PATH", "SYSTEMROOT")  # without them some Pythons do not start
WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True)
class Outcome:
    """What became of one query.

    Attributes:
        status: `ok`; `too_many_rows` (the first ones are in `rows`); `invalid_sql` (SQLite
            refused to compile it or it failed while running); `refused` (a statement, function
            or table that is not allowed, or more than one statement); `timeout`; `memory`
            (a value, the heap or the process reached its limit); `no_sql` (nothing but space
            and comments); `context_error` (the database could not be had, which is never the
            query's fault); `worker_died`.
        columns: names as SQLite gives them.
        rows: tuples as long as `columns`.
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


class _WorkerGone(Exception):
    """The worker's end of the pipe is closed or speaks nonsense."""


class Sandbox:
    """A warm worker process that runs one query at a time.

    Use it as a context manager. Calls from several threads wait for each other; for queries
    side by side take several sandboxes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

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
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None

    def run(
        self,
        sql: str,
        *,
        context: str | None = None,
        database: Path | None = None,
        seconds: float = 5.0,
        max_rows: int = 10_000,
    ) -> Outcome:
        """Run one reading statement on a fresh database.

        Args:
            sql: one statement of SQLite's SQL.
            context: script that builds the database (CREATE, INSERT, …); it is built once and
                copied for each query over the same script. None: an empty database.
            database: an SQLite file to read instead of a context.
            seconds: for the query, and as much again for building the context.
            max_rows: more make the outcome `too_many_rows`.

        Raises:
            SqlError: the worker process could not be started.
            ValueError: both `context` and `database` are given, or a limit is not positive.
        """
        if context is not None and database is not None:
            raise ValueError("a query runs on a context or on a database, not on both")
        if seconds <= 0 or max_rows <= 0:
            raise ValueError(f"seconds and max_rows must be positive: {seconds}, {max_rows}")
        path = None if database is None else str(Path(database).expanduser().absolute())
        request = {
            "sql": sql,
            "context": context,
            "database": path,
            "seconds": seconds,
            "max_rows": max_rows,
        }
        with self._lock:
            return self._ask(request)

    def _ask(self, request: dict[str, Any]) -> Outcome:
        process = self._worker()
        seconds = request["seconds"]
        building = True
        began = time.monotonic()
        watch = _Deadline(process, seconds + GRACE_SECONDS)
        try:
            _send(process, request)
            reply = _receive(process)
            if "phase" in reply:
                building = False
                watch.restart()
                began = time.monotonic()
                reply = _receive(process)
            outcome = _outcome(reply, time.monotonic() - began)
        except _WorkerGone:
            outcome = self._gone(process, watch, building, began)
        except BaseException:  # Ctrl-C: the answer still to come must not be the next query's
            self._end_worker()
            raise
        finally:
            watch.stop()
        # After memory ran short the heap is in pieces: a new worker is cheaper than a doubt.
        if watch.fired or outcome.status in ("memory", "worker_died"):
            self._end_worker()
        return outcome

    def _gone(
        self,
        process: subprocess.Popen[bytes],
        watch: "_Deadline",
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

    def _worker(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._end_worker()
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="kerasft-sql-")
        environment = {name: os.environ[name] for name in LOADER_VARIABLES if name in os.environ}
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-u", "-X", "utf8", str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=self._folder.name,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise SqlError(f"the SQL worker could not be started: {error}") from None
        self._process = process
        watch = _Deadline(process, START_SECONDS)
        try:
            _receive(process)
        except _WorkerGone:
            self._end_worker()
            raise SqlError(
                f"the SQL worker ended while starting ({process.returncode}); try "
                f"`{sys.executable} -I -S -c 'import sqlite3'` to see why."
            ) from None
        finally:
            watch.stop()
        return process

    def _end_worker(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        _kill(process)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):  # what was still to be written to a dead worker
                pipe.close()


class _Deadline:
    """Kills the process when time is up. Its thread works where pipes cannot be polled."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        self._process = process
        self._seconds = seconds
        self._lock = threading.Lock()
        self._running = True
        self.fired = False
        self._start()

    def _start(self) -> None:
        self._timer = threading.Timer(self._seconds, self._fire)
        self._timer.daemon = True
        self._timer.start()

    def _fire(self) -> None:
        with self._lock:
            if self._running and threading.current_thread() is self._timer:
                self.fired = True
                _kill(self._process)

    def restart(self) -> None:
        with self._lock:
            self._timer.cancel()
            self._start()

    def stop(self) -> None:
        with self._lock:
            self._running = False
            self._timer.cancel()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the worker and whatever it started; the worker leads its own process group."""
    if process.returncode is not None:
        return
    try:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except (ProcessLookupError, PermissionError):
        pass  # it ended by itself in this moment


def _send(process: subprocess.Popen[bytes], message: dict[str, Any]) -> None:
    body = json.dumps(message).encode("ascii")
    try:
        process.stdin.write(struct.pack(">I", len(body)) + body)
        process.stdin.flush()
    except OSError:
        raise _WorkerGone from None


def _receive(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    try:
        head = process.stdout.read(4)
        size = struct.unpack(">I", head)[0]
        if size > LARGEST_MESSAGE:
            raise _WorkerGone
        body = process.stdout.read(size)
        return json.loads(body)
    except (OSError, struct.error, ValueError):
        raise _WorkerGone from None


def _outcome(reply: dict[str, Any], seconds: float) -> Outcome:
    try:
        return Outcome(
            status=reply["status"],
            columns=tuple(reply["columns"]),
            rows=tuple(tuple(map(_cell, row)) for row in reply["rows"]),
            truncated=reply["truncated"],
            message=reply["message"],
            seconds=seconds,
        )
    except (KeyError, IndexError, TypeError, ValueError):
        raise _WorkerGone from None


def _cell(value: Any) -> Cell:
    if type(value) is list:
        data = base64.b64decode(value[1])
        return data if value[0] == "b" else BadText(data)
    return value
