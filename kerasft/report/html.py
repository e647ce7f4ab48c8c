"""A document as one HTML file that needs nothing else: no script, no font, no picture file."""

import re
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from kerasft.report.document import (
    EMPTY,
    Block,
    Cell,
    Code,
    Document,
    Example,
    Notice,
    Paragraph,
    Plot,
    Plots,
    Publish,
    Section,
    Table,
    Text,
    Tiles,
)
from kerasft.report.palette import variables
from kerasft.report.svg import inline
from kerasft.report.words import visible

# Nothing may run or be fetched, whatever a text holds.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_URL = re.compile(r"https://[\w./%#?=&;~:+-]*[\w/]")


def to_html(document: Document, publish: Publish) -> str:
    """The page.

    Args:
        document: what it says.
        publish: applied to every text before it is escaped.
    """
    return _Page(publish).whole(document)


class _Page:
    def __init__(self, publish: Publish) -> None:
        self._publish = publish

    def whole(self, document: Document) -> str:
        style = Path(__file__).with_name("page.css").read_text("utf-8")
        style = style.replace("/* light */", variables(dark=False))
        style = style.replace("/* dark */", variables(dark=True))
        title = self.text(document.title)
        body = "\n".join(self.block(block, 2) for block in document.blocks)
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n'
            f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
            f'<header>\n<h1>{title}</h1>\n<p class="verdict">{self.text(document.verdict)}</p>\n'
            f"</header>\n{body}\n<footer><p>{self.text(document.foot)}</p></footer>\n"
            "</main>\n</body>\n</html>\n"
        )

    def text(self, text: str) -> str:
        """A text, escaped, with control characters made visible."""
        return escape(visible(self._publish(text)))

    def block(self, block: Block, level: int) -> str:
        if isinstance(block, Section):
            return self._section(block, level)
        if isinstance(block, Example):
            return self._example(block, level)
        return _RENDERERS[type(block)](self, block)

    def _section(self, section: Section, level: int) -> str:
        title = self.text(section.title)
        body = "\n".join(self.block(block, min(level + 1, 6)) for block in section.blocks)
        heading = f"<h{level}>{title}</h{level}>"
        if section.folded:
            return f"<details>\n<summary>{heading}</summary>\n{body}\n</details>"
        return f"<section>\n{heading}\n{body}\n</section>"

    def _paragraph(self, paragraph: Paragraph) -> str:
        return f"<p>{self._linked(paragraph.text)}</p>"

    def _linked(self, text: str) -> str:
        return _URL.sub(lambda found: f'<a href="{found[0]}">{found[0]}</a>', self.text(text))

    def _notice(self, notice: Notice) -> str:
        lines = "".join(f"<li>{self.text(line)}</li>" for line in notice.lines)
        listed = f"<ul>{lines}</ul>" if lines else ""
        return (
            f'<div class="notice {notice.tone}" role="note"><p>{self.text(notice.text)}</p>'
            f"{listed}</div>"
        )

    def _tiles(self, tiles: Tiles) -> str:
        cells = "\n".join(
            f"<div><dt>{self.text(tile.label)}</dt><dd>{self.text(tile.value)}"
            + (f"<small>{self.text(tile.below)}</small>" if tile.below else "")
            + "</dd></div>"
            for tile in tiles.tiles
        )
        return f'<dl class="tiles">\n{cells}\n</dl>'

    def _table(self, table: Table) -> str:
        right = [column.endswith(" ") for column in table.columns]
        heads = "".join(
            f'<th scope="col"{_right(is_right)}>{self.text(column.strip())}</th>'
            for column, is_right in zip(table.columns, right, strict=True)
        )
        rows = "\n".join(self._row(row, right) for row in table.rows)
        caption = self.text(table.caption)
        head = f"<thead><tr>{heads}</tr></thead>\n" if any(table.columns) else ""
        # The box scrolls on a narrow screen, and the keyboard can scroll it too.
        return (
            f'<div class="wide" role="group" aria-label="{caption}" tabindex="0"><table>\n'
            f"<caption>{caption}</caption>\n{head}<tbody>\n{rows}\n</tbody></table></div>"
        )

    def _row(self, row: Sequence[str | Cell], right: Sequence[bool]) -> str:
        cells = []
        for place, (each, is_right) in enumerate(zip(row, right, strict=True)):
            cell = each if isinstance(each, Cell) else Cell(each)
            text = self.text(cell.text)
            text = f"<strong>{text}</strong>" if cell.strong else text
            tone = "" if cell.tone == "plain" else f' class="{cell.tone}"'
            text = f"<span{tone}>{text}</span>" if tone else text
            cells.append(
                f'<th scope="row">{text}</th>'
                if not place
                else f"<td{_right(is_right)}>{text}</td>"
            )
        return f"<tr>{''.join(cells)}</tr>"

    def _plots(self, plots: Plots) -> str:
        figures = "\n".join(self._figure(plot) for plot in plots.plots)
        return f'<div class="plots">\n{figures}\n</div>'

    def _figure(self, plot: Plot) -> str:
        caption = self.text(plot.title)
        return f"<figure>\n{inline(plot, self.text)}\n<figcaption>{caption}</figcaption>\n</figure>"

    def _code(self, code: Code) -> str:
        return f'<pre class="wide" tabindex="0"><code>{self.text(code.text)}</code></pre>'

    def _example(self, example: Example, level: int) -> str:
        texts = "\n".join(self._said(text) for text in example.texts)
        context = ""
        if example.context:
            context = (
                "<details><summary>context</summary>"
                f'<pre class="said">{self.text(example.context)}</pre></details>\n'
            )
        question = f'<h{level} dir="auto">{self.text(example.question)}</h{level}>'
        return f'<article class="example">\n{question}\n{context}<dl>\n{texts}\n</dl>\n</article>'

    def _said(self, said: Text) -> str:
        remark = f'<p class="{said.tone}">{self.text(said.remark)}</p>' if said.remark else ""
        # A first line break within <pre> would be dropped.
        text = self.text(said.text.strip("\n") or EMPTY)
        return (
            f'<dt>{self.text(said.label)}</dt><dd class="{said.tone}">'
            f'<pre class="said" dir="auto">{text}</pre>{remark}</dd>'
        )


_RENDERERS: dict[type, Callable[..., str]] = {
    Paragraph: _Page._paragraph,
    Notice: _Page._notice,
    Tiles: _Page._tiles,
    Table: _Page._table,
    Plots: _Page._plots,
    Code: _Page._code,
}


def _right(is_right: bool) -> str:
    return ' class="number"' if is_right else ""
