"""The process in which model-written SQL runs: standard library only, killed from outside.

`sandbox.py` starts this file as `python -I -S -u -X utf8 worker.py` in an empty folder with an
empty environment and speaks to it over its stdin and stdout. Nothing here is imported by
the rest of the package. Every message is four bytes of length (big-endian) and that many
bytes of JSON:

    worker  {"ready": SQLite version}                          once, at the start
    parent  {"sql", "context" | null, "database" | null, "seconds", "max_rows"}
    worker  {"phase": "query"}                                 the database stands
    worker  {"status", "columns", "rows", "truncated", "message"}

A database that cannot be had is answered at once with status `context_error`, without the
phase message, so that the parent can tell whose fault a kill was. In `rows`, null, numbers
(with JSON's usual extension to NaN and Infinity) and text stand for themselves; `["b", x]`
is a blob and `["t", x]` is text that is not UTF-8, both in base64.
"""

import base64
import contextlib
import json
import os
import sqlite3
import struct
import sys
import time

try:
    import resource
except ImportError:  # Windows: SQLite's own limits and the parent's kill must carry it
    resource = None

HEAP_BYTES = 256 << 20  # SQLite's own allocations, the whole process
ADDRESS_BYTES = 1 << 30  # everything else, where the system can limit it
VALUE_BYTES = 1_000_000  # one text, one blob, one row as stored
QUERY_CHARACTERS = 100_000
CONTEXT_CHARACTERS = 64_000_000
RESULT_BYTES = 32 << 20  # all cells of one result
CELL_OVERHEAD = 32  # what a cell costs beside its text, for RESULT_BYTES
CACHE_BYTES = 32 << 20  # databases kept between queries
PROGRESS_OPCODES = 10_000  # between looks at the clock; costs about a tenth of the speed
CPU_GRACE = 2  # seconds after the deadline until the kernel ends an orphaned worker

HEADER_MAGIC = b"SQLite format 3\0"
HEADER_BYTES = 100
HEADER_WRITE_VERSION = 18  # offset; 2 is a write-ahead log (SQLite's file format, 1.3.3)
URI_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/_-.~:")

# A function that is not named here is refused, so that what a build of SQLite brings along
# (load_extension, fts3_tokenizer, readfile, …) stays outside without being known. zeroblob
# and randomblob are left out on purpose: they only make large values.
FUNCTION_NAMES = """
    abs char coalesce concat concat_ws format glob hex if ifnull iif instr length like
    likelihood likely lower ltrim max min nullif octet_length printf quote random replace
    round rtrim sign soundex substr substring trim typeof unhex unicode unistr unlikely upper
    -> ->>
    avg count group_concat string_agg sum total median percentile percentile_cont
    percentile_disc
    row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value
    nth_value
    date time datetime julianday unixepoch strftime timediff current_date current_time
    current_timestamp
    acos acosh asin asinh atan atan2 atanh ceil ceiling cos cosh degrees exp floor ln log
    log10 log2 mod pi pow power radians sin sinh sqrt tan tanh trunc
    json json_array json_array_length json_error_position json_extract json_group_array
    json_group_object json_insert json_object json_patch json_pretty json_quote json_remove
    json_replace json_set json_type json_valid jsonb jsonb_array jsonb_extract
    jsonb_group_array jsonb_group_object jsonb_insert jsonb_object jsonb_patch jsonb_remove
    jsonb_replace jsonb_set
"""
FUNCTIONS = frozenset(FUNCTION_NAMES.split())
# ALTER TABLE calls these on its own behalf while a context is being built.
ALTER_FUNCTION_NAMES = """
    sqlite_rename_column sqlite_rename_table sqlite_rename_test sqlite_rename_quotefix
    sqlite_drop_column sqlite_add_constraint sqlite_drop_constraint sqlite_fail
"""
ALTER_FUNCTIONS = frozenset(ALTER_FUNCTION_NAMES.split())
TABLE_FUNCTIONS = frozenset(["json_each", "json_tree"])
SCHEMA_TABLES = frozenset(
    ["sqlite_master", "sqlite_schema", "sqlite_temp_master", "sqlite_temp_schema"]
)
READING = frozenset(
    [
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    ]
)
BUILDING = READING | frozenset(
    [
        sqlite3.SQLITE_CREATE_TABLE,
        sqlite3.SQLITE_CREATE_INDEX,
        sqlite3.SQLITE_CREATE_VIEW,
        sqlite3.SQLITE_CREATE_TRIGGER,
        sqlite3.SQLITE_DROP_TABLE,
        sqlite3.SQLITE_DROP_INDEX,
        sqlite3.SQLITE_DROP_VIEW,
        sqlite3.SQLITE_DROP_TRIGGER,
        sqlite3.SQLITE_ALTER_TABLE,
        sqlite3.SQLITE_INSERT,
        sqlite3.SQLITE_UPDATE,
        sqlite3.SQLITE_DELETE,
        sqlite3.SQLITE_ANALYZE,
        sqlite3.SQLITE_REINDEX,
        sqlite3.SQLITE_TRANSACTION,
        sqlite3.SQLITE_SAVEPOINT,
    ]
)
ACTIONS = """
    CREATE_INDEX CREATE_TABLE CREATE_TEMP_INDEX CREATE_TEMP_TABLE CREATE_TEMP_TRIGGER
    CREATE_TEMP_VIEW CREATE_TRIGGER CREATE_VIEW CREATE_VTABLE DROP_INDEX DROP_TABLE
    DROP_TEMP_INDEX DROP_TEMP_TABLE DROP_TEMP_TRIGGER DROP_TEMP_VIEW DROP_TRIGGER DROP_VIEW
    DROP_VTABLE ALTER_TABLE INSERT UPDATE DELETE READ FUNCTION PRAGMA ATTACH DETACH REINDEX
    ANALYZE TRANSACTION SAVEPOINT
"""
ACTION_NAMES = {
    getattr(sqlite3, f"SQLITE_{name}"): name.replace("_", " ") for name in ACTIONS.split()
}
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


class BadText(bytes):
    """TEXT whose bytes are not UTF-8."""


class Failure(Exception):
    """A query or a context that ended in anything but rows."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status
        self.message = message


def limit_process():
    """Take from this process what no query needs: files, children, memory, core dumps."""
    if resource is None:
        return
    os.umask(0o077)
    for name, value in [
        ("RLIMIT_CORE", 0),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_NPROC", 0),
        ("RLIMIT_NOFILE", 32),
        ("RLIMIT_AS", ADDRESS_BYTES),
    ]:
        # macOS does not have or enforce all of them.
        with contextlib.suppress(AttributeError, OSError, ValueError):
            resource.setrlimit(getattr(resource, name), (value, value))


def limit_cpu(seconds):
    """End this process by the kernel if it computes on after its parent is gone."""
    if resource is not None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        spent = usage.ru_utime + usage.ru_stime
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        soft = int(spent + seconds) + 1 + CPU_GRACE
        if hard != resource.RLIM_INFINITY:
            soft = min(soft, hard)
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def built_in_modules():
    connection = sqlite3.connect(":memory:")
    names = connection.execute("SELECT name FROM pragma_module_list").fetchall()
    connection.close()
    return frozenset(name.lower() for (name,) in names)


MODULES = built_in_modules()


def decode_text(data):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return BadText(data)


def connect(target, *, uri, sql_characters):
    connection = sqlite3.connect(
        target, uri=uri, timeout=0.5, isolation_level=None, cached_statements=0
    )
    connection.text_factory = decode_text
    for limit, value in [
        (sqlite3.SQLITE_LIMIT_LENGTH, VALUE_BYTES),
        (sqlite3.SQLITE_LIMIT_SQL_LENGTH, sql_characters),
        (sqlite3.SQLITE_LIMIT_ATTACHED, 0),  # also stops VACUUM INTO
        (sqlite3.SQLITE_LIMIT_COLUMN, 1000),
        (sqlite3.SQLITE_LIMIT_WORKER_THREADS, 0),
    ]:
        connection.setlimit(limit, value)
    if hasattr(connection, "setconfig"):  # Python 3.12
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, False)
    # Temporary storage in memory: the process may write no file at all.
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def guard(connection, actions, functions, readable, seconds):
    """Set the authorizer and the first deadline.

    Args:
        readable: from the names of a table and of its column ("" where none is used) to
            whether they may be read.

    Returns the list to which the authorizer adds what it refused, in words.
    """
    refused = []

    def authorize(action, first, second, _database, _inner):
        if action == sqlite3.SQLITE_FUNCTION:
            allowed = str(second).lower() in functions
        elif action == sqlite3.SQLITE_READ:
            allowed = readable(str(first).lower(), second)
        elif action == sqlite3.SQLITE_PRAGMA:  # dumps begin with it; it changes nothing here
            allowed = actions is BUILDING and str(first).lower() == "foreign_keys"
        else:
            allowed = action in actions
        if allowed:
            return sqlite3.SQLITE_OK
        subject = second if action == sqlite3.SQLITE_FUNCTION else first
        name = ACTION_NAMES.get(action, f"action {action}")
        if subject in SCHEMA_TABLES and action != sqlite3.SQLITE_READ:
            name, subject = "changing the schema", None
        refused.append(f"{name} {subject}" if subject else name)
        return sqlite3.SQLITE_DENY

    deadline = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > deadline, PROGRESS_OPCODES)
    connection.set_authorizer(authorize)
    return refused


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
        refused = guard(connection, BUILDING, FUNCTIONS | ALTER_FUNCTIONS, lambda *_: True, seconds)
        try:
            connection.executescript(script)
            connection.commit()
        except (sqlite3.Error, sqlite3.Warning, ValueError, MemoryError) as error:
            connection.close()
            failure = failure_of(error, refused)
            raise Failure("context_error", failure.message) from None
        connection.set_authorizer(None)
        connection.set_progress_handler(None, 0)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        page_size = connection.execute("PRAGMA page_size").fetchone()[0]
        return connection, pages * page_size + len(script)


def file_uri(path):
    """The read-only URI of an SQLite file, whatever characters its path holds.

    SQLite's own message for most of what can be wrong with a file is misleading or late, so it
    is looked at first. Here and not in the parent: closing a file drops all POSIX locks that
    the same process holds on it, and the parent may have the database open.

    Raises:
        Failure: missing, empty, not SQLite, or not readable without writing beside it.
    """
    if not os.path.isfile(path):
        kind = "is a folder, not a file" if os.path.isdir(path) else "does not exist"
        raise Failure("context_error", f"{path} {kind}; give the path of an SQLite file")
    try:
        with open(path, "rb") as file:
            header = file.read(HEADER_BYTES)
    except OSError as error:
        raise Failure("context_error", f"{path} cannot be read: {error.strerror}") from None
    if not header:
        raise Failure("context_error", f"{path} is empty: no table was ever written to it")
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
        f"{path} has rows in a write-ahead log ({log}) that cannot be read without writing "
        "beside it; copy both files to another folder and run "
        "`PRAGMA wal_checkpoint(TRUNCATE)` on the copy",
    )


def open_database(request, contexts):
    if request["database"] is None:
        return contexts.copy(request["context"] or "", request["seconds"])
    uri = file_uri(request["database"])
    return connect(uri, uri=True, sql_characters=QUERY_CHARACTERS)


def readable_tables(connection):
    """What a query may read: what is stored, the schema, and harmless table functions.

    SQLite asks about a column "" of whatever is named in FROM and of which no column is used,
    also of a common table expression, whose name is nobody's business; so there only the
    built-in virtual tables are refused.
    """
    names = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
    stored = {str(name).lower() for (name,) in names} | SCHEMA_TABLES | TABLE_FUNCTIONS

    def readable(table, column):
        if table in stored:
            return True
        return column == "" and table not in MODULES and not table.startswith("pragma_")

    return readable


def prepare_table_functions(connection, sql):
    """Let SQLite declare the table functions that a query names, which the authorizer forbids."""
    text = sql.lower()
    for name in TABLE_FUNCTIONS & MODULES:
        if name in text:
            connection.execute(f"SELECT 1 FROM {name}('[]') LIMIT 0")


def encode_cell(value):
    if isinstance(value, bytes):
        mark = "t" if isinstance(value, BadText) else "b"
        return [mark, base64.b64encode(value).decode("ascii")]
    return value


def cell_bytes(value):
    return CELL_OVERHEAD + (len(value) if isinstance(value, (str, bytes)) else 0)


def fetch(cursor, max_rows):
    """Rows for the answer, and why there are not more of them (or None)."""
    rows, size = [], 0
    for row in cursor:
        if len(rows) == max_rows:
            return rows, f"more than {max_rows:,} rows"
        size += sum(map(cell_bytes, row))
        if size > RESULT_BYTES:
            return rows, f"more than {RESULT_BYTES >> 20} MiB of result"
        rows.append([encode_cell(value) for value in row])
    return rows, None


def run_query(connection, request):
    """The answer to one query on an open database.

    Raises:
        Failure: for everything but rows.
    """
    refused = []
    try:
        connection.execute("PRAGMA query_only = ON")
        prepare_table_functions(connection, request["sql"])
        readable = readable_tables(connection)
        refused = guard(connection, READING, FUNCTIONS, readable, request["seconds"])
        cursor = connection.execute(request["sql"])
        if cursor.description is None:
            raise Failure("no_sql", "there is no statement to run")
        rows, cut = fetch(cursor, request["max_rows"])
        return {
            "status": "too_many_rows" if cut else "ok",
            "columns": [str(column[0]) for column in cursor.description],
            "rows": rows,
            "truncated": cut is not None,
            "message": cut or "",
        }
    except (sqlite3.Error, sqlite3.Warning, ValueError, MemoryError) as error:
        raise failure_of(error, refused) from None


def answer(request, contexts, send):
    limit_cpu(2 * request["seconds"])
    connection = None
    try:
        try:
            connection = open_database(request, contexts)
        except (sqlite3.Error, MemoryError) as error:
            raise Failure("context_error", failure_of(error, []).message) from None
        send({"phase": "query"})
        send(run_query(connection, request))
    except MemoryError:
        send(failed("memory", "the result needed more memory than it may have"))
    except Failure as failure:
        send(failed(failure.status, failure.message))
    finally:
        if connection is not None:
            connection.close()


def failed(status, message):
    return {"status": status, "columns": [], "rows": [], "truncated": False, "message": message}


def main():
    limit_process()
    source, sink = sys.stdin.buffer, sys.stdout.buffer

    def send(message):
        body = json.dumps(message, ensure_ascii=False).encode("utf-8", "replace")
        sink.write(struct.pack(">I", len(body)) + body)
        sink.flush()

    # The heap limit belongs to the whole process and cannot be raised again.
    with sqlite3.connect(":memory:") as first:
        first.execute(f"PRAGMA hard_heap_limit = {HEAP_BYTES}")
    first.close()
    contexts = Contexts()
    send({"ready": sqlite3.sqlite_version})
    while len(head := source.read(4)) == 4:
        body = source.read(struct.unpack(">I", head)[0])
        answer(json.loads(body), contexts, send)


if __name__ == "__main__":
    main()
