"""The database of each row of text-to-SQL, and what ran on it."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from kerasft.errors import SqlError
from kerasft.sql.engine import Engine, engine_of
from kerasft.sql.sandbox import Outcome, Sandbox


class RowDatabase:
    """One row's database, and the outcomes of what ran on it, so that nothing runs twice.

    Attributes:
        engine: whose SQL it takes.
        skipped: how many statements of the row's context could not be brought to SQLite.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        engine: Engine,
        *,
        context: str | None = None,
        path: Path | None = None,
        skipped: int = 0,
    ) -> None:
        self.engine = engine
        self.skipped = skipped
        self._sandbox = sandbox
        self._context = context
        self._path = path
        self._outcomes: dict[tuple[str, bool], Outcome] = {}

    def run(self, sql: str, *, writes: bool = False) -> Outcome:
        """The outcome of `sql` on a fresh database; with `writes`, on a copy that it may change."""
        key = (sql, writes)
        if key not in self._outcomes:
            self._outcomes[key] = self._sandbox.run(sql, context=self._context, database=self._path)
        return self._outcomes[key]


class MissingDatabase:
    """Stands for a row's database that cannot be had: every outcome says why."""

    engine: Engine = "sqlite"
    skipped = 0

    def __init__(self, message: str) -> None:
        self._outcome = Outcome("context_error", message=message)

    def run(self, sql: str, *, writes: bool = False) -> Outcome:
        return self._outcome


class Databases:
    """Gives each row its database; a context manager that ends the SQL workers it started."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._sandboxes: dict[Engine, Sandbox] = {}
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
        return RowDatabase(self._sandbox("sqlite"), "sqlite", context=row["context"] or "")

    def _file(self, path: Path) -> RowDatabase | MissingDatabase:
        if path not in self._engines:
            try:
                self._engines[path] = engine_of(path)
            except SqlError as error:
                self._engines[path] = error
        engine = self._engines[path]
        if isinstance(engine, SqlError):
            return MissingDatabase(str(engine))
        return RowDatabase(self._sandbox(engine), engine, path=path)

    def _sandbox(self, engine: Engine) -> Sandbox:
        if engine not in self._sandboxes:
            self._sandboxes[engine] = self._stack.enter_context(Sandbox())
        return self._sandboxes[engine]
