"""Fills the tables of docs/export.md: `python docs/make_export.py`.

The bounds come from the code, the measurements from export-matrix.json, which
tests/export/test_matrix.py checks and writes.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kerasft.export.formats import FORMATS
from kerasft.export.proof import BOUNDS

PAGE = Path(__file__).with_name("export.md")
MATRIX = Path(__file__).with_name("export-matrix.json")


def page() -> str:
    """The whole page, with every table between its markers made anew."""
    measured = json.loads(MATRIX.read_text("utf-8"))
    text = PAGE.read_text("utf-8")
    for name, table in (("bounds", bounds()), ("matrix", matrix(measured["cells"]))):
        text = _filled(text, name, table)
    return text


def bounds() -> str:
    """How far the logits of each stored type may be from the live model's."""
    rows = []
    for dtype, bound in BOUNDS.items():
        largest = (
            f"{bound.absolute:g}"
            if math.isfinite(bound.absolute)
            else f"{bound.largest:.0%} of the range"
        )
        mean = f"{bound.mean:.2%} of the range"
        rows.append([dtype, bound.reason, f"≤ {largest}", f"≤ {mean}", f"≥ {bound.top1:.0%}"])
    header = ["stored as", "why", "largest logit difference", "mean", "same most likely token"]
    return _table(header, rows)


def matrix(cells: Sequence[Mapping[str, Any]]) -> str:
    """Model and base dtype by format: the largest logit difference, and top-1 agreement.

    Args:
        cells: each with `model`, `base_dtype` (and after a comma what it was dequantised
            from), `format`, `dtype`, `backend`, and either
            `largest_difference` (logits), `logit_range` and `top1_agreement` (0 to 1), or
            `reason`, why there is no such number. Of several backends the worse is shown.
    """
    rows: dict[tuple[str, str], dict[str, list[Mapping[str, Any]]]] = {}
    columns: dict[str, None] = {}
    for cell in cells:
        column = _column(cell)
        columns[column] = None
        row = rows.setdefault((cell["model"], cell["base_dtype"]), {})
        row.setdefault(column, []).append(cell)
    order = [name for form in FORMATS for name in columns if name.split()[0] == form]
    reasons: list[str] = []
    lines = [
        [model, base, *(_cell(row.get(column, []), reasons) for column in order)]
        for (model, base), row in rows.items()
    ]
    notes = "".join(f"\n{number}. {reason}" for number, reason in enumerate(reasons, start=1))
    return _table(["model", "base in", *order], lines) + notes + ("\n" if notes else "")


def _column(cell: Mapping[str, Any]) -> str:
    """A format, with the dtype where it is not the one that it is written in by default."""
    own = FORMATS[cell["format"]].default_dtype or cell["base_dtype"].partition(",")[0]
    return cell["format"] if cell["dtype"] == own else f"{cell['format']} {cell['dtype']}"


def _cell(found: Sequence[Mapping[str, Any]], reasons: list[str]) -> str:
    """The worse of the backends' numbers, or the number of the reason why there is none."""
    if not found:
        return ""
    unmeasured = next((cell["reason"] for cell in found if cell.get("reason")), None)
    if unmeasured is not None:
        if unmeasured not in reasons:
            reasons.append(unmeasured)
        return f"({reasons.index(unmeasured) + 1})"
    largest = max(found, key=lambda cell: cell["largest_difference"])
    share = largest["largest_difference"] / largest["logit_range"]
    top1 = min(cell["top1_agreement"] for cell in found)
    return f"{largest['largest_difference']:.2g} ({share:.2g} of the range), {top1:.0%}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _filled(text: str, name: str, content: str) -> str:
    """The text with what stands between the markers of a name replaced."""
    opening, closing = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    pattern = re.compile(re.escape(opening) + ".*?" + re.escape(closing), re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ValueError(f"{PAGE.name} needs one {opening.strip()} with {closing} after it")
    return pattern.sub(lambda _: f"{opening}{content}{closing}", text)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
