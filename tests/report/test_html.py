"""The HTML: everything escaped, nothing fetched, nothing run."""

import re
from html.parser import HTMLParser

from kerasft.report.document import (
    Cell,
    Code,
    Document,
    Example,
    Notice,
    Paragraph,
    Plot,
    Plots,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
)
from kerasft.report.html import to_html
from tests.report.made import MISCHIEF


def everywhere(text: str) -> Document:
    """A document with a text in every place that takes one."""
    plots = [Plot(name, text, text, lambda figure: figure.add_subplot()) for name in ("a", "b")]
    example = Example(text, [Text(text, text, "bad", text)], text)
    return Document(
        title=text,
        verdict=text,
        blocks=[
            Notice("bad", text, [text]),
            Tiles([Tile(text, text, text)]),
            Section(
                text,
                [
                    Paragraph(text),
                    Table(text, [text, f"{text} "], [[text, Cell(text, "good", strong=True)]]),
                    Plots(plots),
                    Code(text),
                    Section(text, [example], folded=True),
                ],
            ),
        ],
        foot=text,
    )


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    return reader


def test_mischief_stays_text_wherever_it_stands():
    page = to_html(everywhere(MISCHIEF), str)
    found = read(page)
    assert not {"script", "img", "iframe", "object", "link"} & set(found.tags)
    assert sum(MISCHIEF in text for text in found.text) == 29  # one a place
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert "default-src 'none'" in page


def test_nothing_is_fetched():
    page = to_html(everywhere("see https://ai.google.dev/gemma/terms."), str)
    found = read(page)
    links = {value for name, value in found.attributes if name in ("href", "src", "action")}
    assert {link for link in links if not link.startswith("#")} == {
        "https://ai.google.dev/gemma/terms"
    }
    assert "@import" not in page
    assert set(re.findall(r"url\((.)", page)) <= {"#"}


def test_an_id_stands_once_and_what_refers_to_it_finds_it():
    page = to_html(everywhere("x"), str)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)) > 10
    named = set(re.findall(r"url\(#([^)]+)\)", page)) | set(re.findall(r'href="#([^"]+)"', page))
    named |= {
        each for both in re.findall(r'aria-labelledby="([^"]+)"', page) for each in both.split()
    }
    assert named and named <= set(ids)


def test_headings_go_down_one_by_one_and_there_is_one_title():
    levels = [int(tag[1]) for tag in read(to_html(everywhere("x"), str)).tags if tag in _LEVELS]
    assert levels == [1, 2, 3, 4]


def test_control_characters_and_half_characters_are_made_visible():
    page = to_html(everywhere("a\x00b\x1b[31mc\ud800d"), str)
    assert page.encode("utf-8")  # half a surrogate pair would refuse
    assert "a\\x00b\\x1b[31mc\\ud800d" in page


def test_every_text_is_published():
    page = to_html(everywhere("top secret"), lambda text: text.replace("top secret", "[masked]"))
    assert page.count("[masked]") == 30 and "secret" not in page


def test_the_page_reads_without_its_style():
    found = read(to_html(everywhere("x"), str))
    assert {"main", "header", "footer", "section", "details", "summary"} <= set(found.tags)
    assert ("lang", "en") in found.attributes
    assert ("scope", "row") in found.attributes and ("scope", "col") in found.attributes
    assert found.tags.count("caption") == 1


_LEVELS = {"h1", "h2", "h3", "h4", "h5", "h6"}
