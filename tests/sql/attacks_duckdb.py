"""What a model, or somebody who writes to one, could have DuckDB do."""

from tests.sql.attacks import Attack

ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"
SINGERS = ", ".join(f"singer s{i}" for i in range(25))
MANY_OR = " OR ".join(f"s{i}.id = s{i + 1}.age" for i in range(59))
PLANNER = f"SELECT count(*) FROM {', '.join(f'singer s{i}' for i in range(60))} WHERE {MANY_OR}"

# Kinds of statement that do not read.
REFUSED = {
    "drop a table": "DROP TABLE singer",
    "delete": "DELETE FROM singer",
    "truncate": "TRUNCATE singer",
    "update": "UPDATE singer SET age = 1",
    "insert": "INSERT INTO singer VALUES (4, 'Di', 1)",
    "merge": "MERGE INTO singer USING singer AS s ON singer.id = s.id WHEN MATCHED THEN DELETE",
    "delete inside WITH": "WITH x AS (DELETE FROM singer RETURNING *) SELECT * FROM x",
    "create a table": "CREATE TABLE x (a INT)",
    "hide a table behind a temporary one": "CREATE TEMP TABLE singer AS SELECT 1 AS id",
    "hide a table behind a view": "CREATE OR REPLACE TEMP VIEW singer AS SELECT 1 AS id",
    "replace a function": "CREATE OR REPLACE TEMP MACRO lower(a) AS 'x'",
    "add a column": "ALTER TABLE singer ADD COLUMN x INT",
    "comment on a table": "COMMENT ON TABLE singer IS 'x'",
    "move a sequence": "SELECT nextval('counter')",
    "copy a table to a file": "COPY singer TO 'OUTSIDE/new.csv'",
    "copy a query to a file": "COPY (SELECT 1) TO 'OUTSIDE/new.parquet' (FORMAT parquet)",
    "overwrite a file": "COPY singer TO 'OUTSIDE/canary.txt'",
    "copy from a file": "COPY singer FROM 'OUTSIDE/data.csv'",
    "export the database": "EXPORT DATABASE 'OUTSIDE/export'",
    "import a database": "IMPORT DATABASE 'OUTSIDE'",
    "attach a new file": "ATTACH 'OUTSIDE/new.duckdb'",
    "attach an SQLite file": "ATTACH 'OUTSIDE/other.db' (TYPE sqlite)",
    "attach memory": "ATTACH ':memory:' AS other",
    "attach from the network": "ATTACH 'https://example.com/x.duckdb' AS x",
    "detach": "DETACH memory",
    "install an extension": "INSTALL httpfs",
    "install over an extension": "FORCE INSTALL httpfs FROM 'OUTSIDE'",
    "load a library": "LOAD 'OUTSIDE/x.duckdb_extension'",
    "update extensions": "UPDATE EXTENSIONS",
    "allow files again": "SET enable_external_access = true",
    "unlock the configuration": "SET lock_configuration = false",
    "lift the memory limit": "SET memory_limit = '100GB'",
    "take more threads": "SET threads = 64",
    "name a folder for temporary files": "SET temp_directory = 'OUTSIDE'",
    "name a home": "SET home_directory = 'OUTSIDE'",
    "write a log": "SET log_query_path = 'OUTSIDE/log.txt'",
    "set for all connections": "SET GLOBAL threads = 64",
    "set a variable": "SET VARIABLE x = 1",
    "reset a setting": "RESET memory_limit",
    "use another schema": "USE memory.main",
    "set by PRAGMA": "PRAGMA memory_limit = '100GB'",
    "profile into a file": "PRAGMA profiling_output = 'OUTSIDE/profile.json'",
    "read by PRAGMA": "PRAGMA database_list",
    "call": "CALL pragma_version()",
    "checkpoint": "CHECKPOINT",
    "force a checkpoint": "FORCE CHECKPOINT",
    "vacuum": "VACUUM",
    "analyze": "ANALYZE",
    "begin": "BEGIN TRANSACTION",
    "end the reading transaction": "ROLLBACK",
    "prepare": "PREPARE x AS SELECT 1",
    "execute": "EXECUTE x",
    "deallocate": "DEALLOCATE x",
    "make a secret": "CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "make a lasting secret": "CREATE PERSISTENT SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "explain a delete and run it": "EXPLAIN ANALYZE DELETE FROM singer",
    "pivot, which makes a type": "PIVOT singer ON name USING count(*)",
    "two statements": "SELECT 1; SELECT 2",
    "drop behind a semicolon": "SELECT 1; DROP TABLE singer",
}
# Reading kinds of statement that reach for what is outside.
OUTSIDE = {
    "a broken one behind two": "SELECT 1; INSERT INTO singer VALUES (4, 'Di', 1); SELECT bogus(",
    "read a text": "SELECT * FROM read_text('OUTSIDE/canary.txt')",
    "read bytes": "SELECT * FROM read_blob('OUTSIDE/canary.txt')",
    "read by a pattern": "SELECT content FROM read_text('OUTSIDE/*')",
    "read CSV": "SELECT * FROM read_csv('OUTSIDE/data.csv')",
    "read CSV, guessing": "SELECT * FROM read_csv_auto('OUTSIDE/data.csv')",
    "sniff CSV": "SELECT * FROM sniff_csv('OUTSIDE/data.csv')",
    "read JSON": "SELECT * FROM read_json('OUTSIDE/canary.txt')",
    "read JSON objects": "SELECT * FROM read_json_objects('OUTSIDE/canary.txt')",
    "read Parquet": "SELECT * FROM read_parquet('OUTSIDE/canary.txt')",
    "read Parquet's metadata": "SELECT * FROM parquet_metadata('OUTSIDE/canary.txt')",
    "read DuckDB": "SELECT * FROM read_duckdb('OUTSIDE/other.db')",
    "name a file as a table": "FROM 'OUTSIDE/data.csv'",
    "name a file in a subquery": "SELECT (SELECT name FROM 'OUTSIDE/data.csv')",
    "name a file by query_table": "SELECT * FROM query_table('OUTSIDE/data.csv')",
    "read behind query()": "SELECT * FROM query('SELECT * FROM read_text(''OUTSIDE/canary.txt'')')",
    "write behind query()": "SELECT * FROM query('DELETE FROM singer')",
    "write behind serialised SQL": (
        "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('DELETE FROM singer'))"
    ),
    "list a folder": "SELECT * FROM glob('OUTSIDE/*')",
    "list the root": "SELECT * FROM glob('/etc/*')",
    "read the processes": "SELECT * FROM read_text('/proc/self/environ')",
    "read from the network": "SELECT * FROM read_csv('https://example.com/x.csv')",
    "name an address as a table": "FROM 'https://example.com/x.parquet'",
    "read the environment": "SELECT getenv('HOME')",
    "read a variable of Python": "SELECT * FROM request",
    "read another variable of Python": "SELECT * FROM statements",
    "scan Python's memory": "SELECT * FROM pandas_scan(0)",
    "scan a pointer": "SELECT * FROM arrow_scan(1, 2, 3)",
    "list secrets": "SELECT * FROM duckdb_secrets()",
    "which secret": "SELECT * FROM which_secret('s3://x', 's3')",
    "list extensions": "SELECT * FROM duckdb_extensions()",
    "switch logging on": "SELECT * FROM enable_logging('QueryLog', storage_path = 'OUTSIDE')",
    "switch profiling on": "SELECT * FROM enable_profiling(save_location = 'OUTSIDE/p.json')",
    "read a setting as a variable": "SELECT getvariable('x'), current_setting('no_such')",
}
STOPPED = {
    "sleep": "SELECT sleep_ms(60000)",
    "sleep as Postgres does": "SELECT pg_sleep(60)",
    "count without end": f"{ENDLESS} SELECT count(*) FROM c",
    "rows without end": "SELECT * FROM range(1000000000000)",
    "wide rows without end": "SELECT repeat('x', 100000) FROM range(1000000000000)",
    "count a large range": "SELECT count(*) FROM range(1000000000000) a WHERE a.range % 7 = 9",
    "sort a large range": "SELECT * FROM range(1000000000) ORDER BY 1 DESC",
    "distinct without end": "SELECT count(DISTINCT range) FROM range(1000000000000)",
    "a window over a large range": "SELECT sum(range) OVER (ORDER BY range) FROM range(1000000000)",
    "one text of all numbers": "SELECT string_agg(range::VARCHAR) FROM range(1000000000)",
    "one list of all numbers": "SELECT list(range) FROM range(1000000000)",
    "a list of numbers": "SELECT range(1000000000)",
    "unnest a list": "SELECT unnest(range(1000000000))",
    "a map of all numbers": "SELECT histogram(range) FROM range(1000000000)",
    "a cross join": f"SELECT count(*) FROM {SINGERS} WHERE s0.name || s1.name <> s24.name",
    "a sorted cross join": f"SELECT s0.id FROM {SINGERS} ORDER BY s1.age, s2.name",
    "a planner's nightmare": PLANNER,
    "a growing text": (
        "WITH RECURSIVE c(x) AS (SELECT 'x' UNION ALL SELECT x || x FROM c) "
        "SELECT max(length(x)) FROM c"
    ),
    "a growing list": (
        "WITH RECURSIVE c(x) AS (SELECT [1] UNION ALL SELECT x || x FROM c) "
        "SELECT max(len(x)) FROM c"
    ),
    "repeat a text": "SELECT repeat('x', 2000000000)",
    "repeat a text many times": "SELECT repeat('x', 100000000) FROM range(1000)",
    "repeat a list": "SELECT repeat([1, 2, 3], 1000000000)",
    "pad a text": "SELECT lpad('x', 2000000000, 'y')",
    "a bar": "SELECT bar(1, 0, 1, 2000000000)",
    "a wide number": "SELECT printf('%2000000000d', 1)",
    "a wide format": "SELECT format('{:2000000000d}', 1)",
    "a replacement that grows": ("SELECT replace(repeat('x', 1000000), 'x', repeat('y', 1000000))"),
    "distance of long texts": "SELECT levenshtein(repeat('a', 200000), repeat('b', 200000))",
    "another distance": "SELECT damerau_levenshtein(repeat('a', 20000), repeat('b', 20000))",
    "similarity of long texts": (
        "SELECT jaro_winkler_similarity(repeat('ab', 500000), repeat('ba', 500000))"
    ),
    "a regular expression": "SELECT regexp_matches(repeat('a', 1000000), '(a+)+$')",
    "a large regular expression": "SELECT regexp_matches('a', repeat('(a{1,900}){1,900}', 90))",
    "a replacement by pattern": (
        "SELECT regexp_replace(repeat('a', 1000000), 'a', repeat('\\0', 1000), 'g')"
    ),
    "wildcards": f"SELECT repeat('x', 1000000) LIKE '{'%x' * 40}y'",
    "lambdas in lambdas": (
        "SELECT list_transform(range(100000), lambda x: list_transform(range(100000), "
        "lambda y: x + y))"
    ),
    "deep JSON": "SELECT json_valid(repeat('[', 10000000))",
    "deep JSON cast": "SELECT (repeat('[', 100000) || repeat(']', 100000))::JSON",
    "times without end": (
        "SELECT count(*) FROM generate_series(TIMESTAMP '1970-01-01', TIMESTAMP '200000-01-01', "
        "INTERVAL 1 SECOND)"
    ),
    "a factorial": "SELECT sum(factorial(20)) FROM range(1000000000000)",
    "lists of lists": (
        "SELECT list_distinct(flatten(list_transform(range(100000), lambda x: range(x))))"
    ),
    "5000 brackets": "SELECT " + "(" * 5000 + "1" + ")" * 5000,
    "a sum of 20000 terms": "SELECT " + " + ".join(["1"] * 20_000),
    "2000 subqueries": "SELECT " + "(SELECT " * 2000 + "1" + ")" * 2000,
    "5000 unions": " UNION ".join(["SELECT 1"] * 5_000),
    "200 kB of SQL": "SELECT '" + "x" * 200_000 + "'",
    "30000 columns": "SELECT " + ", ".join(["1"] * 30_000),
}
CONTEXTS = {
    "attach in a context": "ATTACH 'OUTSIDE/new.duckdb'",
    "read in a context": "CREATE TABLE t AS SELECT * FROM read_text('OUTSIDE/canary.txt')",
    "copy out in a context": "CREATE TABLE t (a INT); COPY t TO 'OUTSIDE/new.csv'",
    "unlock in a context": "SET lock_configuration = false",
    "install in a context": "INSTALL httpfs",
}
BOMBS = {
    "a table without end": "CREATE TABLE t AS SELECT * FROM range(1000000000000)",
    "a wide table without end": (
        "CREATE TABLE t AS SELECT repeat('x', 100000) || range::VARCHAR AS a FROM range(1000000000)"
    ),
    "a context that never looks at the clock": (
        "CREATE TABLE t AS SELECT levenshtein(repeat('a', 200000), repeat('b', 200000)) AS a"
    ),
}
SCRIPTS = {
    "a table without end in a script": "CREATE TABLE t AS SELECT * FROM range(1000000000000)",
    "rows that double": "CREATE TABLE t (a TEXT); INSERT INTO t VALUES (repeat('x', 1000));"
    + "INSERT INTO t SELECT a || 'x' FROM t;" * 40,
    "text that doubles": "UPDATE singer SET name = name || name;" * 40,
    "a view without end": "CREATE VIEW v AS SELECT sum(range) FROM range(1000000000000)",
    "a view that sleeps": "CREATE VIEW v AS SELECT sleep_ms(60000)",
}
SCRIPTS_REFUSED = {
    "attach in a script": "ATTACH 'OUTSIDE/new.duckdb'",
    "read in a script": (
        "INSERT INTO singer (id, name) SELECT 9, content FROM read_text('OUTSIDE/*')"
    ),
    "read behind a view": "CREATE VIEW v AS SELECT * FROM read_text('OUTSIDE/canary.txt')",
    "read behind a macro": (
        "CREATE MACRO f(p) AS TABLE SELECT * FROM read_text(p); "
        "CREATE TABLE t AS FROM f('OUTSIDE/canary.txt')"
    ),
    "copy out in a script": "DELETE FROM singer; COPY singer TO 'OUTSIDE/new.csv'",
    "unlock in a script": "SET enable_external_access = true",
    "load in a script": "LOAD httpfs",
    "a lasting secret in a script": (
        "CREATE PERSISTENT SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')"
    ),
}
ENDED = frozenset(["timeout", "memory", "too_many_rows", "invalid_sql"])
SEQUENCE = "CREATE SEQUENCE counter;"


VARIANTS = frozenset(
    [
        "sleep as Postgres does",
        "count a large range",
        "distinct without end",
        "a window over a large range",
        "one list of all numbers",
        "a map of all numbers",
        "a sorted cross join",
        "a growing list",
        "repeat a text many times",
        "pad a text",
        "another distance",
        "similarity of long texts",
        "a replacement by pattern",
        "lists of lists",
        "times without end",
        "a factorial",
        "5000 unions",
        "30000 columns",
        "a sum of 20000 terms",
        "a cross join",
        "unnest a list",
        "repeat a list",
        "a wide format",
        "a wide table without end",
        "rows that double",
        "a view without end",
    ]
)
REFUSED_STATUSES = frozenset(["refused"])
MISSING_STATUSES = frozenset(["refused", "invalid_sql"])
BROKEN = frozenset(["context_error"])


def attack(aim: str, sql: str, statuses: frozenset[str], **rest) -> Attack:
    return Attack("duckdb", aim, sql, statuses, variant=aim in VARIANTS, **rest)


ATTACKS = [
    *(attack(aim, sql, REFUSED_STATUSES, before=SEQUENCE) for aim, sql in REFUSED.items()),
    *(attack(aim, sql, MISSING_STATUSES) for aim, sql in OUTSIDE.items()),
    # `ok`: some are answered at once.
    *(attack(aim, sql, ENDED | {"ok"}, bomb=True) for aim, sql in STOPPED.items()),
    *(attack(aim, sql, BROKEN, way="context") for aim, sql in CONTEXTS.items()),
    *(attack(aim, sql, BROKEN, way="context", bomb=True) for aim, sql in BOMBS.items()),
    *(attack(aim, sql, ENDED, way="script", bomb=True) for aim, sql in SCRIPTS.items()),
    *(attack(aim, sql, MISSING_STATUSES, way="script") for aim, sql in SCRIPTS_REFUSED.items()),
    attack("the plan of two statements", "SELECT 1; SELECT 2", REFUSED_STATUSES, way="plan"),
    attack("the plan of a delete", "DELETE FROM singer", REFUSED_STATUSES, way="plan"),
    attack("a plan that runs", "ANALYZE DELETE FROM singer", MISSING_STATUSES, way="plan"),
]
