"""Colours of the pages and plots, light and dark, and how well they can be told apart.

The series are those of M. Okabe and K. Ito ("Color universal design", 2008), which people with
any colour vision can tell apart. Each has two steps of its hue: on white, their sky blue, orange
and yellow have too little contrast for a line, and on black the blue and the black have.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Colour:
    """A CSS variable with its value on a light and on a dark page."""

    name: str
    light: str
    dark: str

    @property
    def variable(self) -> str:
        return f"var(--{self.name})"


@dataclass(frozen=True)
class Series:
    """How the n-th thing is drawn everywhere: colour, line and marker say the same."""

    colour: Colour
    line: str
    marker: str


PAGE = Colour("page", "#ffffff", "#14171c")
PANEL = Colour("panel", "#f4f6f8", "#1e232a")
INK = Colour("ink", "#1b1f24", "#e8eaed")
MUTED = Colour("muted", "#55606c", "#a5afba")
RULE = Colour("rule", "#d5dbe1", "#3a424c")
LINK = Colour("link", "#0b5c9e", "#7cc0f5")
GOOD = Colour("good", "#0b6b43", "#5fd3a2")
BAD = Colour("bad", "#a83a00", "#ff9a66")
WARNING = Colour("warning", "#7a5200", "#f2bf4e")

SERIES = (
    Series(Colour("series-1", "#0072b2", "#56b4e9"), "-", "o"),
    Series(Colour("series-2", "#d55e00", "#e69f00"), "--", "s"),
    Series(Colour("series-3", "#008a64", "#2fc39a"), "-.", "^"),
    Series(Colour("series-4", "#a8508a", "#e29fc6"), ":", "D"),
    Series(Colour("series-5", "#2f353c", "#f0e442"), (0, (7, 2)), "v"),
    Series(Colour("series-6", "#5b6fb5", "#aab8f2"), (0, (3, 1, 1, 1, 1, 1)), "P"),
)

_PLACES = (PAGE, PANEL, INK, MUTED, RULE, LINK, GOOD, BAD, WARNING)
COLOURS = (*_PLACES, *(each.colour for each in SERIES))


def series(index: int) -> Series:
    """The n-th series; after the last the first comes again."""
    return SERIES[index % len(SERIES)]


def variables(dark: bool) -> str:
    """The declarations of all colours."""
    return " ".join(
        f"--{colour.name}: {colour.dark if dark else colour.light};" for colour in COLOURS
    )
