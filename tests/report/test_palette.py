"""Colours: WCAG's contrast, computed for every pair that the page shows."""

from pathlib import Path

import pytest

from kerasft.report import palette
from kerasft.report.palette import (
    BAD,
    COLOURS,
    GOOD,
    INK,
    LINK,
    MUTED,
    PAGE,
    PANEL,
    SERIES,
    WARNING,
)

CSS = Path(palette.__file__).with_name("page.css").read_text("utf-8")


def contrast(one: str, other: str) -> float:
    """Contrast of two colours, 1 to 21, as WCAG 2.2 defines it (relative luminance).

    Args:
        one, other: as `#rrggbb`.
    """
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in channels
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast_is_wcags():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#ffffff", "#ffffff") == 1
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)
    assert contrast("#0000ff", "#ffffff") == contrast("#ffffff", "#0000ff")
    assert contrast("#0000ff", "#ffffff") == pytest.approx(8.59, abs=0.005)


@pytest.mark.parametrize("ground", [PAGE, PANEL], ids=lambda each: each.name)
@pytest.mark.parametrize("ink", [INK, MUTED, LINK, GOOD, BAD, WARNING], ids=lambda each: each.name)
def test_text_is_legible_on_every_ground(ink, ground):
    """WCAG 2.2, 1.4.3: 4.5 for text."""
    assert contrast(ink.light, ground.light) >= 4.5
    assert contrast(ink.dark, ground.dark) >= 4.5


def test_curves_and_bars_stand_out_of_the_page():
    """WCAG 2.2, 1.4.11: 3 for graphics."""
    for each in SERIES:
        assert contrast(each.colour.light, PAGE.light) >= 3
        assert contrast(each.colour.dark, PAGE.dark) >= 3


def test_no_series_is_told_by_its_colour_alone():
    assert len({str(each.line) for each in SERIES}) == len(SERIES)
    assert len({each.marker for each in SERIES}) == len(SERIES)


def test_no_two_colours_have_one_value():
    """A plot's light colour is replaced by its variable, so that it must tell which it is."""
    assert len({each.light for each in COLOURS}) == len(COLOURS)


def test_the_style_sheet_knows_no_colour_but_these():
    assert "#" not in CSS and "rgb" not in CSS
    for name in {part.split(")")[0] for part in CSS.split("var(--")[1:]}:
        assert name in {each.name for each in COLOURS}
