"""What the plots of reports share: margins, curves, and dots with their intervals."""

from collections.abc import Callable, Sequence
from statistics import fmean
from textwrap import fill
from typing import TYPE_CHECKING, Any

from kerasft.report.palette import INK, MUTED, PAGE, Series, series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_POINTS = 600
"""Points of a curve: more than a screen has pixels for it."""

Interval = tuple[float, float, float]
"""Value, low, high."""


LABEL = 18
"""Characters of a row's name on one line."""


def axes_of(figure: "Figure", left: float = 0.14) -> "Axes":
    """The one drawing area of a plot. Fixed margins: fitting them takes longer than drawing."""
    axes = figure.add_subplot()
    figure.subplots_adjust(left=left, right=0.97, top=0.9, bottom=0.17)
    return axes


def steps_axis(axes: "Axes") -> None:
    """Optimizer steps to the right, in whole numbers."""
    axes.set_xlabel("optimizer step")
    axes.xaxis.get_major_locator().set_params(integer=True)


def thinned(values: Sequence[Any], most: int = MOST_POINTS) -> list[Any]:
    """Every n-th of a long row of values, its last one kept."""
    every = -(-len(values) // most)
    if every <= 1:
        return list(values)
    kept = list(values[::every])
    return kept if (len(values) - 1) % every == 0 else [*kept, values[-1]]


def line(
    axes: "Axes", xs: Sequence[float], ys: Sequence[float], index: int, **options: Any
) -> None:
    """A curve in the style of its series: colour, dashes, and a marker here and there."""
    style = series(index)
    options = {
        "color": style.colour.light,
        "linestyle": style.line,
        "marker": style.marker,
        "markevery": max(1, len(xs) // 8),
        "markersize": 5,
        **options,
    }
    axes.plot(xs, ys, **options)


def dots(
    rows: Sequence[str], groups: Sequence[tuple[str, Sequence[Interval | None]]], axis: str
) -> Callable[["Figure"], None]:
    """Values with their intervals, a row each, the groups below each other in it.

    Args:
        rows: their names, from top to bottom.
        groups: name, and one interval a row or None.
        axis: what the values are; a `%` in it makes shares percentages.
    """

    def draw(figure: "Figure") -> None:
        each_row = max(0.2 * len(groups) + 0.1, 0.42)
        axes = _row_axes(figure, len(rows) * each_row, above=0.36)
        for index, (name, intervals) in enumerate(groups):
            style = series(index)
            offset = (index - (len(groups) - 1) / 2) * 0.7 / len(groups)
            drawn = [(row + offset, each) for row, each in enumerate(intervals) if each is not None]
            _errorbars(axes, drawn, style, name)
        axes.set_yticks(range(len(rows)), [fill(row, LABEL) for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(axis)
        if "%" in axis:
            axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
        _legend_above(axes, len(groups))

    return draw


def bars(
    names: Sequence[str], values: Sequence[Sequence[float]], axis: str
) -> Callable[["Figure"], None]:
    """One horizontal bar a name: the mean of its values, which are dots where they are several.

    The means stand in a column at the right.

    Args:
        names: from top to bottom.
        values: of each; none where nothing was measured.
        axis: what is measured, with its unit.
    """

    def draw(figure: "Figure") -> None:
        axes = _row_axes(figure, 0.42 * len(names), above=0.12)
        highest = max((value for each in values for value in each), default=1.0)
        for row, each in enumerate(values):
            if not each:
                axes.annotate("not measured", (0, row), xytext=(4, 0), va="center",
                              textcoords="offset points", color=MUTED.light)  # fmt: skip
                continue
            mean = fmean(each)
            axes.barh(row, mean, height=0.6, color=series(row).colour.light)
            if len(each) > 1:
                axes.plot(each, [row] * len(each), color=INK.light, linestyle="none", marker="o",
                          markersize=5, markerfacecolor=PAGE.light)  # fmt: skip
            axes.text(1.0, row, f"{mean:.4g}", ha="right", va="center", color=INK.light,
                      transform=axes.get_yaxis_transform())  # fmt: skip
        axes.set_yticks(range(len(names)), [fill(name, LABEL) for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(0, highest * 1.3 or 1.0)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(axis)

    return draw


def _row_axes(figure: "Figure", height: float, above: float) -> "Axes":
    """The drawing area of a plot with a row a name, `height` inches tall."""
    below, width = 0.55, figure.get_size_inches()[0]
    tall = above + height + below
    figure.set_size_inches(width, tall)
    axes = figure.add_subplot()
    figure.subplots_adjust(left=0.36, right=0.96, bottom=below / tall, top=1 - above / tall)
    return axes


def _errorbars(
    axes: "Axes",
    drawn: Sequence[tuple[float, Interval]],
    style: Series,
    name: str,
) -> None:
    colour = style.colour.light
    for place, (_, low, high) in drawn:
        axes.plot([low, high], [place, place], color=colour, linewidth=1.6)
    axes.plot(
        [each[0] for _, each in drawn],
        [place for place, _ in drawn],
        color=colour,
        marker=style.marker,
        markersize=6.5,
        linestyle="none",
        label=name,
    )


def _legend_above(axes: "Axes", groups: int) -> None:
    # To the left beyond the drawing area, where the rows' names leave room above them.
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=groups, borderaxespad=0.1,
                handletextpad=0.3, columnspacing=1.0, handlelength=1.2)  # fmt: skip
