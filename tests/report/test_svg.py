"""Plots: one drawing for page and file, the same bytes each time."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from kerasft.report.document import Plot
from kerasft.report.palette import COLOURS, series
from kerasft.report.plots import bars, dots, line, thinned
from kerasft.report.svg import inline, write_png


def curve(name: str = "curve") -> Plot:
    def draw(figure):
        axes = figure.add_subplot()
        line(axes, range(50), [1 / (x + 1) for x in range(50)], 0, label="$x$ & <y>")
        axes.legend()

    return Plot(name, "A <curve>", "It falls & falls.", draw)


def test_the_same_plot_gives_the_same_bytes():
    assert inline(curve()) == inline(curve())


def test_a_plot_is_sound_xml_with_title_and_text():
    root = ElementTree.fromstring(inline(curve()))
    texts = [each.text for each in root.iter() if each.tag.endswith("text")]
    assert root[0].text == "A <curve>" and root[1].text == "It falls & falls."
    assert "$x$ & <y>" in texts  # no formula, and no outlines of letters
    assert not [each for each in root.iter() if each.tag.endswith(("style", "script", "image"))]


def test_colours_are_the_pages_variables():
    text = inline(curve())
    assert series(0).colour.variable in text and "var(--ink)" in text
    assert not [each.name for each in COLOURS if each.light in text]


def test_ids_carry_the_plots_name():
    one, other = inline(curve("one")), inline(curve("other"))
    assert 'id="one-axes_1"' in one and 'id="other-axes_1"' in other
    assert "xlink" not in one


def test_a_png_replaces_the_former(tmp_path):
    path = tmp_path / "plots" / "curve.png"
    write_png(curve(), path)
    first = path.read_bytes()
    write_png(curve(), path)
    assert first[:8] == b"\x89PNG\r\n\x1a\n"
    assert path.read_bytes() == first
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "title", ["Loss", "Training loss less keras-torch's of the same seed, running mean"]
)
@pytest.mark.parametrize(
    "draw",
    [
        dots(["one", "two"], [(f"seed {n}", [(0.5, 0.4, 0.6)] * 2) for n in range(3)], "rows (%)"),
        bars(["one", "two"], [(1.5, 2.5), (2.0,)], "seconds"),
    ],
)
def test_a_pngs_title_is_whole_and_covers_nothing(monkeypatch, tmp_path, draw, title):
    found = {}

    def save(figure, *_, **__):
        figure.draw_without_rendering()
        page = figure.bbox
        head = figure._suptitle.get_window_extent()
        axes = figure.axes[0]
        legend = axes.get_legend()
        below = max([axes.bbox.y1, *([legend.get_window_extent().y1] if legend else [])])
        found.update(page=page, head=head, below=below, drawn=axes.bbox.height / figure.dpi)
        Path(_[0]).write_bytes(b"")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", save)
    write_png(Plot("p", title, "a", draw), tmp_path / "p.png")
    page, head = found["page"], found["head"]
    assert page.x0 <= head.x0 and head.x1 <= page.x1 and head.y1 <= page.y1
    assert found["below"] <= head.y0
    assert found["drawn"] > 0.8  # inches, of two rows


@pytest.mark.parametrize("count", [0, 1, 599, 600, 601, 5000])
def test_thinning_keeps_the_ends(count):
    values = list(range(count))
    found = thinned(values)
    assert len(found) <= 601
    assert found[:1] == values[:1] and found[-1:] == values[-1:]
    assert found == sorted(set(found))


def test_what_was_not_measured_is_said():
    plot = Plot("b", "t", "a", bars(["one", "two"], [(1.5, 2.5), ()], "seconds"))
    assert "not measured" in inline(plot) and ">2<" in inline(plot)
    rows = dots(["one", "two"], [("tuned", [(0.5, 0.4, 0.6), None])], "share of rows (%)")
    assert "tuned" in inline(Plot("d", "t", "a", rows))
