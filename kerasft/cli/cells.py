"""Rows of a database for people and for programs: nothing that a cell holds acts on a terminal."""

import csv
import io
import math
import re
from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from kerasft.sql.schema import BadText, Cell, Row

SHORTEST_CELL = 12
"""Characters that a column is left with before whole columns are cut from a table."""
LONGEST_CELL = 60
BYTES_SHOWN = 8
DIGITS = 12

# C0 and C1 controls, what makes a terminal write backwards, and what it shows nothing for.
_ACTING = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def escaped(text: str) -> str:
    """Text with characters that act on a terminal as escapes: a line break is `\\n`."""
    return _ACTING.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def escaped_lines(text: str) -> str:
    """The same for text of several lines, such as SQL: its line breaks stay, tabs are spaces."""
    return "\n".join(escaped(line.replace("\t", "    ")) for line in text.split("\n"))


def shown(cell: Cell) -> Text:
    """A cell as one line of plain text: NULL dim, binary values as the start of their hex.

    Numbers have `DIGITS` significant digits, so that a sum of prices is 35.82 and not
    35.81999999999999.
    """
    if cell is None:
        return Text("NULL", style="dim")
    if isinstance(cell, bytes):
        rest = "…" if len(cell) > BYTES_SHOWN else ""
        return Text(f"0x{cell[:BYTES_SHOWN].hex()}{rest} ({len(cell)} bytes)")
    if isinstance(cell, float):
        return Text(repr(float(f"{cell:.{DIGITS}g}")))
    return Text(escaped(str(cell)))


def result_table(columns: Sequence[str], rows: Sequence[Row], width: int) -> tuple[Table, int]:
    """A result for a terminal, and how many columns at its end did not fit.

    Columns are as wide as their cells up to `LONGEST_CELL`; where they do not fit together the
    widest are cut first, to `SHORTEST_CELL` at the least, and then whole columns.

    Args:
        width: of the terminal, in characters.
    """
    cells = [[shown(cell) for cell in column] for column in zip(*rows, strict=True)]
    cells = cells or [[] for _ in columns]
    names = [Text(escaped(name)) for name in columns]
    wanted = [
        min(max(cell_len(text.plain) for text in [name, *column]), LONGEST_CELL)
        for name, column in zip(names, cells, strict=True)
    ]
    widths = fitted(wanted, width)
    made = Table(box=None, pad_edge=False, header_style="bold")
    numeric = [
        all(isinstance(row[place], int | float | None) for row in rows)
        for place in range(len(widths))
    ]
    for name, space, number in zip(names, widths, numeric, strict=False):
        made.add_column(
            name,
            justify="right" if number else "left",
            no_wrap=True,
            overflow="ellipsis",
            max_width=space,
        )
    for row in zip(*cells[: len(widths)], strict=True):
        made.add_row(*row)
    return made, len(columns) - len(widths)


def fitted(wanted: Sequence[int], width: int, gap: int = 2) -> list[int]:
    """Widths of as many columns as fit, from the first, with the widest cut first.

    Args:
        wanted: width that each column would take.
        width: for all, with `gap` between each two.
    """
    kept = list(wanted)
    while len(kept) > 1 and sum(min(each, SHORTEST_CELL) + gap for each in kept) - gap > width:
        kept.pop()
    room = width - gap * (len(kept) - 1)
    while kept and sum(kept) > room:
        widest = max(range(len(kept)), key=kept.__getitem__)
        if kept[widest] <= 1:
            break
        kept[widest] -= 1
    return kept


def csv_text(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """A result as CSV with a heading; NULL is empty, binary values are hex after `0x`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([["" if cell is None else _whole(cell) for cell in row] for row in rows])
    return text.getvalue()


def json_cell(cell: Cell) -> Any:
    """A cell as a JSON value; binary values are hex after `0x`, no number is null."""
    if isinstance(cell, float) and not math.isfinite(cell):
        return None
    return _whole(cell)


def _whole(cell: Cell) -> Any:
    if isinstance(cell, bytes):
        return f"0x{cell.hex()}"
    return str(cell) if isinstance(cell, BadText) else cell
