"""Questions about a database: from words to SQL to rows, with nothing written anywhere.

A model writes the SQL, the sandbox runs it (see `kerasft/sql/sandbox.py` for what that covers).
"""

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kerasft.errors import DataError, SqlError
from kerasft.sql.describe import create_statements
from kerasft.sql.engine import engine_of
from kerasft.sql.lexical import extract_sql, fold
from kerasft.sql.linking import link, phrases
from kerasft.sql.names import quoted, table_reference
from kerasft.sql.sandbox import Outcome, Sandbox, Status
from kerasft.sql.schema import Row, Schema, Table
from kerasft.sql_writer import MAX_NEW_TOKENS, SqlWriter, open_writer

if TYPE_CHECKING:
    from kerasft.engine.loaded import LoadedModel

ROWS = 100
SECONDS = 5.0
LONGEST_SAMPLE = 40
"""Characters of a sample value; longer ones are not shown, since a cut one would match nothing."""
SAMPLE_SECONDS = 1.0
"""For the values of one column; a column that takes longer has no samples."""
LINKING_SECONDS = 2.0
"""For looking for a question's words in a database's values, all tables together."""

ANSWERED = ("ok", "too_many_rows")
SQL_ERRORS = ("invalid_sql", "refused", "no_sql")
"""What another candidate may mend; one that was too slow or too large is not tried again."""

OnText = Callable[[str], None]


@dataclass(frozen=True)
class Answer:
    """What became of a question.

    Attributes:
        question: as it was asked.
        sql: the statement that ran or was refused; what the model wrote where it is no SQL.
        columns: names as the engine gives them.
        rows: as long as `columns` each, at most as many as were allowed.
        truncated: there were more rows.
        status: of the sandbox's `Outcome`; `ok` and `too_many_rows` are answers.
        message: why there is no answer, as the engine or the sandbox says it.
        seconds: wall time from the question to the rows.
        tables_left_out: of the prompt, since the schema was too long for it.
        retried: candidates after the likeliest that were tried.
    """

    question: str
    sql: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    truncated: bool
    status: Status
    message: str
    seconds: float
    tables_left_out: tuple[str, ...] = ()
    retried: int = 0

    @property
    def ok(self) -> bool:
        """Whether the SQL ran."""
        return self.status in ANSWERED


class Asker:
    """Answers questions about one database with one model; both stay open between questions.

    Use it as a context manager.

    Args:
        database: an SQLite or DuckDB file, which is only read.
        writer: of the SQL.
        limit: rows at the most.
        seconds: for each query.
        retry: width of a beam whose candidates are tried where the likeliest answer gives an
            SQL error; 0 for none.
        samples: values shown of each text column, the most frequent first. The shipped recipes
            train without any.

    Raises:
        SqlError: there is no such file, it is no database or it cannot be read, or it has no
            tables.
    """

    def __init__(
        self,
        database: str | Path,
        writer: SqlWriter,
        *,
        limit: int = ROWS,
        seconds: float = SECONDS,
        retry: int = 0,
        samples: int = 0,
    ) -> None:
        self.database = Path(database)
        self._writer = writer
        self._limit, self._seconds, self._retry = limit, seconds, retry
        self._sandbox = Sandbox(engine_of(self.database))
        try:
            self.schema: Schema = self._sandbox.schema(database=self.database)
            if not self.schema.tables:
                raise SqlError(f"{database} has no tables, so there is nothing to ask about")
            self._samples = {
                table.name: self._values(table, samples) for table in self.schema.tables
            }
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Asker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the sandbox's worker."""
        self._sandbox.close()

    def ask(self, question: str, on_text: OnText = lambda text: None) -> Answer:
        """SQL for a question, and what it gives.

        Args:
            question: in words.
            on_text: told each piece of the likeliest answer as it comes.

        Raises:
            DataError: no table of the schema fits the prompt.
            SqlError: the sandbox's worker could not be started.
        """
        began = time.monotonic()
        context, left_out = self._context(question)
        tries: list[tuple[str, Outcome]] = []
        for text in self._texts(question, context, on_text):
            found = extract_sql(text)
            outcome = _no_sql(text.strip()) if found is None else self.run(found)
            tries.append((text.strip() if found is None else found, outcome))
            if outcome.status not in SQL_ERRORS:
                break
        # Where none runs, the error of the likeliest says the most.
        sql, outcome = tries[-1 if tries[-1][1].status not in SQL_ERRORS else 0]
        return Answer(
            question=question,
            sql=sql,
            columns=outcome.columns,
            rows=outcome.rows,
            truncated=outcome.truncated,
            status=outcome.status,
            message=outcome.message,
            seconds=time.monotonic() - began,
            tables_left_out=left_out,
            retried=len(tries) - 1,
        )

    def run(self, sql: str) -> Outcome:
        """What a statement of yours gives, behind the same wall."""
        return self._sandbox.run(
            sql, database=self.database, seconds=self._seconds, max_rows=self._limit
        )

    def explain(self, sql: str) -> Outcome:
        """The plan of a statement, which does not run."""
        return self._sandbox.run(
            sql, database=self.database, seconds=self._seconds, max_rows=self._limit, explain=True
        )

    def describe(self, tables: Collection[str] | None = None) -> str:
        """The schema as a prompt has it, whole or of some tables."""
        return create_statements(self.schema, tables=tables, samples=self._samples)

    def _texts(self, question: str, context: str, on_text: OnText) -> Iterator[str]:
        """The likeliest answer, then other ones, each with different SQL."""
        pieces = []
        for piece in self._writer.stream(question, context):
            on_text(piece)
            pieces.append(piece)
        first = "".join(pieces)
        yield first
        if not self._retry:
            return
        seen = {_folded(first)}
        for text in self._writer.candidates(question, context, self._retry):
            if _folded(text) not in seen:
                seen.add(_folded(text))
                yield text

    def _context(self, question: str) -> tuple[str, tuple[str, ...]]:
        """The schema for a prompt, and the tables that it leaves out."""

        def fits(names: Collection[str]) -> bool:
            tokens = self._writer.prompt_tokens(question, self.describe(names))
            return tokens <= self._writer.max_prompt_tokens

        names = [table.name for table in self.schema.tables]
        if fits(names):
            return self.describe(), ()
        linked = link(question, self.schema, fits, matches=self._matches(question))
        if not linked.kept:
            raise DataError(
                f"no table of {self.database} fits a prompt of {self._writer.max_prompt_tokens} "
                "tokens beside the question; raise --max-prompt-tokens"
            )
        return self.describe(linked.kept), linked.left_out

    def _values(self, table: Table, count: int) -> dict[str, tuple[object, ...]]:
        """The most frequent short values of each text column."""
        if not count:
            return {}
        found = {}
        for column in _text_columns(table):
            name = quoted(column, self.schema.engine)
            outcome = self._sandbox.run(
                f"SELECT {name} FROM {table_reference(table, self.schema.engine)} "
                f"WHERE length(CAST({name} AS TEXT)) BETWEEN 1 AND {LONGEST_SAMPLE} "
                f"GROUP BY {name} ORDER BY count(*) DESC, {name} LIMIT {count}",
                database=self.database,
                seconds=SAMPLE_SECONDS,
            )
            if outcome.status == "ok":
                found[column] = tuple(value for (value,) in outcome.rows)
        return found

    def _matches(self, question: str) -> set[tuple[str, str]]:
        """Table and column of each text column that holds a phrase of the question."""
        texts = ", ".join("'" + text.replace("'", "''") + "'" for text in phrases(question))
        found: set[tuple[str, str]] = set()
        ends = time.monotonic() + LINKING_SECONDS
        for table in self.schema.tables:
            columns = _text_columns(table)
            left = ends - time.monotonic()
            if not (columns and texts) or left <= 0:
                continue
            names = [quoted(column, self.schema.engine) for column in columns]
            held = ", ".join(f"max(lower({name}) IN ({texts}))" for name in names)
            outcome = self._sandbox.run(
                f"SELECT {held} FROM {table_reference(table, self.schema.engine)}",
                database=self.database,
                seconds=min(SAMPLE_SECONDS, left),
            )
            if outcome.status == "ok":
                found |= {
                    (table.name, column)
                    for column, holds in zip(columns, outcome.rows[0], strict=True)
                    if holds
                }
        return found


def ask(
    question: str,
    database: str | Path,
    *,
    model: "str | Path | LoadedModel | None" = None,
    recipe: str | None = None,
    backend: str | None = None,
    limit: int = ROWS,
    seconds: float = SECONDS,
    retry: int = 0,
    samples: int = 0,
    max_prompt_tokens: int | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> Answer:
    """Answer one question about a database. For several, keep an `Asker`.

    Args:
        question: in words.
        database: an SQLite or DuckDB file, which is only read.
        model: a run, an adapter folder, a preset (with `recipe`) or a loaded model; the
            adapter that kerasft ships where not given.
        recipe: whose template a bare preset is prompted with.
        backend: the run's where not given, else torch.
        limit: rows at the most.
        seconds: for the query.
        retry: width of a beam whose candidates are tried on an SQL error; 0 for none.
        samples: values shown of each text column.
        max_prompt_tokens: longer prompts are cut to the tables that the question is about;
            what the model was trained with where not given.
        max_new_tokens: of the SQL, at the most.

    Raises:
        KerasftError: no such database or model, or no table fits the prompt. An SQL error is
            an `Answer` with its `status`.
    """
    engine_of(database)  # a wrong path is told before a model is loaded
    writer = open_writer(
        model,
        recipe=recipe,
        backend=backend,
        max_prompt_tokens=max_prompt_tokens,
        max_new_tokens=max_new_tokens,
    )
    with Asker(
        database, writer, limit=limit, seconds=seconds, retry=retry, samples=samples
    ) as asker:
        return asker.ask(question)


def _text_columns(table: Table) -> list[str]:
    """Columns of single texts; DuckDB's lists, structs and maps of texts are none."""
    kinds = ("CHAR", "TEXT", "CLOB", "STRING", "ENUM")
    found = []
    for column in table.columns:
        kind = column.type.upper()
        nested = kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION"))
        if not kind or (not nested and any(each in kind for each in kinds)):
            found.append(column.name)
    return found


def _folded(text: str) -> str:
    return fold(extract_sql(text) or text)


def _no_sql(text: str) -> Outcome:
    said = f"it wrote {text[:200]!r}" if text else "it wrote nothing"
    return Outcome("no_sql", message=f"the model wrote no SQL: {said}")
