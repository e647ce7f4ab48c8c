"""The database of each row of text-to-SQL, and what ran on it."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from kerasft.errors import SqlError
from kerasft.sql.contexts import Script, runnable_context
from kerasft.sql.engine import Engine, engine_of
from kerasft.sql.normalize import Tables, columns_by_table
from kerasft.sql.sandbox import Outcome, Sandbox

SECONDS = 5.0
Source = tuple[str | None, Path | None]
"""A context that SQLite builds, or a file."""


class RowDatabase:
    """One row's database, and the outcomes of what ran on it, so that nothing runs twice.

    Attributes:
        engine: whose SQL it takes.
        skipped: how many statements, and parts of them, of the row's context have no
            counterpart in SQLite, so that the database lacks what they say.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        engine: Engine,
        *,
        context: str | None = None,
        path: Path | None = None,
        skipped: int = 0,
        seconds: float = SECONDS,
        known: dict[Source, Tables | None] | None = None,
    ) -> None:
        self.engine = engine
        self.skipped = skipped
        self._sandbox = sandbox
        self._context = context
        self._path = path
        self._seconds = seconds
        self._known = {} if known is None else known
        self._outcomes: dict[tuple[str, bool], Outcome] = {}

    def tables(self) -> Tables | None:
        """The columns by table; None where the database cannot be had."""
        source = (self._context, self._path)
        if source not in self._known:
            try:
                schema = self._sandbox.schema(
                    context=self._context, database=self._path, seconds=self._seconds
                )
            except SqlError:
                self._known[source] = None
            else:
                self._known[source] = columns_by_table(schema)
        return self._known[source]

    def run(self, sql: str, *, writes: bool = False) -> Outcome:
        """The outcome of `sql` on a fresh database; with `writes`, on a copy that it may change."""
        key = (sql, writes)
        if key not in self._outcomes:
            self._outcomes[key] = self._sandbox.run(
                sql,
                context=self._context,
                database=self._path,
                seconds=self._seconds,
                writes=writes,
            )
        return self._outcomes[key]


class MissingDatabase:
    """Stands for a row's database that cannot be had: every outcome says why."""

    engine: Engine = "sqlite"
    skipped = 0

    def __init__(self, message: str) -> None:
        self._outcome = Outcome("context_error", message=message)

    def tables(self) -> None:
        """Nothing is known of it."""

    def run(self, sql: str, *, writes: bool = False) -> Outcome:
        """Why there is no database, whatever is asked."""
        return self._outcome


class Databases:
    """Gives each row its database; a context manager that ends the SQL workers it started.

    Args:
        seconds: for each statement, and as much again for building a context.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._stack = ExitStack()
        self._sandboxes: dict[Engine, Sandbox] = {}
        self._scripts: dict[str, Script] = {}
        self._known: dict[Source, Tables | None] = {}
        self._engines: dict[Path, Engine | SqlError] = {}

    def __enter__(self) -> "Databases":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._sandboxes.clear()

    def of(self, row: Mapping[str, Any]) -> RowDatabase | MissingDatabase:
        """The file that the row's `database` names, else what its `context` builds in SQLite.

        Raises:
            SqlError: the worker of an engine could not be started.
        """
        if row.get("database"):
            return self._file(Path(row["database"]).expanduser().absolute())
        return self._built(row["context"] or "")

    def _built(self, context: str) -> RowDatabase:
        sandbox = self._sandbox("sqlite")
        if context not in self._scripts:
            self._scripts[context] = runnable_context(context, sandbox)
        script = self._scripts[context]
        return RowDatabase(
            sandbox,
            "sqlite",
            context=script.text,
            skipped=len(script.skipped),
            seconds=self._seconds,
            known=self._known,
        )

    def _file(self, path: Path) -> RowDatabase | MissingDatabase:
        if path not in self._engines:
            try:
                self._engines[path] = engine_of(path)
            except SqlError as error:
                self._engines[path] = error
        engine = self._engines[path]
        if isinstance(engine, SqlError):
            return MissingDatabase(str(engine))
        return RowDatabase(
            self._sandbox(engine), engine, path=path, seconds=self._seconds, known=self._known
        )

    def _sandbox(self, engine: Engine) -> Sandbox:
        if engine not in self._sandboxes:
            self._sandboxes[engine] = self._stack.enter_context(Sandbox(engine))
        return self._sandboxes[engine]
