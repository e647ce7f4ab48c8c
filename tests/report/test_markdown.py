"""The Markdown, read back by a parser of it."""

import pytest
from markdown_it import MarkdownIt

from kerasft.report.document import Code, Document, Example, Text
from kerasft.report.markdown import escaped, to_markdown
from tests.report.made import MISCHIEF
from tests.report.test_html import everywhere, read

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


@pytest.mark.parametrize(
    "text",
    [
        MISCHIEF,
        "a | b",
        "- no list",
        "1. no list",
        "1.",
        "# no heading",
        "> no quotation",
        "=== no heading",
        "![no picture](https://example.org/x.png) <https://example.org> [no](link)",
        "_snake_case_ *stars* ~~gone~~ `code` &amp; \\ ^",
    ],
)
def test_a_text_is_shown_as_it_is(text):
    found = read(PARSER.render(escaped(text)))
    assert "".join(found.text).strip() == text
    assert found.tags == ["p"]


def test_a_number_is_left_as_it_is():
    assert escaped("25.27 ms") == "25.27 ms"


def test_mischief_stays_text_wherever_it_stands():
    page = PARSER.render(to_markdown(everywhere(MISCHIEF), str))
    found = read(page)
    assert not {"script", "iframe"} & set(found.tags)
    pictures = [value for name, value in found.attributes if name == "src"]
    assert pictures == ["plots/a.png", "plots/b.png"]
    assert not [name for name, _ in found.attributes if name.startswith("on")]


def test_a_fence_is_longer_than_any_in_its_text():
    text = "before\n````\n<b>inside</b>\n````\nafter"
    document = Document("t", "v", [Code(text), Example("q", [Text("known", text)])], "f")
    found = read(PARSER.render(to_markdown(document, str)))
    assert found.tags.count("pre") == 2 and "b" not in found.tags


def test_rows_of_tables_stay_rows():
    found = read(PARSER.render(to_markdown(everywhere("one | two\nthree"), str)))
    assert found.tags.count("tr") == 4  # head and row of the tiles and of the table
    assert found.tags.count("td") == 5
