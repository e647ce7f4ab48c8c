"""The prompt of `kerasft ask` without a question: questions and commands, with a history."""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Protocol

import click

from kerasft.asking import Asker
from kerasft.caches import cache_dir
from kerasft.cli.answers import AnswerPrinter
from kerasft.cli.cells import escaped, escaped_lines
from kerasft.cli.output import print_error
from kerasft.errors import KerasftError

LONGEST_HISTORY = 1000  # lines
HELP = """\
A line is a question. Commands:
  \\schema [TABLE …]  the tables, as the model sees them ("a name" of two words in quotes)
  \\sql               edit the last SQL, and run it
  \\sql SQL           run SQL of your own (read-only, as all here)
  \\plan              the plan of the last SQL
  \\h                 this help
  \\q                 leave (or Ctrl-D)"""


class ReadLine(Protocol):
    """Reads a line: `prompt` before it, and `text` in it to be edited."""

    def __call__(self, prompt: str, text: str = "") -> str: ...


class Prompt:
    """Reads questions until `\\q` or the end of the input.

    Args:
        asker, printer: that answer.
        read: of a line; the terminal with the history of earlier sessions where not given.
    """

    def __init__(self, asker: Asker, printer: AnswerPrinter, read: ReadLine | None = None) -> None:
        self._asker = asker
        self._printer = printer
        self._read = read
        self._commands: dict[str, Callable[[str], None]] = {
            "schema": self._schema,
            "sql": self._sql,
            "plan": self._plan,
            "h": lambda _: click.echo(HELP),
        }

    def run(self) -> bool:
        """Answer until the user leaves; True, since an error here is no failure of the command."""
        name = escaped(self._asker.database.name)
        click.echo(f"{name}: {len(self._asker.schema.tables)} tables. \\h for help, \\q to leave.")
        with contextlib.nullcontext(self._read) if self._read else history() as read:
            self._read = read
            while True:
                try:
                    line = read("? ").strip()
                except KeyboardInterrupt:
                    click.echo()
                    continue
                except EOFError:
                    click.echo()
                    return True
                if line in ("\\q", "\\quit", "exit", "quit"):
                    return True
                if line:
                    self._answer(line)

    def _answer(self, line: str) -> None:
        try:
            if line.startswith("\\"):
                name, _, rest = line[1:].partition(" ")
                self._commands.get(name, self._unknown)(rest.strip())
            else:
                self._printer.ask(line)
        except KeyboardInterrupt:
            click.echo("\nStopped.")
        except KerasftError as error:
            print_error(str(error))

    def _unknown(self, _: str) -> None:
        click.echo(HELP)

    def _schema(self, names: str) -> None:
        asked = {
            (quoted or plain).lower() for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', names)
        }
        known = [table.name for table in self._asker.schema.tables]
        shown = [name for name in known if not asked or name.lower() in asked]
        if missing := asked - {name.lower() for name in shown}:
            there = ", ".join(map(escaped, known))
            print_error(f"no table {', '.join(sorted(map(escaped, missing)))}; there are {there}")
        elif shown:
            click.echo(escaped_lines(self._asker.describe(shown)))

    def _sql(self, sql: str) -> None:
        sql = sql or self._read("sql> ", self._printer.last_sql).strip()
        if sql:
            self._printer.last_sql = sql
            self._printer.show(self._asker.run(sql))

    def _plan(self, _: str) -> None:
        if not self._printer.last_sql:
            print_error("there was no SQL yet")
            return
        self._printer.show_plan(self._asker.explain(self._printer.last_sql))


@contextlib.contextmanager
def history():
    """A reader with line editing and the history of earlier sessions, kept when it is left."""
    readline = _readline()
    if readline is None:
        yield lambda prompt, text="": input(prompt)
        return
    file = history_file()
    readline.clear_history()
    with contextlib.suppress(OSError):
        readline.read_history_file(file)

    def read(prompt: str, text: str = "") -> str:
        readline.set_startup_hook((lambda: readline.insert_text(text)) if text else None)
        try:
            return input(prompt)
        finally:
            readline.set_startup_hook(None)

    try:
        yield read
    finally:
        readline.set_history_length(LONGEST_HISTORY)
        # A history that cannot be kept is no reason to fail.
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o600)
            readline.write_history_file(file)


def history_file() -> Path:
    """Where questions of earlier sessions are kept."""
    return cache_dir() / "ask-history"


def _readline() -> ModuleType | None:
    try:
        import readline
    except ImportError:  # Windows has none
        return None
    return readline
