"""What a judge's reply is worth, and the grades of many rows in figures."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kerasft.tasks.intervals import proportion

Verdict = Literal["right", "wrong", "refused", "unparsable", "failed"]

LONGEST_REASON = 500  # characters
_REFUSAL = re.compile(
    r"\s*(?:(?:i['’]?m|i am)\s+(?:very\s+)?(?:sorry|unable|not able)|sorry\b|i\s+can(?:no|['’])?t\b"
    r"|i\s+(?:won['’]t|will not|must decline|refuse)|unfortunately,? i\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Grade:
    """What the judge made of one answer.

    Attributes:
        verdict: `right` or `wrong`; `refused` (the judge would not judge), `unparsable` (its
            reply holds no verdict, or two that disagree) or `failed` (there was no reply).
        reason: the judge's own, or why there is none.
        prompt_tokens: as the endpoint counted them; 0 where it did not say.
        completion_tokens: likewise.
        requests: how often the endpoint was asked; 0 where there was nothing to judge.
    """

    verdict: Verdict
    reason: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    requests: int = 1


@dataclass(frozen=True)
class Prices:
    """What a million tokens cost, in the currency of the caller."""

    prompt: float
    completion: float


def read_reply(text: str) -> tuple[Verdict, str]:
    """The verdict in a judge's reply, and its reason.

    The reply should be one JSON object. Where a model writes around it, every object with a
    verdict counts, and they must agree: a reply may quote an answer that holds one itself.
    """
    found = [each for each in _objects(text) if _verdict(each) is not None]
    verdicts = {_verdict(each) for each in found}
    if len(verdicts) == 1:
        return verdicts.pop(), _shortened(str(found[-1].get("reason") or ""))
    if not found and _REFUSAL.match(text):
        return "refused", _shortened(text)
    return "unparsable", _shortened(text)


def _verdict(reply: dict[str, Any]) -> Verdict | None:
    value = reply.get("verdict")
    folded = value.strip().lower() if isinstance(value, str) else None
    return folded if folded in ("right", "wrong") else None


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The outermost JSON objects that a text holds."""
    decoder = json.JSONDecoder()
    place = text.find("{")
    while place >= 0:
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = place + 1
        else:
            yield value
        place = text.find("{", end)


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"


def summarise_grades(grades: Sequence[Grade], prices: Prices | None = None) -> dict[str, Any]:
    """The rate of right answers with its 95 % Wilson interval, and what it is not of.

    Returns:
        `right` (a proportion of the rows with a verdict), `rows`, the counts `refused`,
        `unparsable` and `failed`, `retries` (requests beyond the first of a row), the sums
        `prompt_tokens` and `completion_tokens`, and with prices `cost`.
    """
    counts = Counter(grade.verdict for grade in grades)
    prompt = sum(grade.prompt_tokens for grade in grades)
    completion = sum(grade.completion_tokens for grade in grades)
    summary = {
        "rows": len(grades),
        "right": proportion(counts["right"], counts["right"] + counts["wrong"]),
        **{verdict: counts[verdict] for verdict in ("refused", "unparsable", "failed")},
        "retries": sum(max(grade.requests - 1, 0) for grade in grades),
        "prompt_tokens": prompt,
        "completion_tokens": completion,
    }
    if prices is not None:
        summary["cost"] = (prompt * prices.prompt + completion * prices.completion) / 1e6
    return summary
