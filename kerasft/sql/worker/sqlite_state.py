"""What an SQLite database holds: its tables and views, their constraints and their rows."""

import sqlite3

from normal_form import checks, index_columns, normal, trigger_body

HIDDEN_COLUMN = 1  # of a virtual table; 2 and 3 are generated ones (PRAGMA table_xinfo)
# What the tables in which FTS3 to FTS5 and R-Tree keep their rows are called, after the virtual
# table's own name.
SHADOW_NAMES = """
    content segments segdir docsize stat data idx config node rowid parent
"""
SHADOWS = frozenset(SHADOW_NAMES.split())


def text(value):
    """A name as text, also one whose bytes are not UTF-8."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def tables_of(connection):
    """The tables and views as the messages hold them, in the order of their creation.

    Virtual tables and the tables in which they keep their rows are left out: no query may read
    them (the modules behind them need PRAGMA).
    """
    entries = connection.execute(
        "SELECT name, type, sql, rootpage FROM sqlite_master "
        "WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid"
    ).fetchall()
    virtual = [text(name) for name, kind, _, page in entries if kind == "table" and not page]
    shadows = {f"{name}_{end}" for name in virtual for end in SHADOWS}
    found = []
    for name, kind, sql, page in entries:
        name = text(name)
        if kind == "table" and (not page or name in shadows):
            continue
        found.append(
            {
                "name": name,
                "kind": kind,
                "columns": _columns(connection, name, kind),
                "foreign_keys": _foreign_keys(connection, name),
                "sql": text(sql),
                "schema": "",
            }
        )
    return found


def _columns(connection, name, kind):
    try:
        rows = connection.execute("SELECT * FROM pragma_table_xinfo(?)", (name,)).fetchall()
    except sqlite3.Error:
        if kind == "table":
            raise
        return []  # a view over what is no longer there
    return [
        [text(row[1]), text(row[2]), bool(row[3]), row[5]]
        for row in rows
        if row[6] != HIDDEN_COLUMN
    ]


def _foreign_keys(connection, name):
    return [key[:3] for key in _keys_with_actions(connection, name)]


def _keys_with_actions(connection, name):
    """Each key as columns, table, columns there, ON UPDATE, ON DELETE, as they were declared."""
    keys = {}
    for key, _, table, column, target, *actions in connection.execute(
        "SELECT * FROM pragma_foreign_key_list(?)", (name,)
    ):
        columns, _, targets, _ = keys.setdefault(key, ([], text(table), [], actions[:2]))
        columns.append(text(column))
        targets.append(text(target))
    listed = []
    for _, (columns, table, targets, actions) in sorted(keys.items(), reverse=True):
        if None in targets:  # REFERENCES without columns means the primary key
            targets = _primary_key(connection, table) or columns
        listed.append([columns, table, targets, *actions])
    return listed


def _primary_key(connection, name):
    rows = connection.execute(
        "SELECT name FROM pragma_table_xinfo(?) WHERE pk > 0 ORDER BY pk", (name,)
    )
    return [text(row[0]) for row in rows]


def constraints_of(connection, table):
    """What of a table can be compared beside columns and rows, in normal written form."""
    name, sql = table["name"], table["sql"] or ""
    triggers = connection.execute(
        "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE",
        (name,),
    ).fetchall()
    found = [trigger_body(text(trigger)) for (trigger,) in triggers]
    if table["kind"] == "view":
        return sorted(found)
    if key := _primary_key(connection, name):
        found.append(f"primary key ({_list(key)})")
    rows = connection.execute("SELECT * FROM pragma_table_xinfo(?)", (name,))
    for _, column, _, not_null, default, *_ in rows.fetchall():
        if not_null:
            found.append(f"not null ({text(column).lower()})")
        if default is not None:
            found.append(f"default ({text(column).lower()}) {normal(text(default))}")
    for columns, target, targets, on_update, on_delete in _keys_with_actions(connection, name):
        actions = [("update", on_update), ("delete", on_delete)]
        written = "".join(f" on {on} {do.lower()}" for on, do in actions if do != "NO ACTION")
        found.append(
            f"foreign key ({_list(columns)}) "
            f"references {target.lower()} ({_list(targets)}){written}"
        )
    return sorted(found + checks(sql) + _indexes(connection, name))


def _indexes(connection, name):
    listed = []
    indexes = connection.execute(
        'SELECT name, "unique", origin FROM pragma_index_list(?)', (name,)
    ).fetchall()
    for index, unique, origin in indexes:
        if origin == "u":
            rows = connection.execute(
                "SELECT name FROM pragma_index_info(?) ORDER BY seqno", (text(index),)
            )
            listed.append(f"unique ({_list([text(row[0]) for row in rows])})")
        elif origin == "c":
            (sql,) = connection.execute(
                "SELECT sql FROM sqlite_master WHERE type = 'index' AND name = ?", (index,)
            ).fetchone()
            listed.append(("unique " if unique else "") + f"index {index_columns(text(sql))}")
    return listed


def _list(names):
    return ", ".join(name.lower() for name in names)


def rows_of(connection, table, allowance):
    """All rows of a table or view as the messages hold them, and why not all (or None)."""
    return allowance.take(connection.execute(f"SELECT * FROM {quoted(table['name'])}"))
