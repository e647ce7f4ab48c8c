"""The kinds of questions, from plain selections to window functions.

A pattern is one function that builds the question in several wordings, the SQL, an explanation and
the checks on its result from the same draw. Importing this package registers them all.
"""

from kerasft.data.synth.patterns import aggregates, chains, filters, joins, nested, sets, windows
from kerasft.data.synth.patterns.base import DIFFICULTIES, PATTERNS, Draft, Draw, Pattern

__all__ = [
    "DIFFICULTIES",
    "PATTERNS",
    "Draft",
    "Draw",
    "Pattern",
    "aggregates",
    "chains",
    "filters",
    "joins",
    "nested",
    "sets",
    "windows",
]
