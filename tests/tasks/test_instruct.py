"""ROUGE-L against its definition, and the summary."""

import random

import pytest

from kerasft.tasks.instruct import common_subsequence, rouge_l, score, summarise, words


def by_definition(first: list[str], second: list[str]) -> int:
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            longest = max(table[i][j + 1], table[i + 1][j])
            table[i + 1][j + 1] = table[i][j] + 1 if one == other else longest
    return table[-1][-1]


def test_common_subsequence_is_that_of_the_table() -> None:
    generator = random.Random(0)
    for _ in range(300):
        first, second = (
            [generator.choice("abcd") for _ in range(generator.randint(0, 90))] for _ in range(2)
        )
        assert common_subsequence(first, second) == by_definition(first, second)


def test_rouge_l_of_its_paper() -> None:
    """The examples of section 3.1: S1 against S2 and S3."""
    reference = words("police killed the gunman")
    assert rouge_l(reference, words("Police kill the gunman.")) == pytest.approx(0.75)
    assert rouge_l(reference, words("the gunman kill police")) == pytest.approx(0.5)


@pytest.mark.parametrize(("answer", "value"), [("", 0.0), ("a b", 1.0), ("A, b!", 1.0), ("c", 0.0)])
def test_ends_of_the_scale(answer: str, value: float) -> None:
    assert rouge_l(words("a b"), words(answer)) == value
    assert rouge_l([], []) == 1.0


def test_summary() -> None:
    rows = [{"response": "a b c d", "category": "open_qa"}, {"response": "e f", "category": "x"}]
    summary = summarise(score(rows, ["a b c d", ""]))
    assert summary["rows"] == 2
    assert summary["rouge_l"]["mean"] == 0.5
    assert summary["words"]["mean"] == 2.0
    assert summary["empty_answers"] == 1
    assert summary["by_category"]["open_qa"]["rouge_l"]["mean"] == 1.0
    assert "by_category" not in summarise(score(rows[:1], ["a"]))
    with pytest.raises(ValueError, match="2 rows, but 1 answers"):
        score(rows, ["a"])
