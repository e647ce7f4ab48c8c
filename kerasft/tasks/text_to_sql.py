"""Text to SQL: which columns a row has, and how an answer is judged.

An answer is judged by what its SQL returns: the gold query and the predicted one run on fresh
copies of the database that the row's `context` builds, and their results are compared under
the rules of `kerasft.sql.results`. Beside it stand two text scores and whether the SQL runs.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kerasft.sql.normalize import extract_sql, normalize, order_keys_query, ordered_outermost
from kerasft.sql.results import MODE, Verdict, equal_results
from kerasft.sql.sandbox import Outcome, Sandbox
from kerasft.tasks.intervals import proportion

COLUMNS = ("question", "context", "sql")
OPTIONAL_COLUMNS = ("difficulty",)
PROMPT_COLUMNS = ("question", "context")
COMPLETION_COLUMN = "sql"

COMPILED = ("ok", "too_many_rows", "timeout", "memory")
MISMATCHES = {"rows": "wrong_rows", "order": "wrong_order", "columns": "wrong_columns"}


@dataclass(frozen=True)
class Judgement:
    """What one answer is worth.

    Attributes:
        predicted_sql: the statement found in the answer, None if there is none.
        raw_exact_match: the answer is the gold SQL, letter by letter but for space around it.
        exact_match: the predicted and the gold SQL have the same normal form.
        valid_sql: SQLite compiled the predicted SQL and let it run, whether or not it ended in
            time; a refused statement is not valid; None where the row's context cannot be built.
        execution_match: both results are equal; None where the gold query gives no result or
            the row's context cannot be built.
        status: `match`, `wrong_rows`, `wrong_order`, `wrong_columns`, `gold_error`, or the
            status of the predicted SQL (`no_sql`, `invalid_sql`, `refused`, `timeout`,
            `memory`, `too_many_rows`, `worker_died`, and `context_error` if the database was
            there for the gold query and could not be had again).
        gold_status: the status of the gold SQL (`kerasft.sql.sandbox.Outcome`).
        gold_empty: the gold query gives a result without rows, which many wrong queries match.
        permuted_columns: wrong rows, but right with the columns in another order.
        message: what SQLite said of the gold SQL if that failed, else of the predicted one.
        difficulty: the row's own, if it has one.
    """

    predicted_sql: str | None
    raw_exact_match: bool
    exact_match: bool
    valid_sql: bool | None
    execution_match: bool | None
    status: str
    gold_status: str
    gold_empty: bool
    permuted_columns: bool
    message: str
    difficulty: str | None


def score(
    rows: Sequence[Mapping[str, Any]],
    answers: Sequence[str],
    *,
    sandbox: Sandbox | None = None,
) -> list[Judgement]:
    """Judge one answer a row.

    Args:
        rows: with the columns `question`, `context` (a script that builds the database) and
            `sql` (gold), and maybe `difficulty`.
        answers: what the model wrote, one a row.
        sandbox: where the SQL runs; None: one of its own, ended at the end.

    Raises:
        ValueError: not one answer a row.
        SqlError: the SQL worker could not be started.
    """
    if len(rows) != len(answers):
        raise ValueError(f"{len(rows)} rows, but {len(answers)} answers: give one a row")
    if sandbox is None:
        with Sandbox() as own:
            return score(rows, answers, sandbox=own)
    return [_judge(row, answer, sandbox) for row, answer in zip(rows, answers, strict=True)]


def _judge(row: Mapping[str, Any], answer: str, sandbox: Sandbox) -> Judgement:
    gold_sql, context = row["sql"], row["context"] or ""
    predicted_sql = extract_sql(answer)
    gold = sandbox.run(gold_sql, context=context)
    if predicted_sql is None:
        predicted = Outcome("no_sql", message="there is no SQL statement in the answer")
    else:
        predicted = sandbox.run(predicted_sql, context=context)
    verdict = _compare(gold_sql, gold, predicted, context, sandbox)
    no_database = "context_error" in (gold.status, predicted.status)
    judged = gold.status == "ok" and not no_database
    return Judgement(
        predicted_sql=predicted_sql,
        raw_exact_match=answer.strip() == gold_sql.strip(),
        exact_match=predicted_sql is not None and normalize(predicted_sql) == normalize(gold_sql),
        valid_sql=None if no_database else predicted.status in COMPILED,
        execution_match=verdict.equal if judged else None,
        status=_status(gold, predicted, verdict),
        gold_status=gold.status,
        gold_empty=judged and not gold.rows,
        permuted_columns=verdict.permuted_columns,
        message=predicted.message if gold.status == "ok" else gold.message,
        difficulty=row.get("difficulty"),
    )


def _compare(
    gold_sql: str, gold: Outcome, predicted: Outcome, context: str, sandbox: Sandbox
) -> Verdict:
    verdict = equal_results(gold, predicted, ordered=ordered_outermost(gold_sql))
    if verdict.reason != "order" or (keyed := order_keys_query(gold_sql)) is None:
        return verdict
    # The same rows in another sequence: only now is it worth asking which of them tie.
    query, keys = keyed
    with_keys = sandbox.run(query, context=context)
    rows = tuple(row[:-keys] for row in with_keys.rows)
    if with_keys.status != "ok" or len(rows) != len(gold.rows):
        return verdict
    gold_again = Outcome("ok", columns=gold.columns, rows=rows)
    if not equal_results(gold, gold_again, ordered=False).equal:
        return verdict
    order_keys = tuple(row[-keys:] for row in with_keys.rows)
    return equal_results(gold_again, predicted, ordered=True, order_keys=order_keys)


def _status(gold: Outcome, predicted: Outcome, verdict: Verdict) -> str:
    if gold.status != "ok":
        return "gold_error"
    if predicted.status != "ok":
        return predicted.status
    return "match" if verdict.equal else MISMATCHES[verdict.reason]


def summarise(judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Counts and rates with 95 % Wilson intervals, and the same by difficulty if rows have one.

    Each rate states what it is of: `execution_accuracy` leaves out the rows that cannot be
    judged because their gold query or their context fails, which `gold_errors` counts,
    `execution_accuracy_non_empty` also those whose gold result has no rows, and `valid_sql` the
    rows whose context cannot be built.
    """
    summary = _rates(judgements)
    summary["result_mode"] = MODE
    by_difficulty: dict[str, list[Judgement]] = {}
    for judgement in judgements:
        if judgement.difficulty is not None:
            by_difficulty.setdefault(str(judgement.difficulty), []).append(judgement)
    if by_difficulty:
        summary["by_difficulty"] = {name: _rates(own) for name, own in by_difficulty.items()}
    return summary


def _rates(judgements: Sequence[Judgement]) -> dict[str, Any]:
    judged = [judgement for judgement in judgements if judgement.execution_match is not None]
    non_empty = [judgement for judgement in judged if not judgement.gold_empty]
    runnable = [judgement for judgement in judgements if judgement.valid_sql is not None]

    def rate(of: Sequence[Judgement], name: str) -> dict[str, Any]:
        return proportion(sum(bool(getattr(judgement, name)) for judgement in of), len(of))

    return {
        "rows": len(judgements),
        "execution_accuracy": rate(judged, "execution_match"),
        "execution_accuracy_non_empty": rate(non_empty, "execution_match"),
        "exact_match": rate(judgements, "exact_match"),
        "raw_exact_match": rate(judgements, "raw_exact_match"),
        "valid_sql": rate(runnable, "valid_sql"),
        "gold_errors": len(judgements) - len(judged),
        "gold_empty": len(judged) - len(non_empty),
        "permuted_columns": sum(judgement.permuted_columns for judgement in judgements),
        "status": dict(Counter(judgement.status for judgement in judgements).most_common()),
    }
