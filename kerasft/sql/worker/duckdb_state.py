"""What a DuckDB database holds: its tables and views, their constraints and their rows."""

from normal_form import index_columns, normal

BATCH_ROWS = 256  # fetched at once
# Types whose Python value is what the answer says; all others are cast to text by DuckDB.
PLAIN_TYPE_NAMES = """
    tinyint smallint integer bigint hugeint utinyint usmallint uinteger ubigint uhugeint
    float double decimal boolean varchar blob
"""
PLAIN_TYPES = frozenset(PLAIN_TYPE_NAMES.split())
DEFAULT_SCHEMA = "main"


def quoted(*names):
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def literal(text):
    return "'" + text.replace("'", "''") + "'"


def rows_of(connection, sql, allowance):
    """Column names, rows as the messages hold them, and why not all (or None)."""
    relation = connection.sql(sql)
    columns, types = relation.columns, relation.types
    plain = [kind.id in PLAIN_TYPES for kind in types]
    if not all(plain):
        cells = ", ".join(
            f"#{place}" if is_plain else f"CAST(#{place} AS VARCHAR)"
            for place, is_plain in enumerate(plain, start=1)
        )
        sql = f"SELECT {cells} FROM query({literal(sql)})"
    whole = [kind.id == "decimal" and str(kind).endswith(",0)") for kind in types]
    cursor, rows, cut = connection.execute(sql), [], None
    while cut is None and (batch := cursor.fetchmany(BATCH_ROWS)):
        taken, cut = allowance.take(_cells(row, whole) for row in batch)
        rows += taken
    return list(columns), rows, cut


def _cells(row, whole):
    return [_cell(value, is_whole) for value, is_whole in zip(row, whole, strict=True)]


def _cell(value, whole):
    if value is None or isinstance(value, (str, bytes, float)):
        return value
    if isinstance(value, (bool, int)) or whole:
        return int(value)
    return float(value)  # a decimal


def tables_of(connection):
    """The tables and views as the messages hold them, in the order of their creation.

    `place` is the name as SQL has to write it. Tables outside the schema `main` have their
    schema before the name, with a dot, and in `schema`.
    """
    entries = connection.execute(
        "SELECT schema_name, table_name, 'table', sql, table_oid FROM duckdb_tables() "
        "WHERE NOT internal AND NOT temporary AND database_name = current_database() "
        "UNION ALL SELECT schema_name, view_name, 'view', sql, view_oid FROM duckdb_views() "
        "WHERE NOT internal AND NOT temporary AND database_name = current_database() "
        "ORDER BY 3, 5"
    ).fetchall()
    found = []
    for schema, name, kind, sql, _ in entries:
        said = "" if schema == DEFAULT_SCHEMA else schema
        before = said and f"{said}."  # also what a foreign key refers to: it stays in its schema
        found.append(
            {
                "name": before + name,
                "kind": kind,
                "columns": _columns(connection, schema, name),
                "foreign_keys": [
                    [columns, before + target, targets]
                    for kind_, columns, target, targets, _ in _constraints(connection, schema, name)
                    if kind_ == "FOREIGN KEY"
                ],
                "sql": sql,
                "schema": said,
                "bare": name,
                "place": quoted(schema, name),
            }
        )
    return found


def _constraints(connection, schema, name):
    return connection.execute(
        "SELECT constraint_type, constraint_column_names, referenced_table, "
        "referenced_column_names, constraint_text FROM duckdb_constraints() "
        "WHERE database_name = current_database() AND schema_name = ? AND table_name = ? "
        "ORDER BY constraint_index",
        [schema, name],
    ).fetchall()


def _columns(connection, schema, name):
    keys = [row for row in _constraints(connection, schema, name) if row[0] == "PRIMARY KEY"]
    key = keys[0][1] if keys else []
    rows = connection.execute(
        "SELECT column_name, data_type, NOT is_nullable FROM duckdb_columns() "
        "WHERE database_name = current_database() AND schema_name = ? AND table_name = ? "
        "ORDER BY column_index",
        [schema, name],
    ).fetchall()
    return [
        [column, declared, not_null, key.index(column) + 1 if column in key else 0]
        for column, declared, not_null in rows
    ]


def constraints_of(connection, table):
    """What of a table can be compared beside columns and rows, in normal written form."""
    found = []
    place = [table["schema"] or DEFAULT_SCHEMA, table["bare"]]
    for kind, columns, target, targets, text in _constraints(connection, *place):
        names = ", ".join(columns).lower()
        if kind == "CHECK":
            found.append(normal(text))
        elif kind == "FOREIGN KEY":
            there = ", ".join(targets).lower()
            found.append(f"foreign key ({names}) references {target.lower()} ({there})")
        else:
            found.append(f"{kind.lower()} ({names})")
    where = "WHERE database_name = current_database() AND schema_name = ? AND table_name = ?"
    for column, default in connection.execute(
        f"SELECT column_name, column_default FROM duckdb_columns() {where}", place
    ).fetchall():
        if default is not None:
            found.append(f"default ({column.lower()}) {normal(default)}")
    for unique, sql in connection.execute(
        f"SELECT is_unique, sql FROM duckdb_indexes() {where} AND sql IS NOT NULL", place
    ).fetchall():
        found.append(("unique " if unique else "") + f"index {index_columns(sql)}")
    return sorted(found)
