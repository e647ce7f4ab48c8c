"""Which tables a question is about, for a schema that is too long for the prompt.

Nothing is learned here: words of the question are looked for in the names of tables and
columns, and tables that lie between chosen ones are taken along their foreign keys.
"""

import math
import re
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from kerasft.data.synth.words import split_identifier, vocabulary
from kerasft.sql.schema import Schema, Table

NAME_WEIGHT, COLUMN_WEIGHT, VALUE_WEIGHT = 3.0, 1.0, 2.0
"""What a word of the question counts in a table's name, in a column's, and as a value of one."""

LONGEST_PHRASE = 5
"""Words of a question that are looked for together as a value."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_QUOTED = re.compile(r"\"([^\"]+)\"|“([^”]+)”|(?<!\w)'([^']+)'(?!\w)|‘([^’]+)’")
_PLURALS = {"ies": "y", "sses": "ss", "xes": "x", "ches": "ch", "shes": "sh", "s": ""}
_ENDINGS = {"ing": "", "ied": "y", "ed": "", "er": "", "or": "", "e": ""}
_SHORTEST_STEM = 3
# Words that questions are made of, whatever they ask for. Words of order and amount that are
# often columns too (number, total, date, name) stay.
_STOP = vocabulary(
    """
    a all also among an and any are as at be been between both but by can do does did each every
    find for from get give had has have how i id if in is it its list many me more most much no
    not of on only or our out over per please return s show some tell than that the their them
    then there these they this those to top us was we were what when where which who whom whose
    with without
    """
)


@dataclass(frozen=True)
class Linked:
    """Names of tables and views, each in the schema's order.

    Attributes:
        kept: those that fit; empty where not even the best one does.
        left_out: all others.
    """

    kept: tuple[str, ...]
    left_out: tuple[str, ...]


def link(
    question: str,
    schema: Schema,
    fits: Callable[[Collection[str]], bool],
    *,
    matches: Collection[tuple[str, str]] = (),
) -> Linked:
    """The tables that a question needs, as many as fit.

    Tables come in the order of their relevance, each with those on its shortest way along
    foreign keys to what is chosen already. What room is left is filled with neighbours of the
    chosen, then with the others: a table too many costs less than one that is missing.

    Args:
        question: in words.
        schema: of the database.
        fits: whether a prompt with these tables is short enough.
        matches: table and column of each column that holds a value of the question.
    """
    scores = relevance(question, schema, matches)
    neighbours = _neighbours(schema)
    order = {table.name: place for place, table in enumerate(schema.tables)}
    ranked = sorted(order, key=lambda name: (-scores[name], order[name]))
    chosen: set[str] = set()

    def take(names: Collection[str]) -> bool:
        fitting = fits(chosen | set(names))
        if fitting:
            chosen.update(names)
        return fitting

    for name in ranked:
        if scores[name] and name not in chosen:
            way = _way(name, chosen, neighbours)
            if not take(way) and len(way) > 1:
                take([name])
    beside = [name for name in ranked if neighbours[name] & chosen]
    for name in [*beside, *ranked]:
        if name not in chosen:
            take([name])
    return Linked(
        tuple(name for name in order if name in chosen),
        tuple(name for name in order if name not in chosen),
    )


def relevance(
    question: str, schema: Schema, matches: Collection[tuple[str, str]] = ()
) -> dict[str, float]:
    """How much each table has to do with a question, by name; 0 for nothing.

    A word in a table's name counts `NAME_WEIGHT` times the share of the name's words that the
    question has, one in a column's name `COLUMN_WEIGHT`; both are multiplied by the word's
    inverse document frequency, log(1 + tables / tables with the word). A column that holds a
    value of the question adds `VALUE_WEIGHT`.

    Args:
        question, schema, matches: as `link` takes them.
    """
    asked = _asked(question)
    names = {table.name: _stems(table.name) for table in schema.tables}
    columns = {
        table.name: {stem for column in table.columns for stem in _stems(column.name)}
        for table in schema.tables
    }
    spread = Counter(
        stem for table in schema.tables for stem in {*names[table.name], *columns[table.name]}
    )
    known = {stem: math.log1p(len(schema.tables) / spread[stem]) for stem in asked & {*spread}}
    scores = {}
    for table in schema.tables:
        name = names[table.name]
        share = len(asked & {*name}) / max(len(name), 1)
        score = NAME_WEIGHT * share * sum(known.get(stem, 0.0) for stem in {*name})
        score += COLUMN_WEIGHT * sum(known.get(stem, 0.0) for stem in columns[table.name])
        score += VALUE_WEIGHT * sum(owner == table.name for owner, _ in matches)
        scores[table.name] = score
    return scores


def phrases(question: str) -> list[str]:
    """Lower-case texts of a question that may be values: quoted ones, then runs of words.

    Runs have up to `LONGEST_PHRASE` words; single ones that every question has are left out.
    """
    quoted = [next(filter(None, found)).strip() for found in _QUOTED.findall(question)]
    words = list(_WORD.finditer(question))
    runs = [
        question[words[start].start() : words[start + length - 1].end()]
        for length in range(LONGEST_PHRASE, 0, -1)
        for start in range(len(words) - length + 1)
    ]
    found = (text.lower() for text in [*quoted, *runs])
    return list(dict.fromkeys(text for text in found if text and text not in _STOP))


def stem(word: str) -> str:
    """A word without its commonest endings: `countries` and `country`, `composer` and `composed`.

    The same is cut from the question and from the schema, so that it need be no word.
    """
    word = word.lower()
    if not word.endswith(("ss", "us", "is")):
        word = _cut(word, _PLURALS)
    cut = _cut(word, _ENDINGS)
    # `shipped` and `ship`; but `selling` and `sell`.
    doubled = word.endswith(("ing", "ed", "er")) and cut[-1:] == cut[-2:-1]
    cut = cut[:-1] if doubled and cut[-1] in "bdgmnprt" else cut
    # `movies` and `movie`, `cities` and `city`.
    return cut.removesuffix("y") + "i" if cut.endswith("y") else cut


def _cut(word: str, endings: Mapping[str, str]) -> str:
    for ending, instead in endings.items():
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM:
            return word.removesuffix(ending) + instead
    return word


def _stems(name: str) -> list[str]:
    """Stems of the words of a table's or column's name."""
    return [stem(word) for word in split_identifier(name).split() if word not in _STOP]


def _asked(question: str) -> set[str]:
    """Stems of a question's words, and of two in a row as names join them (`invoiceitems`)."""
    words = [word.lower() for word in _WORD.findall(question)]
    words = [part for word in words for part in re.split("['’]", word)]
    single = {stem(word) for word in words if word not in _STOP}
    return single | {stem(first + second) for first, second in pairwise(words)}


def _neighbours(schema: Schema) -> dict[str, set[str]]:
    """Tables joined by a foreign key, declared or told by a key column of the same name."""
    by_name = {table.name.lower(): table.name for table in schema.tables}
    found: dict[str, set[str]] = {table.name: set() for table in schema.tables}
    for first, second in _links(schema.tables, by_name):
        if first != second:
            found[first].add(second)
            found[second].add(first)
    return found


def _links(tables: Sequence[Table], by_name: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    owners = {}
    for table in tables:
        key = [column.name.lower() for column in table.columns if column.primary_key]
        if len(key) == 1 and key[0] not in ("id", "name", "code"):
            owners.setdefault(key[0], table.name)
    for table in tables:
        for foreign in table.foreign_keys:
            if foreign.table.lower() in by_name:
                yield table.name, by_name[foreign.table.lower()]
        for column in table.columns:
            if column.name.lower() in owners:
                yield table.name, owners[column.name.lower()]


def _way(name: str, chosen: Collection[str], neighbours: Mapping[str, set[str]]) -> list[str]:
    """The table and those on its shortest way to a chosen one; alone where there is none."""
    came: dict[str, str | None] = {name: None}
    waiting = deque([name])
    while waiting:
        here = waiting.popleft()
        for there in sorted(neighbours[here] - came.keys()):
            came[there] = here
            if there in chosen:
                way = []
                step: str | None = here
                while step is not None:
                    way.append(step)
                    step = came[step]
                return way
            waiting.append(there)
    return [name]
