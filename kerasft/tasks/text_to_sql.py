"""Text to SQL: which columns a row has, and how an answer is judged.

An answer is judged by what its SQL does. Where the gold statement reads, it and the predicted
one run on fresh copies of the row's database, and their results are compared under every mode
of `kerasft.sql.modes`, side by side. Where the gold statement writes, both change throw-away
copies, and the databases afterwards are compared (`kerasft.sql.states`). Beside it stand two
text scores and whether the SQL runs.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kerasft.sql import statements
from kerasft.sql.contexts import sqlite_query
from kerasft.sql.lexical import fold
from kerasft.sql.modes import MODES, Gold
from kerasft.sql.normalize import normalize, order_keys_query
from kerasft.sql.results import Verdict, equal_results
from kerasft.sql.sandbox import Outcome
from kerasft.sql.states import states_equal
from kerasft.tasks.groups import by_group
from kerasft.tasks.intervals import proportion
from kerasft.tasks.row_databases import Databases, MissingDatabase, RowDatabase

COLUMNS = ("question", "context", "sql")
OPTIONAL_COLUMNS = ("difficulty", "task_type", "database")
PROMPT_COLUMNS = ("question", "context")
COMPLETION_COLUMN = "sql"
PAIRED = (
    "execution_match",
    "execution_match_spider",
    "execution_match_bird",
    "exact_match",
    "raw_exact_match",
    "valid_sql",
)
GROUPS = ("difficulty", "task_type")

AnyDatabase = RowDatabase | MissingDatabase
NOTHING = "SELECT 1"  # leaves the database as it is
BAG = "bag-1"  # the mode of `execution_match`
COMPILED = ("ok", "too_many_rows", "timeout", "memory")
MISMATCHES = {"rows": "wrong_rows", "order": "wrong_order", "columns": "wrong_columns"}
# The names that public data sets give these columns.
DIFFICULTY_COLUMNS = ("difficulty", "sql_complexity")
TASK_TYPE_COLUMNS = ("task_type", "sql_task_type")


@dataclass(frozen=True)
class Judgement:
    """What one answer is worth.

    Attributes:
        predicted_sql: the statement found in the answer, None if there is none.
        raw_exact_match: the answer is the gold SQL, letter by letter but for space around it.
        exact_match: the predicted and the gold SQL have the same normal form.
        valid_sql: the engine compiled the predicted SQL and let it run, whether or not it ended
            in time; a refused statement is not valid; None where the row's database cannot be
            had.
        execution_match: both do the same under `bag-1`, or leave the same database where the
            gold SQL writes; None where the gold SQL fails or the database cannot be had.
        execution_match_spider: the same under `spider-1`, which judges no SQL that writes
            (None).
        execution_match_bird: the same under `bird-1`, likewise.
        status: `match`, `wrong_rows`, `wrong_order`, `wrong_columns`, `wrong_state` (gold
            writes, and the databases differ or the prediction only reads), `gold_error`,
            `context_error` (the row's database cannot be had, or was built without what the gold
            SQL needs), or what became of the
            predicted SQL: `no_sql`, `syntax_error`, `missing_table`, `missing_column`,
            `invalid_sql` (any other fault), `refused` (it writes where gold reads, or does what
            nothing may), `timeout`, `memory`, `too_many_rows`, `worker_died`.
        gold_status: the status of the gold SQL (`kerasft.sql.sandbox.Outcome`).
        gold_empty: the gold query gives a result without rows, or the gold statement changes
            nothing: many wrong answers match that.
        gold_translated: the gold SQL runs in SQLite only as translated from another dialect; the
            predicted SQL of such a row is translated too where it does not run as it is.
        permuted_columns: wrong rows, but right with the columns in another order.
        context_skipped: what the row's context says and SQLite has no counterpart of, in
            statements and parts of them.
        message: what the engine said of the gold SQL if that failed, else of the predicted one, or
            in what the databases differ.
        difficulty: the row's own (`difficulty`, or gretel's `sql_complexity`), if it has one.
        task_type: the row's own (`task_type`, or gretel's `sql_task_type`), else what the gold
            SQL does: `read`, `write` (rows) or `schema` (tables).
    """

    predicted_sql: str | None
    raw_exact_match: bool
    exact_match: bool
    valid_sql: bool | None
    execution_match: bool | None
    execution_match_spider: bool | None
    execution_match_bird: bool | None
    status: str
    gold_status: str
    gold_empty: bool
    gold_translated: bool
    permuted_columns: bool
    context_skipped: int
    message: str
    difficulty: str | None
    task_type: str


@dataclass(frozen=True)
class _Execution:
    """What running both statements showed; the fields are those of `Judgement`."""

    gold: Outcome
    predicted: Outcome
    matches: tuple[bool | None, ...]  # in the order of MODES
    mismatch: str  # the status where both ran and bag-1 found them unequal
    gold_empty: bool = False
    permuted_columns: bool = False
    note: str = ""


def score(
    rows: Sequence[Mapping[str, Any]],
    answers: Sequence[str],
    *,
    databases: Databases | None = None,
) -> list[Judgement]:
    """Judge one answer a row.

    Args:
        rows: with the columns `question`, `context` (a script that builds the database, in
            SQLite's, MySQL's, PostgreSQL's or standard SQL) and `sql` (gold); maybe with
            `database`, the path of an SQLite or DuckDB file to use instead of the context, and
            with `difficulty` and `task_type`.
        answers: what the model wrote, one a row.
        databases: where the SQL runs; None: workers of its own, ended at the end.

    Raises:
        ValueError: not one answer a row.
        SqlError: an SQL worker could not be started, or DuckDB is not installed.
    """
    if len(rows) != len(answers):
        raise ValueError(f"{len(rows)} rows, but {len(answers)} answers: give one a row")
    if databases is None:
        with Databases() as own:
            return score(rows, answers, databases=own)
    return [_judge(row, answer, databases) for row, answer in zip(rows, answers, strict=True)]


def _judge(row: Mapping[str, Any], answer: str, databases: Databases) -> Judgement:
    gold_sql = row["sql"]
    kind = statements.statement_kind(gold_sql)
    writes = kind != "read"
    predicted_sql = statements.predicted_sql(gold_sql, answer)
    database = databases.of(row)
    gold_run = _runnable(gold_sql, database, writes=writes)
    predicted_run = predicted_sql
    if predicted_sql is not None and gold_run != gold_sql:
        # The row speaks another dialect than SQLite's, and so may the answer.
        predicted_run = _runnable(predicted_sql, database, writes=writes)
    execution = (_writing if writes else _reading)(gold_run, predicted_run, database)
    gold, predicted = execution.gold, execution.predicted
    no_database = "context_error" in (gold.status, predicted.status) or _lacks(database, gold)
    judged = gold.status == "ok" and not no_database
    bag, spider, bird = execution.matches if judged else (None, None, None)
    exact = predicted_sql is not None and _same_text(gold_sql, predicted_sql, database)
    return Judgement(
        predicted_sql=predicted_sql,
        raw_exact_match=answer.strip() == gold_sql.strip(),
        exact_match=exact,
        valid_sql=None if no_database else predicted.status in COMPILED,
        execution_match=bag,
        execution_match_spider=spider,
        execution_match_bird=bird,
        status="context_error" if no_database else _status(execution),
        gold_status=gold.status,
        gold_empty=judged and execution.gold_empty,
        gold_translated=gold_run != gold_sql,
        permuted_columns=execution.permuted_columns,
        context_skipped=database.skipped,
        message=gold.message if gold.status != "ok" else predicted.message or execution.note,
        difficulty=_first(row, DIFFICULTY_COLUMNS),
        task_type=_first(row, TASK_TYPE_COLUMNS) or kind,
    )


def _runnable(sql: str, database: AnyDatabase, *, writes: bool) -> str:
    """The SQL itself, or its translation to SQLite where only that runs."""
    if database.engine != "sqlite" or database.run(sql, writes=writes).status != "invalid_sql":
        return sql
    translated = sqlite_query(sql)
    return translated if database.run(translated, writes=writes).status == "ok" else sql


def _lacks(database: AnyDatabase, gold: Outcome) -> bool:
    """Whether the gold SQL misses what was left out of the database."""
    missing = ("missing_table", "missing_column")
    failed = gold.status == "invalid_sql" and statements.fault_kind(gold.message) in missing
    return failed and database.skipped > 0


def _reading(gold_sql: str, predicted_sql: str | None, database: AnyDatabase) -> _Execution:
    """Both results under every mode; each mode prepares the SQL in its own way."""
    verdicts: list[Verdict | None] = []
    for mode in MODES.values():
        gold = database.run(mode.prepare(gold_sql))
        predicted = _predicted(predicted_sql and mode.prepare(predicted_sql), database)
        if gold.status != "ok":
            verdicts.append(None)
            continue
        verdict = mode.compare(gold, predicted, Gold(gold_sql, None))
        if mode.name == BAG and verdict.reason == "order":
            # The same rows in another sequence: only now is it worth asking which of them tie.
            verdict = _with_ties(gold, predicted, gold_sql, database) or verdict
        verdicts.append(verdict)
    gold, bag = database.run(gold_sql), verdicts[0]
    return _Execution(
        gold=gold,
        predicted=_predicted(predicted_sql, database),
        matches=tuple(verdict and verdict.equal for verdict in verdicts),
        mismatch="" if bag is None else MISMATCHES.get(bag.reason, ""),
        gold_empty=not gold.rows,
        permuted_columns=bag is not None and bag.permuted_columns,
    )


def _with_ties(
    gold: Outcome, predicted: Outcome, gold_sql: str, database: AnyDatabase
) -> Verdict | None:
    """The verdict of bag-1 if rows with equal ORDER BY keys may swap; None without keys."""
    keyed = order_keys_query(gold_sql, database.engine)
    if keyed is None:
        return None
    query, keys = keyed
    with_keys = database.run(query)
    rows = tuple(row[:-keys] for row in with_keys.rows)
    if with_keys.status != "ok" or len(rows) != len(gold.rows):
        return None
    gold_again = Outcome("ok", columns=gold.columns, rows=rows)
    if not equal_results(gold, gold_again, ordered=False).equal:
        return None
    order_keys = tuple(row[-keys:] for row in with_keys.rows)
    return MODES[BAG].compare(gold_again, predicted, Gold(gold_sql, order_keys))


def _writing(gold_sql: str, predicted_sql: str | None, database: AnyDatabase) -> _Execution:
    """The databases that both statements leave; a prediction that only reads is wrong."""
    gold = database.run(gold_sql, writes=True)
    predicted = _predicted(predicted_sql, database, writes=True)
    if gold.status != "ok":
        return _Execution(gold, predicted, (None,) * len(MODES), "")
    before = database.run(NOTHING, writes=True)
    equal, note = False, ""
    if predicted.status == "ok":
        verdict = states_equal(gold.state, predicted.state, engine=database.engine)
        reads = statements.statement_kind(predicted_sql or "") == "read"
        equal = verdict.equal and not reads
        if reads:
            note = "it only reads, where the gold SQL writes"
        elif not equal:
            note = f"the databases afterwards differ: {verdict.reason}"
    return _Execution(
        gold=gold,
        predicted=predicted,
        matches=tuple(equal if name == BAG else None for name in MODES),
        mismatch="wrong_state",
        gold_empty=states_equal(before.state, gold.state, engine=database.engine).equal,
        note=note,
    )


def _predicted(sql: str | None, database: AnyDatabase, *, writes: bool = False) -> Outcome:
    if sql is None:
        return Outcome("no_sql", message="there is no SQL statement in the answer")
    return database.run(sql, writes=writes)


def _status(execution: _Execution) -> str:
    if execution.gold.status != "ok":
        return "gold_error"
    predicted = execution.predicted
    if predicted.status == "invalid_sql":
        return statements.fault_kind(predicted.message)
    if predicted.status != "ok":
        return predicted.status
    return "match" if execution.matches[0] else execution.mismatch


def _same_text(gold_sql: str, predicted_sql: str, database: AnyDatabase) -> bool:
    if fold(gold_sql) == fold(predicted_sql):
        return True
    tables = database.tables()
    forms = [normalize(sql, database.engine, tables) for sql in (gold_sql, predicted_sql)]
    return forms[0] == forms[1]


def _first(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((str(row[name]) for name in names if row.get(name) is not None), None)


def summarise(judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Counts and rates with 95 % Wilson intervals, of all rows and of each group of `GROUPS`.

    Each rate states what it is of: `execution_accuracy` (by `bag-1`) leaves out the rows that
    cannot be judged because their gold SQL or their database fails, which `gold_errors` and
    `context_errors` count; `execution_accuracy_non_empty` also those whose gold result has no
    rows; `execution_accuracy_spider` and `execution_accuracy_bird` also those whose gold SQL
    writes; and `valid_sql` the rows whose database cannot be had. `by_difficulty` and
    `by_task_type` hold the same for each group, where there is more than one.
    """
    return {
        **_rates(judgements),
        "result_modes": list(MODES),
        **by_group(judgements, GROUPS, _rates),
    }


def _rates(judgements: Sequence[Judgement]) -> dict[str, Any]:
    judged = [judgement for judgement in judgements if judgement.execution_match is not None]
    no_database = [each for each in judgements if each.status == "context_error"]

    def rate(name: str, of: Sequence[Judgement] = judgements) -> dict[str, Any]:
        values = [getattr(judgement, name) for judgement in of]
        values = [value for value in values if value is not None]
        return proportion(sum(values), len(values))

    def counts(values: Iterable[str]) -> dict[str, int]:
        return dict(Counter(values).most_common())

    return {
        "rows": len(judgements),
        "execution_accuracy": rate("execution_match"),
        "execution_accuracy_spider": rate("execution_match_spider"),
        "execution_accuracy_bird": rate("execution_match_bird"),
        "execution_accuracy_non_empty": rate(
            "execution_match", [judgement for judgement in judged if not judgement.gold_empty]
        ),
        "exact_match": rate("exact_match"),
        "raw_exact_match": rate("raw_exact_match"),
        "valid_sql": rate("valid_sql"),
        "gold_errors": len(judgements) - len(judged) - len(no_database),
        "context_errors": len(no_database),
        "contexts_cut": sum(judgement.context_skipped > 0 for judgement in judgements),
        "gold_translated": sum(judgement.gold_translated for judgement in judgements),
        "gold_empty": sum(judgement.gold_empty for judgement in judged),
        "permuted_columns": sum(judgement.permuted_columns for judgement in judgements),
        "status": counts(judgement.status for judgement in judgements),
        "gold_status": counts(
            judgement.gold_status for judgement in judgements if judgement.gold_status != "ok"
        ),
    }
