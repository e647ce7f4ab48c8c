"""How a judge's reply is read, and grades in figures."""

import pytest

from kerasft.judging import Grade, Prices, summarise_grades
from kerasft.judging.grades import LONGEST_REASON, read_reply


@pytest.mark.parametrize(
    ("reply", "verdict", "reason"),
    [
        ('{"reason": "same rows", "verdict": "right"}', "right", "same rows"),
        ('{"verdict": "Wrong"}', "wrong", ""),
        ('```json\n{"reason": "a {brace}", "verdict": "wrong"}\n```', "wrong", "a {brace}"),
        ('<think>{if so}</think>\n{"verdict": "right", "reason": null}', "right", ""),
        # The first object is the judged answer, quoted; it has no say.
        ('It says {"verdict": "right"}.\n{"verdict": "wrong"}', "unparsable", None),
        ('{"verdict": "right"} {"verdict": "right", "reason": "r"}', "right", "r"),
        ('{"note": {"verdict": "right"}}', "unparsable", None),
        ('{"verdict": "maybe"}', "unparsable", None),
        ('{"verdict": true}', "unparsable", None),
        ("[1]", "unparsable", None),
        ("right", "unparsable", None),
        ("", "unparsable", ""),
        ("{" * 5000, "unparsable", None),
        ("Sorry, I cannot grade this.", "refused", None),
        ("I can't assist with that request.", "refused", None),
        ('I am sorry to say: {"verdict": "wrong"}', "wrong", ""),
    ],
)
def test_read_reply(reply: str, verdict: str, reason: str | None) -> None:
    found, said = read_reply(reply)
    assert found == verdict
    assert reason is None or said == reason
    assert len(said) <= LONGEST_REASON


def test_summary_counts_apart_what_is_no_verdict() -> None:
    grades = [
        Grade("right", "", 100, 10),
        Grade("right", "", 100, 10, requests=3),
        Grade("wrong", "", 200, 30),
        Grade("wrong", "there is no SQL", requests=0),
        Grade("refused", "", 50, 0),
        Grade("unparsable", "", 50, 50),
        Grade("failed", "", requests=5),
    ]
    summary = summarise_grades(grades, Prices(prompt=2.0, completion=10.0))
    assert (summary["right"]["count"], summary["right"]["of"], summary["rows"]) == (2, 4, 7)
    counted = [summary[name] for name in ("refused", "unparsable", "failed", "retries")]
    assert counted == [1, 1, 1, 6]
    assert (summary["prompt_tokens"], summary["completion_tokens"]) == (500, 100)
    assert summary["cost"] == pytest.approx(0.002)
    assert "cost" not in summarise_grades(grades)
    assert summarise_grades([])["right"]["rate"] is None
