"""A query's result as a chart: whether it is one, and its PNG."""

import contextlib
import math
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from kerasft.data.synth.words import split_identifier
from kerasft.errors import KerasftError
from kerasft.sql.schema import Cell, Row

MOST_BARS = 40
LONGEST_LABEL = 40
"""Characters of a bar's label."""

_IDENTIFIERS = ("id", "key", "uuid", "rowid")
"""Last word of a number that names a row, and says nothing as a height."""

_PERIODS = ("year", "yr", "month", "quarter", "week", "day", "decade", "hour")
_DATE = re.compile(
    r"\d{4}-\d\d(?:-\d\d(?:[ T]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?)?\Z"
)
_YEAR = re.compile(r"[12]\d{3}\Z")
_TOO_LARGE = 1e300
"""Beyond it the margins of an axis are no numbers."""


@dataclass(frozen=True)
class Chart:
    """What to draw: bars of a category, or a line over time.

    Attributes:
        label: name of the category or time.
        number: name of the number.
        labels: texts of the bars in the result's order; or points in time, ascending.
        values: as long as `labels`; NaN where there is none.
    """

    kind: Literal["bar", "line"]
    label: str
    number: str
    labels: tuple[str, ...] | tuple[datetime, ...] | tuple[int, ...]
    values: tuple[float, ...]


def chart_of(columns: Sequence[str], rows: Sequence[Row]) -> Chart | str:
    """A result as a chart, or the reason why it is none.

    The number is the first column of numbers that is neither an identifier nor a period. All
    columns of texts, together, are the category. Where the only other column is a time (ISO
    dates, or whole numbers in a column called year, month, day …) it is a line over it.

    Args:
        columns: names.
        rows: as long as `columns` each.
    """
    if len(rows) < 2:
        return f"a chart needs two rows or more, the result has {len(rows)}"
    cells = list(zip(*rows, strict=True))
    kinds = [_kind(name, column) for name, column in zip(columns, cells, strict=True)]
    labels = [place for place, kind in enumerate(kinds) if kind in ("text", "time")]
    if "number" not in kinds:
        return "no column of the result is a number to draw"
    if not labels:
        return "no column of the result is a category or a time to draw the number by"
    number = kinds.index("number")
    values = [_height(cell) for cell in cells[number]]
    if [kinds[place] for place in labels] == ["time"]:
        return _line(columns[labels[0]], cells[labels[0]], columns[number], values)
    if len(rows) > MOST_BARS:
        return f"{len(rows)} bars are too many, {MOST_BARS} at the most: ask for the top ones"
    return Chart(
        kind="bar",
        label=", ".join(columns[place] for place in labels),
        number=columns[number],
        labels=tuple(" ".join(_text(row[place]) for place in labels) for row in rows),
        values=tuple(values),
    )


def draw(chart: Chart, title: str, path: Path) -> None:
    """Write a chart as a PNG.

    Args:
        chart: what to draw.
        title: above it, such as the question.
        path: written whole; its folder is made.

    Raises:
        KerasftError: the file cannot be written.
    """
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    bars = chart.kind == "bar"
    height = max(3.0, 0.3 * len(chart.labels) + 1.2) if bars else 4.0
    figure = Figure(figsize=(8, height), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    # What comes from a database is no formula, whatever dollars it has.
    plain = {"parse_math": False}
    if bars:
        places = range(len(chart.labels))
        axes.barh(places, chart.values, color="#4b83bd")
        axes.set_yticks(places, [_shown(label) for label in chart.labels], **plain)
        axes.invert_yaxis()  # the first row on top
        axes.set_ylabel(_shown(chart.label), **plain)
        axes.set_xlabel(_shown(chart.number), **plain)
    else:
        axes.plot(chart.labels, chart.values, color="#1f5a99", marker="o", markersize=3)
        if isinstance(chart.labels[0], int):
            axes.xaxis.get_major_locator().set_params(integer=True)
        else:
            dates = AutoDateLocator()
            axes.xaxis.set_major_locator(dates)
            axes.xaxis.set_major_formatter(ConciseDateFormatter(dates))
        axes.set_xlabel(_shown(chart.label), **plain)
        axes.set_ylabel(_shown(chart.number), **plain)
    axes.grid(axis="x" if bars else "both", alpha=0.3)
    axes.set_axisbelow(True)
    axes.set_title(_shown(title, 200), fontsize=10, wrap=True, **plain)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            # A script that the font lacks is drawn as boxes; the table has the text.
            warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
            figure.savefig(aside, format="png")
        aside.replace(path)
    except OSError as error:
        raise KerasftError(
            f"{path} cannot be written: {error.strerror or error}; give another file"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def _line(label: str, cells: Sequence[Cell], number: str, values: Sequence[float]) -> Chart | str:
    points = sorted(
        (_time(cell), value) for cell, value in zip(cells, values, strict=True) if cell is not None
    )
    times = tuple(time for time, _ in points)
    if len(set(times)) < len(times):
        return f"{label} has a time more than once, so that no line goes through its values"
    return Chart("line", label, number, times, tuple(value for _, value in points))


def _kind(name: str, cells: Sequence[Cell]) -> Literal["number", "time", "text", "other"]:
    """What a column is; `other` are identifiers, binary values and what is all NULL."""
    known = [cell for cell in cells if cell is not None]
    last = (split_identifier(name).split() or [""])[-1]
    if not known:
        return "other"
    if all(isinstance(cell, int | float) for cell in known):
        if last in _PERIODS and all(isinstance(cell, int) for cell in known):
            return "time"
        return "other" if last in _IDENTIFIERS else "number"
    if any(isinstance(cell, bytes) for cell in known):
        return "other"
    texts = all(isinstance(cell, str) for cell in known)
    if texts and (last == "year" or "%Y'" in name) and all(map(_YEAR.match, known)):
        return "time"
    return "time" if texts and all(map(_date, known)) else "text"


def _height(cell: Cell) -> float:
    """A number as it is drawn; NULL and what is too large for an axis leave a gap."""
    return math.nan if cell is None or not abs(cell) < _TOO_LARGE else float(cell)


def _date(text: str) -> datetime | None:
    if not _DATE.match(text):
        return None
    try:
        found = datetime.fromisoformat(text if len(text) > 7 else f"{text}-01")
    except ValueError:
        return None
    # 9999-12-31 and 0001-01-01 stand for "no end" and "unknown", and no axis goes beyond them.
    return found.replace(tzinfo=None) if _YEAR.match(f"{found.year:04}") else None


def _time(cell: Cell) -> datetime | int:
    return (isinstance(cell, str) and _date(cell)) or int(cell)


def _text(cell: Cell) -> str:
    return "NULL" if cell is None else str(cell)


def _shown(text: str, longest: int = LONGEST_LABEL) -> str:
    """Text for matplotlib: cut, with control characters as spaces."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"
