"""When two questions over one schema are near-duplicates."""

import re
from collections import Counter

from kerasft.data.synth.words import spoken_date

_LITERAL = re.compile(r"'((?:[^']|'')*)'|(?<![A-Za-z0-9_.])(\d+(?:\.\d+)?)")
_NEAR = 0.9
"""Share of words in common from which on two questions are near-duplicates."""


def literals(sql: str) -> list[str]:
    """The literals of a query as they stand in its question: no quotes, no LIKE wildcards."""
    found = []
    for match in _LITERAL.finditer(sql):
        text, digits = match.groups()
        if digits is not None:
            found.append(digits)
        elif not text.startswith("%") or not re.fullmatch(r"(%[Ymd]-?)+", text):
            found.append(text.replace("''", "'").strip("%"))
    return found


def skeleton(sql: str) -> str:
    """The query in lower case with every literal left out."""
    return " ".join(_LITERAL.sub("?", sql).lower().split())


def question_words(question: str, sql: str) -> Counter[str]:
    """The words of a question, in lower case, without the literals of its SQL."""
    text = question
    for value in sorted(literals(sql), key=len, reverse=True):
        if re.fullmatch(r"\d{4}-\d\d-\d\d", value):
            text = text.replace(spoken_date(value), " ")
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", " ", text)
    return Counter(re.findall(r"[a-z]+", text.lower()))


def likeness(first: Counter[str], second: Counter[str]) -> float:
    """Words in common over all words, counted with repeats: 1 for the same bag of words."""
    together = (first | second).total()
    return (first & second).total() / together if together else 1.0


class Seen:
    """The questions so far, by schema."""

    def __init__(self) -> None:
        self._skeletons: dict[frozenset[str], set[str]] = {}
        self._words: dict[frozenset[str], list[Counter[str]]] = {}

    def admit(self, schema: frozenset[str], question: str, sql: str) -> bool:
        """Remember the question, unless one over the same schema is a near-duplicate of it.

        Near-duplicates have the same SQL but for its literals, or nine tenths of their words,
        literals left out, in common.
        """
        skeletons = self._skeletons.setdefault(schema, set())
        words = self._words.setdefault(schema, [])
        bare, bag = skeleton(sql), question_words(question, sql)
        if bare in skeletons or any(likeness(bag, other) >= _NEAR for other in words):
            return False
        skeletons.add(bare)
        words.append(bag)
        return True


class SeenOfDatabase:
    """The questions so far over one database, whichever of its tables their contexts show.

    One schema has far fewer queries than literals, so SQL may repeat but for its literals.
    """

    def __init__(self, same_sql: int) -> None:
        """`same_sql`: how many rows may have SQL that differs in its literals alone."""
        self._same_sql = same_sql
        self._skeletons: Counter[str] = Counter()
        self._questions: set[str] = set()

    def admit(self, schema: frozenset[str], question: str, sql: str) -> bool:
        """Remember the question, unless it was asked, in another case or spacing too."""
        bare, asked = skeleton(sql), " ".join(question.casefold().split())
        if asked in self._questions or self._skeletons[bare] >= self._same_sql:
            return False
        self._questions.add(asked)
        self._skeletons[bare] += 1
        return True
