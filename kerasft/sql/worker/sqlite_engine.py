"""SQLite behind the wall: files, contexts, and the answers to the four requests."""

import os
import sqlite3
import time

from protocol import (
    CONTEXT_CHARACTERS,
    QUERY_CHARACTERS,
    Allowance,
    Failure,
    answered,
    header_of,
    limit_process,
)
from sqlite_guard import (
    FUNCTIONS,
    READING,
    VALUE_BYTES,
    WRITING,
    WRITING_FUNCTIONS,
    built_in,
    connect,
    prepare_table_functions,
    readable_tables,
    set_clock,
    set_guard,
)
from sqlite_state import constraints_of, rows_of, tables_of

HEAP_BYTES = 256 << 20  # SQLite's own allocations, the whole process
ADDRESS_BYTES = 1 << 30  # everything, where the system can limit it
CACHE_BYTES = 32 << 20  # databases kept between queries

HEADER_MAGIC = b"SQLite format 3\0"
HEADER_BYTES = 100
HEADER_WRITE_VERSION = 18  # offset; 2 is a write-ahead log (SQLite's file format, 1.3.3)
LOGS = ("-wal", "-journal")
URI_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/_-.~:")

# Primary SQLite result codes that blame the database, not the query.
DATABASE_FAULTS = {
    5: "the database is locked by another process",
    6: "the database is locked by another process",
    8: "the database cannot be read without writing to it (journal or WAL recovery)",
    10: "the database could not be read",
    11: "the database file is damaged or cut short",
    14: "the database could not be opened",
    26: "the file is not an SQLite database",
}
INTERRUPTED, TOO_BIG, NOT_AUTHORISED = 9, 18, 23
NEEDS_WRITING = (8, 14)  # READONLY and CANTOPEN, where a log must be applied first


def run_script(connection, script, seconds):
    """Run what may write.

    Returns how many statements there were.

    Raises:
        Failure: for the first of them that failed.
    """
    ran, refused = [], []
    try:
        prepare_table_functions(connection, script)
        set_clock(connection, seconds)
        refused = set_guard(connection, WRITING, WRITING_FUNCTIONS, lambda t, _: not built_in(t))
        connection.set_trace_callback(lambda _: ran.append(None))
        connection.executescript(script)
        connection.set_trace_callback(None)
        if connection.in_transaction:
            connection.commit()
    except (sqlite3.Error, sqlite3.Warning, ValueError, MemoryError) as error:
        raise failure_of(error, refused) from None
    connection.set_authorizer(None)
    return len(ran)


def failure_of(error, refused):
    """Which status an exception of the sqlite3 module stands for."""
    text = str(error) or type(error).__name__
    code = getattr(error, "sqlite_errorcode", 0) or 0
    primary = code & 0xFF
    if isinstance(error, MemoryError):
        return Failure("memory", "it needed more memory than it may have")
    if refused:
        return Failure("refused", f"{refused[0]} is not allowed")
    if primary == INTERRUPTED:
        return Failure("timeout", "it did not end before the deadline")
    if primary == TOO_BIG or "too big" in text:
        return Failure("memory", f"a value passed {VALUE_BYTES:,} bytes")
    if primary == NOT_AUTHORISED or "one statement at a time" in text or primary == 8 == code:
        return Failure("refused", text)
    if primary in DATABASE_FAULTS:
        return Failure("context_error", f"{DATABASE_FAULTS[primary]} ({text})")
    return Failure("invalid_sql", text)


class Contexts:
    """In-memory databases built from scripts, the latest kept until CACHE_BYTES are full."""

    def __init__(self):
        self.built = {}  # script -> (connection, bytes), the oldest first

    def copy(self, script, seconds):
        """A fresh database with what the script made; whoever gets it closes it."""
        held = self.built.pop(script, None) or self.build(script, seconds)
        self.built[script] = held
        fresh = connect(":memory:", uri=False, sql_characters=QUERY_CHARACTERS)
        held[0].backup(fresh)
        while sum(size for _, size in self.built.values()) > CACHE_BYTES:
            self.built.pop(next(iter(self.built)))[0].close()
        return fresh

    def build(self, script, seconds):
        connection = connect(":memory:", uri=False, sql_characters=CONTEXT_CHARACTERS)
        try:
            run_script(connection, script, seconds)
        except Failure as failure:
            connection.close()
            raise Failure("context_error", failure.message) from None
        connection.set_progress_handler(None, 0)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        page_size = connection.execute("PRAGMA page_size").fetchone()[0]
        return connection, pages * page_size + len(script)


def file_uri(path):
    """The read-only URI of an SQLite file, whatever characters its path holds.

    Raises:
        Failure: missing, empty, not SQLite, or not readable without writing beside it.
    """
    header = header_of(path, HEADER_BYTES)
    if not header.startswith(HEADER_MAGIC) or len(header) < HEADER_BYTES:
        raise Failure("context_error", f"{path} is not an SQLite database")
    # ?, # and % would else end or change the name.
    letters = os.fsencode(path if os.sep == "/" else "/" + path.replace(os.sep, "/"))
    quoted = "".join(chr(byte) if byte in URI_SAFE else f"%{byte:02X}" for byte in letters)
    return f"file://{quoted}?mode=ro{log_option(path, header)}"


def log_option(path, header):
    """How to read a database with a write-ahead log without writing a shared-memory file.

    As immutable only if the log is empty: its rows would else be left out without a word.
    """
    log = path + "-wal"
    if header[HEADER_WRITE_VERSION] != 2:
        return ""
    if not os.path.exists(log) or os.path.getsize(log) == 0:
        return "&immutable=1"
    if os.path.exists(path + "-shm"):
        return "&readonly_shm=1"
    raise Failure(
        "context_error",
        f"{path} has rows in a write-ahead log that cannot be read without writing beside it",
        recover=True,
    )


def connect_file(path):
    """A reading connection to a file of which the schema could be read."""
    try:
        connection = connect(file_uri(path), uri=True, sql_characters=QUERY_CHARACTERS)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        failure = failure_of(error, [])
        log = next((end for end in LOGS if os.path.exists(path + end)), None)
        primary = (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
        recover = log is not None and primary in NEEDS_WRITING
        raise Failure("context_error", failure.message, recover=recover) from None
    return connection


class Engine:
    """SQLite for `protocol.serve`."""

    version = sqlite3.sqlite_version

    def __init__(self):
        limit_process(ADDRESS_BYTES)
        # The heap limit belongs to the whole process and cannot be raised again.
        first = sqlite3.connect(":memory:")
        first.execute(f"PRAGMA hard_heap_limit = {HEAP_BYTES}")
        first.close()
        self.contexts = Contexts()

    def open(self, request):
        """A fresh connection; for writing, to a copy in memory that nothing else sees."""
        try:
            if request["database"] is None:
                return self.contexts.copy(request["context"] or "", request["seconds"])
            connection = connect_file(request["database"])
            if request["do"] != "write":
                return connection
            try:
                fresh = connect(":memory:", uri=False, sql_characters=QUERY_CHARACTERS)
                connection.backup(fresh)
            finally:
                connection.close()
            return fresh
        except (sqlite3.Error, MemoryError) as error:
            raise Failure("context_error", failure_of(error, []).message) from None

    def query(self, connection, request, prefix=""):
        """The rows of one reading statement."""
        refused = []
        try:
            connection.execute("PRAGMA query_only = ON")
            prepare_table_functions(connection, request["sql"])
            readable = readable_tables(connection)
            set_clock(connection, request["seconds"])
            refused = set_guard(connection, READING, FUNCTIONS, readable)
            cursor = connection.execute(prefix + request["sql"])
            if cursor.description is None:
                raise Failure("no_sql", "there is no statement to run")
            rows, cut = Allowance(request["max_rows"]).take(cursor)
            return answered([str(column[0]) for column in cursor.description], rows, cut)
        except (sqlite3.Error, sqlite3.Warning, ValueError, MemoryError) as error:
            raise failure_of(error, refused) from None

    def explain(self, connection, request):
        """The rows of the plan, as EXPLAIN QUERY PLAN gives them."""
        return self.query(connection, request, "EXPLAIN QUERY PLAN ")

    def write(self, connection, request):
        """The state of a throw-away database after a script."""
        deadline = time.monotonic() + request["seconds"]
        if not run_script(connection, request["sql"], request["seconds"]):
            raise Failure("no_sql", "there is no statement to run")
        try:
            connection.execute("PRAGMA query_only = ON")
            tables = sorted(tables_of(connection), key=lambda table: table["name"])
            constraints = [constraints_of(connection, table) for table in tables]
            # A view may compute anything: it is read as a query is, by the same clock.
            set_clock(connection, max(deadline - time.monotonic(), 0))
            set_guard(connection, READING, FUNCTIONS, readable_tables(connection))
        except (sqlite3.Error, ValueError, MemoryError) as error:
            raise failure_of(error, []) from None
        state, allowance, cut = [], Allowance(request["max_rows"]), None
        for table, listed in zip(tables, constraints, strict=True):
            rows, cut = self._rows(connection, table, allowance, listed)
            columns = [column[:2] for column in table["columns"]]
            state.append(table | {"columns": columns, "rows": rows, "constraints": listed})
            if cut:
                break
        return answered([], [], cut) | {"state": state}

    def _rows(self, connection, table, allowance, constraints):
        try:
            return rows_of(connection, table, allowance)
        except (sqlite3.Error, MemoryError) as error:
            failure = failure_of(error, [])
            if table["kind"] == "table" or failure.status in ("timeout", "memory"):
                raise failure from None
            constraints.append(f"unreadable: {failure.message}")
            return [], None

    def schema(self, connection, request):
        """The tables and views."""
        set_clock(connection, request["seconds"])
        try:
            return answered([], [], None) | {"tables": tables_of(connection)}
        except (sqlite3.Error, ValueError, MemoryError) as error:
            raise Failure("context_error", failure_of(error, []).message) from None
