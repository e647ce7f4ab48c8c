"""Printing: rich for people, JSON for programs, and no foreign escape codes in either."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kerasft.records import plain

_PIPED_WIDTH = 160
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def console(stderr: bool = False) -> Console:
    """Standard output or error. Tables that go into a pipe are not folded at 80 columns."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPED_WIDTH
    return Console(width=width, stderr=stderr, highlight=False)


def printable(text: str) -> Text:
    """Text of any origin as it is: no markup, and control characters made visible."""
    return Text(_CONTROL.sub(lambda found: repr(found[0])[1:-1], text))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table of plain text; columns whose heading ends in a space are set to the right."""
    made = Table(
        title=printable(title) if title else None,
        title_justify="left",
        show_header=any(columns),
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    for column in columns:
        right = column.endswith(" ")
        made.add_column(column.strip(), justify="right" if right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(printable(cell) for cell in row))
    return made


def print_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """One JSON value on standard output, and nothing else."""
    click.echo(json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False))


def print_error(message: str) -> None:
    """A failure, on standard error."""
    console(stderr=True).print(
        Text("Error: ", style="bold red") + printable(message), soft_wrap=True
    )


def size(count: int) -> str:
    """Bytes in decimal units, as disks are sold: 1,500,000 is 1.5 MB."""
    value, units = float(count), iter(("kB", "MB", "GB", "TB"))
    unit = "bytes"
    while value >= 1000 and (larger := next(units, None)):
        value, unit = value / 1000, larger
    return f"{count} bytes" if unit == "bytes" else f"{value:.1f} {unit}"


def number(value: float | int | None) -> str:
    """A count or a measurement for a table; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
