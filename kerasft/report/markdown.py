"""A document as Markdown (GitHub's), with its plots as PNG files beside it."""

import re
from collections.abc import Callable, Sequence
from html import escape

from kerasft.report.document import (
    EMPTY,
    Block,
    Cell,
    Code,
    Document,
    Example,
    Notice,
    Paragraph,
    Plots,
    Publish,
    Section,
    Table,
    Tiles,
)
from kerasft.report.words import visible

PLOTS = "plots"
"""Folder of the PNG files, beside the Markdown file."""

_SIGNS = re.compile(r"([\\`*_{}\[\]()#+!|~$@])")
_LINE_START = re.compile(r"^(\s*)([-=])|^(\s*\d+)(\.)(?=\s|$)", re.MULTILINE)
_ALERTS = {"bad": "CAUTION", "warning": "WARNING", "good": "NOTE", "plain": "NOTE"}


def to_markdown(document: Document, publish: Publish) -> str:
    """The text; plots are looked for at `plots/NAME.png` beside it.

    Args:
        document: what it says.
        publish: applied to every text before it is escaped.
    """
    page = _Page(publish)
    blocks = [page.block(block, 2) for block in document.blocks]
    parts = [f"# {page.line(document.title)}", page.line(document.verdict), *blocks]
    return "\n\n".join([*parts, page.line(document.foot)]) + "\n"


def escaped(text: str) -> str:
    """A text that Markdown shows as it is: no markup, no HTML, no link."""
    text = _SIGNS.sub(r"\\\1", escape(visible(text), quote=False))
    return _LINE_START.sub(r"\1\3\\\2\4", text)


class _Page:
    def __init__(self, publish: Publish) -> None:
        self._publish = publish

    def line(self, text: str) -> str:
        """A text on one line."""
        return escaped(" ".join(self._publish(text).split()))

    def block(self, block: Block, level: int) -> str:
        if isinstance(block, Section):
            head = f"{'#' * level} {self.line(block.title)}"
            return "\n\n".join([head, *(self.block(each, level + 1) for each in block.blocks)])
        return _RENDERERS[type(block)](self, block)

    def _paragraph(self, paragraph: Paragraph) -> str:
        return self.line(paragraph.text)

    def _notice(self, notice: Notice) -> str:
        lines = [f"[!{_ALERTS[notice.tone]}]", self.line(notice.text)]
        lines += [f"- {self.line(line)}" for line in notice.lines]
        return "\n".join(f"> {line}" for line in lines)

    def _tiles(self, tiles: Tiles) -> str:
        rows = [[tile.label, tile.value, tile.below] for tile in tiles.tiles]
        return self._rows(["", "", ""], rows)

    def _table(self, table: Table) -> str:
        return f"{self.line(table.caption)}\n\n{self._rows(table.columns, table.rows)}"

    def _rows(self, columns: Sequence[str], rows: Sequence[Sequence[str | Cell]]) -> str:
        lines = [
            [self.line(column) for column in columns],
            ["---:" if column.endswith(" ") else "---" for column in columns],
            *([self._cell(cell) for cell in row] for row in rows),
        ]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def _cell(self, cell: str | Cell) -> str:
        if isinstance(cell, str):
            return self.line(cell)
        return f"**{self.line(cell.text)}**" if cell.strong else self.line(cell.text)

    def _plots(self, plots: Plots) -> str:
        return "\n\n".join(
            f"![{self.line(plot.title)}. {self.line(plot.alt)}]({PLOTS}/{plot.name}.png)"
            for plot in plots.plots
        )

    def _code(self, code: Code) -> str:
        return self._fenced(code.text, code.language)

    def _example(self, example: Example) -> str:
        parts = [f"**{self.line(example.question)}**"]
        for text in example.texts:
            remark = f" ({self.line(text.remark)})" if text.remark else ""
            parts += [f"{self.line(text.label)}{remark}:", self._fenced(text.text or EMPTY, "")]
        return "\n\n".join(parts)

    def _fenced(self, text: str, language: str) -> str:
        """A block of code whose fence is longer than any row of backticks in it."""
        text = visible(self._publish(text))
        longest = max((len(run) for run in re.findall("`+", text)), default=0)
        fence = "`" * max(3, longest + 1)
        return f"{fence}{language}\n{text.rstrip()}\n{fence}"


_RENDERERS: dict[type, Callable[..., str]] = {
    Paragraph: _Page._paragraph,
    Notice: _Page._notice,
    Tiles: _Page._tiles,
    Table: _Page._table,
    Plots: _Page._plots,
    Code: _Page._code,
    Example: _Page._example,
}
