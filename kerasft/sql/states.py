"""When two databases that were written to are the same: the comparison `state-1`.

The rules, in the order in which they are asked; the first that fails is the reason:
- `tables`: the same tables and views exist, by name without regard to case. A view is not a
  table.
- `columns`: each has the same columns, by name without regard to case and by place. Types
  agree in SQLite by affinity, so that VARCHAR(20) is TEXT and BIGINT is INTEGER; in DuckDB,
  which keeps one name a type, by that name. A view's columns have names only.
- `rows`: each holds the same rows as a bag, with the tolerance of `bag-1`.
- `constraints`: the same keys, NOT NULL, UNIQUE, CHECK, DEFAULT and triggers hold: what decides
  about later writes. Their names do not count. NOT NULL and UNIQUE that a primary key says
  anyway do not count, and a unique index is the same as UNIQUE. Plain indexes change no result:
  those of the gold state must be there, more of them are not wrong.
"""

import re
from collections.abc import Sequence

from kerasft.sql.engine import Engine
from kerasft.sql.lexical import pieces
from kerasft.sql.results import Reason, Verdict, same_bag
from kerasft.sql.schema import TableState

MODE = "state-1"
_PRIMARY_KEY = re.compile(r"primary key ?\((.*)\)\Z")
_PLAIN_NAME = re.compile(r"[a-z_]\w*\Z")
# SQLite's rules for the affinity of a declared type, the first that fits:
# sqlite.org/datatype3.html, section 3.1.
_AFFINITIES = [
    ("integer", ("int",)),
    ("text", ("char", "clob", "text")),
    ("blob", ("blob",)),
    ("real", ("real", "floa", "doub")),
]


def states_equal(
    gold: Sequence[TableState], predicted: Sequence[TableState], *, engine: Engine = "sqlite"
) -> Verdict:
    """Compare the database after the gold script with the one after the predicted script.

    Args:
        gold: every table and view of the database.
        predicted: the same of the other database, which was the same before.
        engine: whose types these are.
    """
    gold_tables, predicted_tables = _by_name(gold), _by_name(predicted)
    if gold_tables.keys() != predicted_tables.keys():
        return _verdict("tables")
    pairs = [(gold_tables[key], predicted_tables[key]) for key in gold_tables]
    for reason, same in [
        ("columns", lambda one, other: _columns(one, engine) == _columns(other, engine)),
        ("rows", lambda one, other: same_bag(one.rows, other.rows)),
        ("constraints", _same_constraints),
    ]:
        if not all(same(one, other) for one, other in pairs):
            return _verdict(reason)
    return _verdict("equal")


def _verdict(reason: Reason) -> Verdict:
    return Verdict(reason == "equal", reason, mode=MODE)


def _by_name(tables: Sequence[TableState]) -> dict[tuple[str, str], TableState]:
    return {(table.name.lower(), table.kind): table for table in tables}


def _columns(table: TableState, engine: Engine) -> list[tuple[str, str]]:
    return [
        (name.lower(), "" if table.kind == "view" else _type(declared, engine))
        for name, declared in table.columns
    ]


def _type(declared: str, engine: Engine) -> str:
    folded = declared.lower()
    if engine != "sqlite":
        return folded
    if not folded.strip():
        return "blob"
    for affinity, parts in _AFFINITIES:
        if any(part in folded for part in parts):
            return affinity
    return "numeric"


def _same_constraints(gold: TableState, predicted: TableState) -> bool:
    gold_kept, gold_indexes = _constraints(gold)
    predicted_kept, predicted_indexes = _constraints(predicted)
    return gold_kept == predicted_kept and gold_indexes <= predicted_indexes


def _constraints(table: TableState) -> tuple[set[str], set[str]]:
    """What must be the same, and the plain indexes."""
    written = {_written(constraint) for constraint in table.constraints}
    indexes = {constraint for constraint in written if constraint.startswith("index")}
    kept = {
        re.sub(r"\Aunique index ?(?=\([^()]*\)\Z)", "unique", text) for text in written - indexes
    }
    implied = set()
    for constraint in kept:
        if match := _PRIMARY_KEY.match(constraint):
            implied.add(f"unique({match[1]})")
            implied.update(f"not null({name})" for name in match[1].split(","))
    return kept - implied, indexes


def _written(constraint: str) -> str:
    """A constraint without the spaces, and the quotes around names, that it does not need."""
    parts: list[str] = []
    for piece in pieces(constraint):
        text = piece.text if piece.kind == "string" else piece.text.lower()
        if piece.kind == "name" and _PLAIN_NAME.match(text[1:-1]):
            text = text[1:-1]
        if piece.kind in ("space", "comment"):
            continue
        if parts and re.match(r"\w", text) and re.match(r"\w", parts[-1][-1]):
            parts.append(" ")
        parts.append(text)
    return "".join(parts)
