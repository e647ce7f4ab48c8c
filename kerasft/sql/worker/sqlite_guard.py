"""What an SQLite connection may do, and for how long: limits, an authorizer, a clock."""

import sqlite3
import time

from protocol import BadText

VALUE_BYTES = 1_000_000  # one text, one blob, one row as stored
PROGRESS_OPCODES = 10_000  # between looks at the clock; costs about a tenth of the speed

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
# ALTER TABLE calls these on its own behalf.
ALTER_FUNCTION_NAMES = """
    sqlite_rename_column sqlite_rename_table sqlite_rename_test sqlite_rename_quotefix
    sqlite_drop_column sqlite_add_constraint sqlite_drop_constraint sqlite_fail
"""
WRITING_FUNCTIONS = FUNCTIONS | frozenset(ALTER_FUNCTION_NAMES.split())
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
WRITING = READING | frozenset(
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


def built_in_modules():
    connection = sqlite3.connect(":memory:")
    names = connection.execute("SELECT name FROM pragma_module_list").fetchall()
    connection.close()
    return frozenset(name.lower() for (name,) in names)


MODULES = built_in_modules()  # of this build of SQLite


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


def set_clock(connection, seconds):
    """Stop whatever the connection runs at the deadline, as far as SQLite looks at the clock."""
    deadline = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > deadline, PROGRESS_OPCODES)


def set_guard(connection, actions, functions, readable):
    """Set the authorizer.

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
            allowed = actions is WRITING and str(first).lower() == "foreign_keys"
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

    connection.set_authorizer(authorize)
    return refused


def built_in(table):
    """Whether a table is one of SQLite's own virtual ones, which no query has a use for."""
    return (table in MODULES and table not in TABLE_FUNCTIONS) or table.startswith("pragma_")


def readable_tables(connection):
    """What a query may read: what is stored, the schema, and harmless table functions.

    SQLite asks about a column "" of whatever is named in FROM and of which no column is used,
    also of a common table expression, whose name is nobody's business; so there only the
    built-in virtual tables are refused.
    """
    names = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
    stored = {str(name).lower() for (name,) in names} | SCHEMA_TABLES | TABLE_FUNCTIONS
    return lambda table, column: table in stored or (column == "" and not built_in(table))


def prepare_table_functions(connection, sql):
    """Let SQLite declare the table functions that a query names, which the authorizer forbids."""
    text = sql.lower()
    for name in TABLE_FUNCTIONS & MODULES:
        if name in text:
            connection.execute(f"SELECT 1 FROM {name}('[]') LIMIT 0")
