"""What a report says, as blocks: a document knows nothing of HTML, Markdown or files.

Every text in it is plain: whoever renders it escapes it, and runs it through the `publish`
function that takes secrets and folders of the machine out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EMPTY = "(empty)"
"""What stands for a text that has nothing in it."""

Publish = Callable[[str], str]
"""Makes a text fit to be shown to others; see `kerasft.report.public.publisher`."""

Tone = Literal["plain", "good", "bad", "warning"]


@dataclass(frozen=True)
class Paragraph:
    """Sentences."""

    text: str


@dataclass(frozen=True)
class Notice:
    """A sentence or more that must not be missed; `lines` are listed below it."""

    tone: Tone
    text: str
    lines: Sequence[str] = ()


@dataclass(frozen=True)
class Tile:
    """A figure that is looked for first: what it is, its value, and a line below it."""

    label: str
    value: str
    below: str = ""


@dataclass(frozen=True)
class Tiles:
    """Key figures beside each other."""

    tiles: Sequence[Tile]


@dataclass(frozen=True)
class Cell:
    """A table's cell with a tone; a tone is always said in the text too."""

    text: str
    tone: Tone = "plain"
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: what it shows.
        columns: headings; one that ends in a space is of numbers, set to the right.
        rows: as long as `columns` each; the first cell heads its row.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]


@dataclass(frozen=True)
class Plot:
    """A plot.

    Attributes:
        name: of its file, and of its ids in a page; unique in a document.
        title: what it shows.
        alt: what can be read from it, in a sentence, for those who do not see it.
        draw: draws it on a figure.
    """

    name: str
    title: str
    alt: str
    draw: Callable[["Figure"], None]


@dataclass(frozen=True)
class Plots:
    """Plots beside each other where there is room."""

    plots: Sequence[Plot]


@dataclass(frozen=True)
class Code:
    """Lines to copy, or to read as they are."""

    text: str
    language: str = ""


@dataclass(frozen=True)
class Text:
    """A text from data, such as an answer: who says it, what, and what became of it."""

    label: str
    text: str
    tone: Tone = "plain"
    remark: str = ""


@dataclass(frozen=True)
class Example:
    """A question with the texts that belong to it; the context is folded."""

    question: str
    texts: Sequence[Text]
    context: str = ""


@dataclass(frozen=True)
class Section:
    """A part under a heading; `folded` shows the heading alone until it is opened."""

    title: str
    blocks: Sequence["Block"]
    folded: bool = False


Block = Paragraph | Notice | Tiles | Table | Plots | Code | Example | Section


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        title, verdict: what it is of, and what came out in plain words.
        blocks: notices, then sections.
        foot: the last line.
    """

    title: str
    verdict: str
    blocks: Sequence[Block]
    foot: str


def plots_of(blocks: Sequence[Block]) -> list[Plot]:
    """All plots, in order."""
    found: list[Plot] = []
    for block in blocks:
        if isinstance(block, Plots):
            found += block.plots
        elif isinstance(block, Section):
            found += plots_of(block.blocks)
    return found
