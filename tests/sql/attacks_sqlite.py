"""What a model, or somebody who writes to one, could have SQLite do."""

from tests.sql.attacks import Attack

ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"
WIDE = "replace(printf('%.*c', 999000, 'x'), 'x', 'x')"
HANG = f"instr({WIDE}, replace(printf('%.*c', 500000, 'x'), 'x', 'x') || 'y')"
SINGERS = ", ".join(f"singer s{i}" for i in range(20))
MANY_OR = " OR ".join(f"s{i}.id = s{i + 1}.age" for i in range(59))
PLANNER = f"SELECT count(*) FROM {', '.join(f'singer s{i}' for i in range(60))} WHERE {MANY_OR}"
VIEWS = "".join(f"CREATE VIEW v{i + 1} AS SELECT a.id FROM v{i} a, v{i} b;" for i in range(12))
VIEW_BOMB = f"CREATE VIEW v0 AS SELECT a.id FROM singer a, singer b; {VIEWS}"
CHAIN = "CREATE VIEW w0 AS SELECT 1 AS a;" + "".join(
    f"CREATE VIEW w{i + 1} AS SELECT a FROM w{i} UNION ALL SELECT a FROM w{i};" for i in range(40)
)
LIBRARY_VIEW = "CREATE VIEW v AS SELECT load_extension('x') AS a;"
LOOP = """
CREATE TRIGGER again AFTER INSERT ON singer BEGIN
  INSERT INTO other SELECT a + 1 FROM other; INSERT INTO other SELECT a + 1 FROM other;
END;
"""

# What only reads, or would write outside: refused before anything runs.
REFUSED = {
    "drop a table": "DROP TABLE singer",
    "delete": "DELETE FROM singer",
    "update": "UPDATE singer SET age = 1",
    "insert": "INSERT INTO singer VALUES (4, 'Di', 1)",
    "insert and return": "INSERT INTO singer VALUES (4, 'Di', 1) RETURNING id",
    "replace": "REPLACE INTO singer VALUES (1, 'x', 1)",
    "upsert": "INSERT INTO singer VALUES (1, 'x', 1) ON CONFLICT DO UPDATE SET age = 1",
    "delete behind WITH": "WITH gone AS (SELECT 1) DELETE FROM singer",
    "rename a table": "ALTER TABLE singer RENAME TO other",
    "create a table": "CREATE TABLE x (a)",
    "hide a table behind a temporary one": (
        "CREATE TEMP TABLE singer AS SELECT * FROM singer WHERE 0"
    ),
    "hide a table behind a temporary view": "CREATE TEMP VIEW singer AS SELECT 1",
    "create a virtual table": "CREATE VIRTUAL TABLE x USING fts5(a)",
    "create a trigger": "CREATE TRIGGER x AFTER INSERT ON singer BEGIN SELECT 1; END",
    "create an index": "CREATE INDEX x ON singer (age)",
    "attach a new file": "ATTACH 'OUTSIDE/new.db' AS other",
    "attach a new file by URI": "ATTACH 'file:OUTSIDE/new.db?mode=rwc' AS other",
    "attach another database": "ATTACH 'OUTSIDE/other.db' AS other",
    "attach a database by a computed name": "ATTACH 'OUTSIDE/' || 'other.db' AS other",
    "attach a text file": "ATTACH 'OUTSIDE/canary.txt' AS other",
    "attach memory": "ATTACH ':memory:' AS other",
    "attach shared memory": "ATTACH 'file::memory:?cache=shared' AS other",
    "attach a temporary file": "ATTACH '' AS other",
    "detach": "DETACH main",
    "vacuum": "VACUUM",
    "copy the database to a file": "VACUUM INTO 'OUTSIDE/copy.db'",
    "overwrite a file": "VACUUM INTO 'OUTSIDE/canary.txt'",
    "make the schema writable": "PRAGMA writable_schema = ON",
    "allow writing again": "PRAGMA query_only = OFF",
    "name a folder for temporary files": "PRAGMA temp_store_directory = 'OUTSIDE'",
    "put temporary tables into files": "PRAGMA temp_store = FILE",
    "change what LIKE means": "PRAGMA case_sensitive_like = ON",
    "lift the heap limit": "PRAGMA hard_heap_limit = 0",
    "lift the soft heap limit": "PRAGMA soft_heap_limit = 0",
    "trust the schema": "PRAGMA trusted_schema = ON",
    "map the file": "PRAGMA mmap_size = 1000000000000",
    "change the journal": "PRAGMA journal_mode = WAL",
    "change the file's version": "PRAGMA user_version = 9",
    "corrupt the schema's version": "PRAGMA schema_version = 9",
    "checkpoint": "PRAGMA wal_checkpoint(TRUNCATE)",
    "list modules": "PRAGMA module_list",
    "read by PRAGMA": "PRAGMA table_info(singer)",
    "learn the file's path": "SELECT * FROM pragma_database_list",
    "learn that it has a path": "SELECT count(*) FROM pragma_database_list",
    "read a setting": "SELECT * FROM pragma_query_only",
    "list functions": "SELECT * FROM pragma_function_list",
    "read pages' statistics": "SELECT * FROM dbstat",
    "count pages": "SELECT count(*) FROM dbstat",
    "lock the database": "BEGIN EXCLUSIVE",
    "open a savepoint": "SAVEPOINT x",
    "commit": "COMMIT",
    "analyze": "ANALYZE",
    "rebuild indexes": "REINDEX",
    "load a library": "SELECT load_extension('OUTSIDE/x.so')",
    "load a library by its entry": "SELECT load_extension('OUTSIDE/x.so', 'main')",
    "read a pointer": "SELECT fts3_tokenizer('simple')",
    "forge a pointer": "SELECT fts3_tokenizer('simple', x'4141414141414141')",
    "insert into the schema's table": "INSERT INTO sqlite_schema VALUES ('table', 'x', 'x', 0, '')",
    "learn how SQLite was built": "SELECT sqlite_compileoption_get(1)",
    "write to SQLite's log": "SELECT sqlite_log(1, 'x')",
    "allocate a large blob": "SELECT zeroblob(900000000)",
    "allocate a large blob inside": "SELECT length(hex(zeroblob(900000000)))",
    "allocate random bytes": "SELECT hex(randomblob(900000000))",
    "drop behind a semicolon": "SELECT name FROM singer; DROP TABLE singer",
    "two statements": "SELECT 1; SELECT 2",
    "the program of a delete": "EXPLAIN DELETE FROM singer",
    "the plan of a delete": "EXPLAIN QUERY PLAN DELETE FROM singer",
}
# Functions of the sqlite3 shell and of extensions, and more: not there, or refused.
MISSING = {
    "empty the schema's table": "DELETE FROM sqlite_master",
    "change the schema's table": "UPDATE sqlite_master SET sql = 'x'",
    "read a file": "SELECT readfile('OUTSIDE/canary.txt')",
    "write a file": "SELECT writefile('OUTSIDE/new.txt', 'x')",
    "open an editor": "SELECT edit('x', 'sh')",
    "list a folder": "SELECT * FROM fsdir('OUTSIDE')",
    "read a CSV file": "SELECT * FROM csv('OUTSIDE/data.csv')",
    "count to the end": "SELECT count(*) FROM generate_series(1, 1000000000000)",
    "a regular expression that explodes": f"SELECT {WIDE} REGEXP '(x+)+y'",
    "read statements": "SELECT * FROM sqlite_stmt",
    "read byte code": "SELECT * FROM bytecode('SELECT 1')",
}
STOPPED = {
    "count without end": f"{ENDLESS} SELECT count(*) FROM c",
    "rows without end": f"{ENDLESS} SELECT x FROM c",
    "wide rows without end": f"{ENDLESS} SELECT x, {WIDE} FROM c",
    "one text of all numbers": f"{ENDLESS} SELECT group_concat(x) FROM c",
    "one JSON array of all numbers": f"{ENDLESS} SELECT json_group_array(x) FROM c",
    "distinct without end": f"{ENDLESS} SELECT count(DISTINCT x) FROM c",
    "a window without end": f"{ENDLESS} SELECT sum(x) OVER (ORDER BY x DESC) FROM c",
    "sort wide rows without end": f"{ENDLESS} SELECT x FROM c ORDER BY {WIDE} || x",
    "a growing text": (
        "WITH RECURSIVE c(x) AS (SELECT 'x' UNION ALL SELECT x || x FROM c) "
        "SELECT max(length(x)) FROM c"
    ),
    "a growing set": (
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION SELECT x + 1 FROM c) SELECT max(x) FROM c"
    ),
    "a cross join": f"SELECT count(*) FROM {SINGERS}",
    "a sorted cross join": f"SELECT s0.id FROM {SINGERS} ORDER BY s1.age || s2.name",
    "one text of a cross join": f"SELECT group_concat(s0.name) FROM {SINGERS}",
    "a planner's nightmare": PLANNER,
    "subqueries in each other": (
        f"SELECT (SELECT (SELECT count(*) FROM {SINGERS} WHERE s1.id <> a.id) "
        f"FROM {SINGERS}) FROM singer a"
    ),
    "a long format": "SELECT printf('%.*c', 900000000, 'x')",
    "a wide number": "SELECT printf('%900000000d', 1)",
    "a precise number": "SELECT length(printf('%.99999999f', 1.0))",
    "a replacement that grows": f"SELECT replace({WIDE}, 'x', {WIDE})",
    "a replacement that grows in steps": (
        "SELECT replace(replace(replace(printf('%.*c', 9000, 'x'), 'x', 'xxxxxxxxxx'), "
        "'x', 'xxxxxxxxxx'), 'x', 'xxxxxxxxxx')"
    ),
    "a search that never looks at the clock": f"SELECT {HANG}",
    "wildcards": f"SELECT {WIDE} LIKE '{'%x' * 40}y'",
    "wildcards of GLOB": f"SELECT {WIDE} GLOB '{'*x' * 40}y'",
    "deep JSON": "SELECT json_valid(" + "replace(printf('%.*c', 99999, '['), 'x', '')" + ")",
    "JSON of wide values": f"SELECT json_array({', '.join([WIDE] * 90)})",
    "JSON rows of JSON rows": (
        "SELECT count(*) FROM json_each('["
        + ",".join("1" * 300)
        + "]') a, "
        + ", ".join(f"json_each('[{','.join('1' * 300)}]') b{i}" for i in range(6))
    ),
    "a sum of 5000 terms": "SELECT " + " + ".join(["1"] * 5000),
    "5000 brackets": "SELECT " + "(" * 5000 + "1" + ")" * 5000,
    "501 unions": " UNION ".join(["SELECT 1"] * 501),
    "200 kB of SQL": "SELECT '" + "x" * 200_000 + "'",
    "30000 columns": "SELECT " + ", ".join(["1"] * 30_000),
    "70 tables": "SELECT 1 FROM " + ", ".join(f"singer s{i}" for i in range(70)),
}
CONTEXTS = {
    "attach in a context": "ATTACH 'OUTSIDE/other.db' AS x",
    "copy out in a context": "VACUUM INTO 'OUTSIDE/copy.db'",
    "lift a limit in a context": "PRAGMA hard_heap_limit = 0",
    "a virtual table in a context": "CREATE VIRTUAL TABLE t USING fts5(a)",
    "a library in a context": "CREATE TABLE t AS SELECT load_extension('OUTSIDE/x.so')",
    "a library in a default": (
        "CREATE TABLE t (a, b DEFAULT (load_extension('x'))); INSERT INTO t (a) VALUES (1)"
    ),
    "2000 columns": f"CREATE TABLE t ({', '.join(f'c{i}' for i in range(2000))})",
    "write the schema in a context": (
        "CREATE TABLE t (a); INSERT INTO sqlite_master VALUES ('table', 'x', 'x', 0, '')"
    ),
}
BOMBS = {
    "a table without end": f"CREATE TABLE t AS {ENDLESS} SELECT x FROM c",
    "a wide table without end": f"CREATE TABLE t AS {ENDLESS} SELECT {WIDE} FROM c",
    "a context that never looks at the clock": f"CREATE TABLE t AS SELECT {HANG} AS a",
}
SCRIPTS = {
    "a table without end in a script": f"CREATE TABLE t AS {ENDLESS} SELECT x FROM c",
    "rows that double": "CREATE TABLE t (a); INSERT INTO t VALUES (1);"
    + "INSERT INTO t SELECT a FROM t;" * 40,
    "text that doubles": "UPDATE singer SET name = name || name;" * 40,
    "triggers that double": "CREATE TABLE other (a); INSERT INTO other VALUES (1);"
    + LOOP
    + "INSERT INTO singer (name) VALUES ('x');" * 40,
    "a view without end": f"CREATE VIEW v AS {ENDLESS} SELECT x FROM c",
    "a view that never looks at the clock": f"CREATE VIEW v AS SELECT {HANG} AS a",
}
SCRIPTS_REFUSED = {
    "attach in a script": "ATTACH 'OUTSIDE/other.db' AS x; INSERT INTO x.secret VALUES (1)",
    "attach a new file in a script": "ATTACH 'OUTSIDE/new.db' AS x; CREATE TABLE x.t (a)",
    "copy out in a script": "DELETE FROM singer; VACUUM INTO 'OUTSIDE/copy.db'",
    "a library in a script": "SELECT load_extension('OUTSIDE/x.so')",
    "a pointer in a script": "SELECT fts3_tokenizer('simple', x'4141414141414141')",
    "a writable schema in a script": "PRAGMA writable_schema = ON; DELETE FROM sqlite_master",
    "a temporary trigger in a script": (
        "CREATE TEMP TRIGGER x AFTER INSERT ON singer BEGIN SELECT 1; END"
    ),
    "the file's path in a script": "CREATE TABLE t AS SELECT * FROM pragma_database_list",
}
ENDED = frozenset(["timeout", "memory", "too_many_rows", "invalid_sql"])


VARIANTS = frozenset(
    [
        "one JSON array of all numbers",
        "distinct without end",
        "a window without end",
        "a growing set",
        "one text of a cross join",
        "subqueries in each other",
        "a sorted cross join",
        "a table without end in a script",
        "triggers that double",
    ]
)
REFUSED_STATUSES = frozenset(["refused"])
MISSING_STATUSES = frozenset(["refused", "invalid_sql"])
BROKEN = frozenset(["context_error"])


def attack(aim: str, sql: str, statuses: frozenset[str], **rest) -> Attack:
    return Attack("sqlite", aim, sql, statuses, variant=aim in VARIANTS, **rest)


ATTACKS = [
    *(attack(aim, sql, REFUSED_STATUSES) for aim, sql in REFUSED.items()),
    *(attack(aim, sql, MISSING_STATUSES) for aim, sql in MISSING.items()),
    # `ok`: some are answered at once, newer versions of SQLite answer more of them.
    *(attack(aim, sql, ENDED | {"ok"}, bomb=True) for aim, sql in STOPPED.items()),
    *(attack(aim, sql, BROKEN, way="context") for aim, sql in CONTEXTS.items()),
    *(attack(aim, sql, BROKEN, way="context", bomb=True) for aim, sql in BOMBS.items()),
    *(attack(aim, sql, ENDED, way="script", bomb=True) for aim, sql in SCRIPTS.items()),
    *(attack(aim, sql, REFUSED_STATUSES, way="script") for aim, sql in SCRIPTS_REFUSED.items()),
    attack(
        "the plan of two statements", "SELECT 1; DROP TABLE singer", REFUSED_STATUSES, way="plan"
    ),
    attack("the plan of a delete", "DELETE FROM singer", REFUSED_STATUSES, way="plan"),
    attack("a plan over 60 tables", PLANNER, ENDED | {"ok"}, way="plan", bomb=True),
    attack("a library behind a view", "SELECT * FROM v", MISSING_STATUSES, before=LIBRARY_VIEW),
    attack("views that square", "SELECT count(*) FROM v12", ENDED, before=VIEW_BOMB, bomb=True),
    attack("views that double", "SELECT count(*) FROM w40", ENDED, before=CHAIN, bomb=True),
]
