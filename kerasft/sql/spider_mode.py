"""The comparison `spider-1`: what Spider's test-suite evaluator calls the same result.

Its meaning is that of `exec_eval.py` of github.com/taoyds/test-suite-sql-eval (commit e97acc5)
with the default options, on the one database that a row has; docs/scores.md lists what was
compared and where kerasft differs on purpose.

Before a query runs (`prepare`, gold and predicted alike):
- `> =`, `< =` and `! =` are closed up;
- what follows the first statement is cut off;
- every word DISTINCT is taken out, also inside `count(DISTINCT x)`;
- `YEAR(CURDATE())`, with the space after it, becomes 2020.

Then, of the two results:
- Two empty ones are equal, whatever their columns.
- Rows are a bag; if the gold text has `order by` anywhere, also in a subquery or a string, a
  sequence. Rows that tie may not swap.
- Columns may be permuted, all rows alike.
- Cells are equal as Python's are: 1 = 1.0, floats exactly, NULL equals NULL, text by letters.
  Bytes of text that are not UTF-8 are left out before.
- Rows must first agree with their cells sorted by how they are written, which 1 and 1.0 may
  spoil: (1, 1.5) is not (1.0, 1.5).
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from kerasft.sql.lexical import first_statement, pieces
from kerasft.sql.results import Gold, Verdict
from kerasft.sql.sandbox import Outcome
from kerasft.sql.schema import BadText, Cell, Row

MODE = "spider-1"
PREFIXES_TRIED = 10_000
YEAR_OF_TODAY = "2020"
_SPLIT_OPERATOR = re.compile(r"([<>!]) =")
_YEAR_OF_TODAY = re.compile(r"year\s*\(\s*curdate\s*\(\s*\)\s*\)\s*", re.IGNORECASE)


def prepare(sql: str) -> str:
    """The query as it runs under `spider-1`."""
    kept = pieces(first_statement(_SPLIT_OPERATOR.sub(r"\1=", sql)))
    text = "".join(
        piece.text for piece in kept if piece.kind != "word" or piece.text.lower() != "distinct"
    )
    return _YEAR_OF_TODAY.sub(YEAR_OF_TODAY, text)


def compare(gold: Outcome, predicted: Outcome, query: Gold) -> Verdict:
    """Compare two results under `spider-1`; both queries ran as `prepare` writes them."""
    if gold.status != "ok" or predicted.status != "ok":
        return Verdict(False, "not_comparable", mode=MODE)
    gold_rows, predicted_rows = _as_read(gold.rows), _as_read(predicted.rows)
    if not gold_rows and not predicted_rows:
        return Verdict(True, "equal", mode=MODE)
    if gold_rows and predicted_rows and len(gold_rows[0]) != len(predicted_rows[0]):
        return Verdict(False, "columns", mode=MODE)
    if len(gold_rows) != len(predicted_rows):
        return Verdict(False, "rows", mode=MODE)
    ordered = "order by" in prepare(query.sql).lower()
    if _same(gold_rows, predicted_rows, ordered=ordered):
        return Verdict(True, "equal", mode=MODE)
    other_order = ordered and _same(gold_rows, predicted_rows, ordered=False)
    return Verdict(False, "order" if other_order else "rows", mode=MODE)


def _as_read(rows: Sequence[Row]) -> list[Row]:
    """Rows with text as the official evaluator decodes it: what is not UTF-8 is left out."""
    return [
        tuple(
            cell.data.decode("utf-8", "ignore") if isinstance(cell, BadText) else cell
            for cell in row
        )
        for row in rows
    ]


def _same(gold: list[Row], predicted: list[Row], *, ordered: bool) -> bool:
    """Whether some order of the predicted columns makes both the same rows.

    The columns are placed one after another, and what is placed must agree so far. Of columns
    that are the same in every row only one is tried at a place. More than `PREFIXES_TRIED`
    trials, which no result of a real query needed, count as different.
    """
    gold_sorted, predicted_sorted = (
        [_cells_by_writing(row) for row in r] for r in (gold, predicted)
    )
    if ordered:
        if gold_sorted != predicted_sorted:
            return False
    elif set(gold_sorted) != set(predicted_sorted):
        return False
    columns = list(zip(*predicted, strict=True))
    tried = 0
    stack: list[Iterator[tuple[int, ...]]] = [_longer((), columns)]
    while stack:
        order = next(stack[-1], None)
        if order is None:
            stack.pop()
            continue
        tried += 1
        if tried > PREFIXES_TRIED:
            return False
        width = len(order)
        want = [row[:width] for row in gold]
        have = list(zip(*(columns[index] for index in order), strict=True))
        if want == have if ordered else Counter(want) == Counter(have):
            if width == len(columns):
                return True
            stack.append(_longer(order, columns))
    return False


def _longer(order: tuple[int, ...], columns: list[tuple[Cell, ...]]) -> Iterator[tuple[int, ...]]:
    """The order with one more column, in every way that makes a difference."""
    seen = set()
    for index, column in enumerate(columns):
        if index not in order and column not in seen:
            seen.add(column)
            yield (*order, index)


def _cells_by_writing(row: Row) -> Row:
    return tuple(sorted(row, key=lambda cell: f"{cell}{type(cell)}"))
