"""Following instructions: which columns a row has, and how an answer is measured.

There are many right answers, so that an exact match says nothing. ROUGE-L says how much of
the reference's wording comes back in its order, and the length says whether answers ramble or
break off. Neither says whether an answer is right.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kerasft.tasks.groups import by_group
from kerasft.tasks.intervals import mean

COLUMNS = ("instruction", "context", "response")
OPTIONAL_COLUMNS = ("category",)
PROMPT_COLUMNS = ("instruction", "context")
COMPLETION_COLUMN = "response"
PAIRED: tuple[str, ...] = ()
GROUPS = ("category",)

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Judgement:
    """What is measured of one answer.

    Attributes:
        rouge_l: F1 of the longest common subsequence of words, 0 to 1.
        words: in the answer.
        reference_words: in the row's response.
        category: the row's own, if it has one.
    """

    rouge_l: float
    words: int
    reference_words: int
    category: str | None


def score(rows: Sequence[Mapping[str, Any]], answers: Sequence[str]) -> list[Judgement]:
    """Measure one answer a row against the row's `response`.

    Raises:
        ValueError: not one answer a row.
    """
    if len(rows) != len(answers):
        raise ValueError(f"{len(rows)} rows, but {len(answers)} answers: give one a row")
    return [_judge(row, answer) for row, answer in zip(rows, answers, strict=True)]


def summarise(judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Means over the rows with 95 % bootstrap intervals (2,000 seeded resamples).

    `by_category` holds the same for each category, where there is more than one.
    """
    return {**_means(judgements), **by_group(judgements, GROUPS, _means)}


def _means(judgements: Sequence[Judgement]) -> dict[str, Any]:
    return {
        "rows": len(judgements),
        "rouge_l": mean([judgement.rouge_l for judgement in judgements]),
        "words": mean([judgement.words for judgement in judgements]),
        "reference_words": mean([judgement.reference_words for judgement in judgements]),
        "empty_answers": sum(judgement.words == 0 for judgement in judgements),
    }


def _judge(row: Mapping[str, Any], answer: str) -> Judgement:
    wanted, given = words(row["response"]), words(answer)
    return Judgement(
        rouge_l=rouge_l(wanted, given),
        words=len(given),
        reference_words=len(wanted),
        category=row.get("category"),
    )


def words(text: str) -> list[str]:
    """Runs of letters, digits and underscores, in lower case; nothing is stemmed."""
    return _WORD.findall(text.lower())


def rouge_l(reference: Sequence[str], answer: Sequence[str]) -> float:
    """ROUGE-L (C.-Y. Lin, 2004, section 3.1, with beta = 1).

    With L the length of the longest common subsequence: recall R = L / len(reference),
    precision P = L / len(answer), and the result 2 R P / (R + P) = 2 L / (len(reference) +
    len(answer)). Two empty texts have 1, one empty text has 0.
    """
    if not reference and not answer:
        return 1.0
    return 2 * common_subsequence(reference, answer) / (len(reference) + len(answer))


def common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, by bit-parallel rows (H. Hyyrö, 2004).

    Bit i of `row` is 0 where the table of the usual dynamic programme grows by one between
    positions i and i + 1 of `first`; one addition makes the next row, so that a pair of 1,000
    words takes milliseconds.
    """
    everything = (1 << len(first)) - 1
    places: dict[str, int] = {}
    for index, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << index
    row = everything
    for word in second:
        matches = row & places.get(word, 0)
        row = ((row + matches) | (row - matches)) & everything
    return len(first) - row.bit_count()
