"""Answers of `kerasft ask` as they are printed: a table, CSV or JSON."""

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import click

from kerasft.asking import SQL_ERRORS, Answer, Asker
from kerasft.charts import chart_of, draw
from kerasft.cli.cells import csv_text, escaped, escaped_lines, json_cell, result_table
from kerasft.cli.output import console, print_error
from kerasft.errors import KerasftError
from kerasft.masking import masked
from kerasft.sql.lexical import fold
from kerasft.sql.sandbox import Outcome

Form = Literal["table", "csv", "json", "lines"]
"""`lines` is JSON with one object a line."""


class AnswerPrinter:
    """Asks, and prints what comes.

    Args:
        asker: that answers.
        form: of the rows.
        limit: rows at the most, named where there were more.
        explain: print the query's plan too.
        chart: PNG of the result, None for none.
    """

    def __init__(
        self, asker: Asker, form: Form, *, limit: int, explain: bool, chart: Path | None
    ) -> None:
        self._asker = asker
        self._form = form
        self._limit = limit
        self._explain = explain
        self._chart = chart
        self._printed = ""
        self.last_sql = ""

    def ask(self, question: str, *, repeat: bool = False) -> bool:
        """Print the answer to a question; whether there is one.

        Args:
            question: in words.
            repeat: print the question before it, for readers who did not type it.

        Raises:
            KerasftError: as `Asker.ask`; or the chart cannot be written, which is raised after
                the rows are printed.
        """
        if repeat and self._form == "table":
            self._say(f"? {escaped(question)}")
        self._printed = ""
        answer = self._asker.ask(question, self._stream)
        self.last_sql = answer.sql
        # A query that was too slow has a plan too, which says why.
        planned = self._explain and answer.status not in SQL_ERRORS
        plan = self._asker.explain(answer.sql) if planned else None
        try:
            drawn = self._draw(answer) if self._chart is not None and answer.ok else ""
        except KerasftError:
            self._print(answer, plan, "")
            raise
        self._print(answer, plan, drawn)
        return answer.ok

    def ask_each(self, questions: Iterable[str]) -> bool:
        """Print the answers to questions as they come; whether each has one.

        A question that cannot be asked, since no table fits its prompt for example, is told and
        the next ones are asked all the same.
        """
        answered = True
        for question in questions:
            try:
                answered &= self.ask(question, repeat=True)
            except KerasftError as error:
                answered = False
                message = masked(str(error))
                print_error(message)
                if self._form == "lines":
                    failure = {"error": message, "type": type(error).__name__}
                    self._print_object({"question": question, **failure})
        return answered

    def _print(self, answer: Answer, plan: Outcome | None, drawn: str) -> None:
        if self._form in ("json", "lines"):
            self._print_json(answer, plan, drawn)
            return
        if self._printed:
            click.echo()
        if fold(self._printed) != fold(answer.sql):
            self._say(answer.sql)
        for note in _notes(answer, drawn):
            self._say(note)
        if plan is not None:
            self._say(plan_text(plan))
        if answer.ok:
            self._print_rows(answer.columns, answer.rows, answer.truncated)
        else:
            print_error(explanation(answer))

    def show(self, outcome: Outcome) -> None:
        """Print what a statement of the user's own gave."""
        if outcome.status in ("ok", "too_many_rows"):
            self._print_rows(outcome.columns, outcome.rows, outcome.truncated)
        else:
            print_error(explanation(outcome))

    def show_plan(self, plan: Outcome) -> None:
        """Print the plan of a statement."""
        self._say(plan_text(plan))

    def _stream(self, piece: str) -> None:
        # Pieces are for someone who watches; a file gets the whole SQL at the end.
        if self._form == "table" and sys.stdout.isatty():
            self._printed += piece
            click.echo(escaped_lines(piece), nl=False)

    def _say(self, text: str) -> None:
        click.echo(escaped_lines(text), err=self._form == "csv")

    def _print_rows(self, columns: Sequence[str], rows: Sequence[Any], truncated: bool) -> None:
        if self._form == "csv":
            text = csv_text(columns, rows)
            # In a pipe the data stay as they are; without `color` click would take escapes out.
            click.echo(escaped_lines(text) if sys.stdout.isatty() else text, nl=False, color=True)
        else:
            out = console()
            table, hidden = result_table(columns, rows, out.width)
            out.print(table)
            if hidden:
                more = "1 more column does" if hidden == 1 else f"{hidden} more columns do"
                self._say(f"{more} not fit here; --csv prints all.")
        if truncated:
            self._say(f"The first {len(rows)} rows; there are more (--limit {self._limit}).")
        elif self._form != "csv":
            self._say(f"{len(rows)} {'row' if len(rows) == 1 else 'rows'}.")

    def _print_json(self, answer: Answer, plan: Outcome | None, drawn: str) -> None:
        content = {
            **dataclasses.asdict(answer),
            "rows": [[json_cell(cell) for cell in row] for row in answer.rows],
        }
        if plan is not None:
            content["plan"] = plan_text(plan)
        if self._chart is not None:
            content["chart"] = drawn
        self._print_object(content)

    def _print_object(self, content: Mapping[str, Any]) -> None:
        indent = 2 if self._form == "json" else None
        ascii_only = sys.stdout.isatty()  # JSON's own escapes leave some controls as they are
        click.echo(json.dumps(content, indent=indent, ensure_ascii=ascii_only, allow_nan=False))

    def _draw(self, answer: Answer) -> str:
        chart = chart_of(answer.columns, answer.rows)
        if isinstance(chart, str):
            return f"No chart: {chart}."
        first = f" (the first {len(answer.rows)} rows)" if answer.truncated else ""
        draw(chart, answer.question + first, self._chart)
        return f"Chart: {self._chart}"


def explanation(answer: Answer | Outcome) -> str:
    """Why there are no rows, and what can be done."""
    message = escaped_lines(answer.message.strip().rstrip("."))
    if answer.status == "refused":
        return f"the statement was refused ({message}); databases are only read here"
    if answer.status == "timeout":
        return f"{message}; --timeout SECONDS gives it longer"
    if answer.status in ("invalid_sql", "no_sql") and isinstance(answer, Answer):
        other = "" if answer.retried else ", or with --retry 4"
        return f"{message}; ask in other words{other}"
    return message


def plan_text(plan: Outcome) -> str:
    """The plan of a query: SQLite's steps indented by their nesting, DuckDB's own drawing."""
    if plan.status != "ok":
        return f"No plan: {plan.message}"
    if "detail" not in plan.columns:
        return "\n".join(str(row[-1]).rstrip("\n") for row in plan.rows)
    detail, here, above = (plan.columns.index(name) for name in ("detail", "id", "parent"))
    depths: dict[Any, int] = {}
    lines = []
    for row in plan.rows:
        depths[row[here]] = depths.get(row[above], -1) + 1
        lines.append("  " * depths[row[here]] + str(row[detail]))
    return "\n".join(lines)


def _notes(answer: Answer, drawn: str) -> list[str]:
    notes = []
    if answer.tables_left_out:
        names = ", ".join(map(escaped, answer.tables_left_out))
        notes.append(f"The schema does not fit the prompt; left out: {names}.")
    if answer.retried:
        tried = f"{answer.retried} more of the beam"
        notes.append(
            f"The likeliest SQL failed; of {tried} the last one ran."
            if answer.ok
            else f"The likeliest SQL failed, and {tried}."
        )
    return [*notes, drawn] if drawn else notes
