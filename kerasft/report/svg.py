"""Figures as files and as SVG that lies inside a page.

One drawing serves both: it uses the light colours, and in the page each of them becomes the CSS
variable of that colour, so that a plot follows the reader's light or dark.
"""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from kerasft.report.document import Plot
from kerasft.report.palette import COLOURS, INK, MUTED, PAGE, RULE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE = (5.0, 3.0)
"""Inches. At 72 points an inch and a phone's 330 pixels, letters of 11 points have 10 pixels."""

PNG_DPI = 130

_TITLE = 52
"""Characters of a PNG's title on one line."""

_STYLE = {
    "svg.fonttype": "none",  # text stays text: it can be read out, found and copied
    "font.size": 11,
    "text.color": INK.light,
    "axes.labelcolor": INK.light,
    "axes.edgecolor": MUTED.light,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED.light,
    "ytick.color": MUTED.light,
    "xtick.labelcolor": INK.light,
    "ytick.labelcolor": INK.light,
    "grid.color": RULE.light,
    "grid.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "axes.unicode_minus": True,
    "text.parse_math": False,  # what comes from a run's name is no formula
}

_ID = re.compile(r'\bid="([^"]+)"')
_REFERENCE = re.compile(r'url\(#([^)]+)\)|\bxlink:href="#([^"]+)"')
_VARIABLES = {colour.light: colour.variable for colour in COLOURS}
_COLOUR = re.compile("|".join(_VARIABLES))


def inline(plot: Plot, escaped: Callable[[str], str] = escape) -> str:
    """A plot as an `<svg>` element: no script, no style sheet of its own, ids of its own.

    The same plot gives the same bytes.

    Args:
        plot: what to draw.
        escaped: what makes its title and its description text of the page.
    """
    with _drawn(plot, SIZE) as figure:
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata=_NO_METADATA)
    text = written.getvalue()
    body = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)
    body = _ID.sub(lambda found: f'id="{plot.name}-{found[1]}"', body)
    body = _REFERENCE.sub(lambda found: _referred(plot.name, found), body)
    body = _COLOUR.sub(lambda found: _VARIABLES[found[0]], body)
    body = re.sub(r"\n\s*", "\n", body)
    width, height = (72 * side for side in figure.get_size_inches())
    title, alt = f"{plot.name}-title", f"{plot.name}-alt"
    return (
        f'<svg class="plot" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-labelledby="{title} {alt}">'
        f'<title id="{title}">{escaped(plot.title)}</title>'
        f'<desc id="{alt}">{escaped(plot.alt)}</desc>{body}</svg>'
    )


def write_png(plot: Plot, path: Path) -> None:
    """A plot as a PNG on white, for a page that cannot hold SVG.

    Raises:
        OSError: it cannot be written.
    """
    with _drawn(plot, SIZE) as figure:
        figure.set_facecolor(PAGE.light)
        _head(figure, fill(plot.title, _TITLE))
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}")
        figure.savefig(aside, format="png", dpi=PNG_DPI, metadata={"Software": None})
        aside.replace(path)


def _head(figure: "Figure", title: str) -> None:
    """Put a title above a drawing that keeps its size."""
    width, height = figure.get_size_inches()
    above = 0.2 * (title.count("\n") + 1)
    part = height / (height + above)
    margins = figure.subplotpars
    bottom, top = margins.bottom * part, margins.top * part
    figure.set_size_inches(width, height + above)
    figure.subplots_adjust(bottom=bottom, top=top)
    figure.suptitle(title, fontsize=11, x=0.02, y=1 - 0.06 * part / height, ha="left", va="top",
                    fontweight="bold")  # fmt: skip


@contextmanager
def _drawn(plot: Plot, size: tuple[float, float]) -> Iterator["Figure"]:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # The salt makes the ids of clip paths the same in every process.
    settings: dict[str, Any] = {**_STYLE, "svg.hashsalt": plot.name}
    with rc_context(settings):
        figure = Figure(figsize=size)
        figure.set_facecolor("none")
        plot.draw(figure)
        yield figure


def _referred(name: str, found: re.Match[str]) -> str:
    return f"url(#{name}-{found[1]})" if found[1] else f'href="#{name}-{found[2]}"'


_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
