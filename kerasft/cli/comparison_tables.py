"""What `kerasft compare` prints: the report's own words and tables, the gate first."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table

from kerasft.cli.output import printable, table
from kerasft.compare.result import Comparison
from kerasft.report import document
from kerasft.report.comparison_report import banner, in_order, verdict
from kerasft.report.comparison_tables import (
    first_measures,
    gate_table,
    numbers_table,
    score_table,
    tests_table,
)
from kerasft.report.words import count


def tables(result: Comparison) -> Iterator[RenderableType]:
    """What a person reads; the report has the rest."""
    for place, each in enumerate(_parts(result)):
        if place and isinstance(each, Table):
            yield ""
        yield each


def _parts(result: Comparison) -> Iterator[RenderableType]:
    contenders = in_order(result)
    yield printable(result.title)
    devices = dict.fromkeys(each.device for each in contenders if each.device)
    for note in (*(f"on {device}" for device in devices), *result.notes, *result.differences):
        yield printable(f"- {note}")
    if result.gate:
        yield _shown(gate_table(result))
    gate = banner(result)
    yield ""
    yield printable(gate.text)
    for reason in gate.lines:
        yield printable(f"- {reason}")
    for check in result.gate:
        if not check.passed:
            yield printable(f"- {check.contender}, {check.what}: {check.detail}")
    yield _shown(numbers_table(result, contenders))
    scores = score_table(result, contenders)
    if scores is not None:
        yield _shown(scores)
    first, _ = first_measures([test for test in result.tests if test.seed is None])
    if first:
        yield _shown(tests_table(first, "the same questions, McNemar's exact test"))
    yield ""
    yield printable(verdict(result, contenders))
    if result.differing_total:
        questions = count(result.differing_total, "question")
        yield printable(f"{questions} on which they differ: see the report")


def _shown(made: document.Table) -> Table:
    """A report's table on the terminal, what is strong there in bold."""
    cells = [
        [cell if isinstance(cell, document.Cell) else document.Cell(cell) for cell in row]
        for row in made.rows
    ]
    shown = table(made.caption, made.columns, [])
    for row in cells:
        texts = [printable(cell.text) for cell in row]
        for text, cell in zip(texts, row, strict=True):
            text.stylize("bold" if cell.strong else "")
        shown.add_row(*texts)
    return shown
