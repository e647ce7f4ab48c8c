"""DuckDB behind the wall: a locked configuration, statements by kind, and a clock."""

import os
import sys
import threading
import time

os.environ["TZ"] = "UTC"  # before DuckDB looks: times with a zone are written alike everywhere
if hasattr(time, "tzset"):
    time.tzset()

from duckdb_state import constraints_of, rows_of, tables_of
from protocol import (
    CONTEXT_CHARACTERS,
    QUERY_CHARACTERS,
    Allowance,
    Failure,
    answered,
    header_of,
    limit_process,
)

ADDRESS_BYTES = 2 << 30  # what DuckDB's own limit does not count: one value, a cast, the result
MEMORY_LIMIT = "512MB"  # DuckDB's buffers
INTERRUPT_SECONDS = 0.02  # between interrupts after the deadline: one before a start is lost
HEADER_BYTES, MAGIC, MAGIC_OFFSET = 16, b"DUCK", 8
SETTINGS = {
    "memory_limit": MEMORY_LIMIT,
    "threads": 1,
    "temp_directory": "",  # what does not fit into memory fails
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "allow_community_extensions": False,
    "python_enable_replacements": False,
}
# Set when the database stands: a file that is already open stays so, and no other can be.
LOCK = "SET enable_external_access = false; SET lock_configuration = true"
READING = frozenset(["SELECT"])
WRITING_NAMES = """
    INSERT UPDATE DELETE MERGE_INTO CREATE CREATE_FUNC DROP ALTER TRANSACTION ANALYZE VACUUM
"""
WRITING = READING | frozenset(WRITING_NAMES.split())


class Clock:
    """Interrupts a connection from its deadline on. DuckDB has no setting for it.

    The thread is started before the process may start no more of them.
    """

    def __init__(self):
        self._changed = threading.Condition()
        self._connection = None
        self._deadline = 0.0
        self.passed = False
        threading.Thread(target=self._watch, daemon=True).start()

    def start(self, connection, seconds):
        with self._changed:
            self._connection, self.passed = connection, False
            self._deadline = time.monotonic() + seconds
            self._changed.notify()

    def stop(self):
        with self._changed:
            self._connection = None

    def _watch(self):
        with self._changed:
            while True:
                if self._connection is None:
                    self._changed.wait()
                    continue
                left = self._deadline - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
                self.passed = True
                self._connection.interrupt()
                self._changed.wait(INTERRUPT_SECONDS)


class Engine:
    """DuckDB for `protocol.serve`."""

    def __init__(self, folder):
        sys.path.append(folder)
        import duckdb

        sys.path.remove(folder)  # values are never turned into what other packages define
        self.duckdb = duckdb
        self.version = duckdb.__version__
        self.clock = Clock()
        limit_process(ADDRESS_BYTES)

    def open(self, request):
        """A fresh connection; for writing, to a copy in memory that nothing else sees."""
        self.clock.passed = False
        try:
            if request["database"] is None:
                return self._build(request["context"] or "", request["seconds"])
            check_header(request["database"])
            if request["do"] == "write":
                return self._copy(request["database"], request["seconds"])
            connection = self.duckdb.connect(request["database"], read_only=True, config=SETTINGS)
            connection.execute(LOCK)
            connection.execute("BEGIN TRANSACTION READ ONLY")
            return connection
        except (self.duckdb.Error, ValueError, MemoryError) as error:
            raise Failure("context_error", self._failure(error).message) from None

    def _build(self, script, seconds):
        connection = self.duckdb.connect(":memory:", config=SETTINGS)
        connection.execute(LOCK)
        if script:
            try:
                self._run_script(connection, script, CONTEXT_CHARACTERS, seconds)
            except Failure as failure:
                if failure.status != "no_sql":  # a script of comments makes an empty database
                    connection.close()
                    raise Failure("context_error", failure.message) from None
        return connection

    def _copy(self, path, seconds):
        connection = self.duckdb.connect(":memory:", config=SETTINGS)
        self.clock.start(connection, seconds)
        try:
            quoted = path.replace("'", "''")
            connection.execute(f"ATTACH '{quoted}' AS kerasft_source (READ_ONLY)")
            connection.execute(LOCK)  # before what the file holds is looked at
            connection.execute("COPY FROM DATABASE kerasft_source TO memory")
            connection.execute("DETACH kerasft_source")
        except BaseException:
            connection.close()
            raise
        finally:
            self.clock.stop()
        return connection

    def _statements(self, connection, sql, allowed, characters):
        """The statements of a text, each of a kind that is allowed."""
        if len(sql) > characters:
            raise Failure("invalid_sql", f"the SQL is longer than {characters:,} characters")
        sql.encode()  # half a surrogate pair, which JSON can hold, is a ValueError here
        statements = connection.extract_statements(sql)
        if not statements:
            raise Failure("no_sql", "there is no statement to run")
        for statement in statements:
            try:
                kind = statement.type.name
            except ValueError:  # one that the package has no name for
                raise Failure("refused", "a statement of this kind is not allowed") from None
            if kind not in allowed:
                raise Failure("refused", f"{kind} is not allowed")
        return statements

    def _run_script(self, connection, sql, characters, seconds):
        self.clock.start(connection, seconds)
        try:
            for statement in self._statements(connection, sql, WRITING, characters):
                connection.execute(statement)
            self._commit(connection)
        except (self.duckdb.Error, ValueError, MemoryError) as error:
            raise self._failure(error) from None
        finally:
            self.clock.stop()

    def _commit(self, connection):
        try:
            connection.execute("COMMIT")
        except self.duckdb.TransactionException as error:
            if "no transaction is active" not in str(error):
                raise

    def _read(self, connection, request, read):
        """What `read` returns, in a transaction that cannot write, before the deadline."""
        self.clock.start(connection, request["seconds"])
        try:
            if request["database"] is None or request["do"] == "write":
                connection.execute("BEGIN TRANSACTION READ ONLY")
            return read()
        except (self.duckdb.Error, ValueError, MemoryError) as error:
            raise self._failure(error) from None
        finally:
            self.clock.stop()

    def _single(self, connection, sql):
        statements = self._statements(connection, sql, READING, QUERY_CHARACTERS)
        if len(statements) > 1:
            raise Failure("refused", "only one statement at a time is allowed")
        return statements[0].query

    def query(self, connection, request):
        """The rows of one reading statement."""

        def read():
            sql = self._single(connection, request["sql"])
            return answered(*rows_of(connection, sql, Allowance(request["max_rows"])))

        return self._read(connection, request, read)

    def explain(self, connection, request):
        """The rows of the plan, as EXPLAIN gives them."""

        def read():
            cursor = connection.execute("EXPLAIN " + self._single(connection, request["sql"]))
            rows, cut = Allowance(request["max_rows"]).take(cursor.fetchall())
            return answered([column[0] for column in cursor.description], rows, cut)

        return self._read(connection, request, read)

    def write(self, connection, request):
        """The state of a throw-away database after a script."""
        deadline = time.monotonic() + request["seconds"]
        self._run_script(connection, request["sql"], QUERY_CHARACTERS, request["seconds"])
        left = {"seconds": max(deadline - time.monotonic(), 0)}
        return self._read(connection, request | left, lambda: self._state(connection, request))

    def _state(self, connection, request):
        state, allowance = [], Allowance(request["max_rows"])
        for table in sorted(tables_of(connection), key=lambda table: table["name"]):
            constraints = constraints_of(connection, table)
            _, rows, cut = rows_of(connection, f"SELECT * FROM {table['place']}", allowance)
            columns = [column[:2] for column in table["columns"]]
            state.append(table | {"columns": columns, "rows": rows, "constraints": constraints})
            if cut:
                return answered([], [], cut) | {"state": state}
        return answered([], [], None) | {"state": state}

    def schema(self, connection, request):
        """The tables and views."""

        def read():
            return answered([], [], None) | {"tables": tables_of(connection)}

        try:
            return self._read(connection, request, read)
        except Failure as failure:
            raise Failure("context_error", failure.message) from None

    def _failure(self, error):
        """Which status an exception of the duckdb package stands for."""
        text = str(error).partition("\n\nLINE ")[0].strip() or type(error).__name__
        duckdb = self.duckdb
        if isinstance(error, duckdb.InterruptException) or self.clock.passed:
            return Failure("timeout", "it did not end before the deadline")
        if isinstance(error, (MemoryError, duckdb.OutOfMemoryException)) or "bad_alloc" in text:
            return Failure("memory", "it needed more memory than it may have")
        if isinstance(error, duckdb.PermissionException) or any(part in text for part in REFUSALS):
            return Failure("refused", text)
        if isinstance(error, (duckdb.InternalException, duckdb.FatalException)):
            return Failure("worker_died", f"DuckDB failed inside: {text}")
        if "Could not set lock" in text:
            return Failure("context_error", f"the database is open for writing elsewhere: {text}")
        if isinstance(error, (duckdb.IOException, duckdb.SerializationException)):
            return Failure("context_error", f"the database could not be read: {text}")
        return Failure("invalid_sql", text)


# How DuckDB says that a locked configuration, or a transaction that reads, stopped a statement.
REFUSALS = (
    "the configuration has been locked",
    "launched in read-only mode",
    "attached in read-only mode",
)


def check_header(path):
    """Raises Failure where the file is not a DuckDB database."""
    header = header_of(path, HEADER_BYTES)
    if header[MAGIC_OFFSET : MAGIC_OFFSET + len(MAGIC)] != MAGIC:
        raise Failure("context_error", f"{path} is not a DuckDB database")
