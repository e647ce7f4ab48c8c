"""Generated text-to-SQL rows: from built-in domains or from a database of your own."""

from kerasft.data.synth.database import generate_from_database
from kerasft.data.synth.duplicates import Seen
from kerasft.data.synth.generate import COMPLEXITIES, DOMAINS, generate, held_out
from kerasft.data.synth.patterns import DIFFICULTIES, PATTERNS

__all__ = [
    "COMPLEXITIES",
    "DIFFICULTIES",
    "DOMAINS",
    "PATTERNS",
    "Seen",
    "generate",
    "generate_from_database",
    "held_out",
]
