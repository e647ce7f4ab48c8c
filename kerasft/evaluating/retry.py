"""A second chance for answers that are no valid SQL: the next candidates of a small beam.

Whether a candidate is taken depends on what the engine says of it alone, never on the gold SQL,
so it is what a user could do too. It costs a beam search, and is reported beside the greedy
scores and never mixed with them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kerasft.tasks import text_to_sql
from kerasft.tasks.text_to_sql import Judgement


@dataclass(frozen=True)
class Retried:
    """What became of the rows of one model.

    Attributes:
        answers: one a row: the greedy one, or the candidate taken in its place.
        judgements: of these answers.
        places: the row → the place of the candidate taken, from 1.
        failed: rows whose greedy answer is no valid SQL; each was tried again.
    """

    answers: list[str]
    judgements: list[Judgement]
    places: dict[int, int]
    failed: list[int]

    def summary(self, width: int) -> dict[str, Any]:
        """Scores with the candidates taken, `tried`, `replaced` and `width`."""
        return {
            "width": width,
            "tried": len(self.failed),
            "replaced": len(self.places),
            **text_to_sql.summarise(self.judgements),
        }


def retry(
    rows: Sequence[Mapping[str, Any]],
    answers: Sequence[str],
    judgements: Sequence[Judgement],
    candidates: Callable[[list[int]], Mapping[int, Sequence[str]]],
) -> Retried:
    """Take the likeliest candidate that is valid SQL where the greedy answer is not.

    Args:
        rows, answers, judgements: of the greedy answers.
        candidates: from the rows that failed to further answers of each, the likeliest first.
            Ones that equal the greedy answer are passed over.
    """
    failed = [index for index, each in enumerate(judgements) if each.valid_sql is False]
    beams = candidates(failed) if failed else {}
    others = {index: [text for text in beams[index] if text != answers[index]] for index in failed}
    taken, judged, places = list(answers), list(judgements), {}
    place = 0
    waiting = [index for index in failed if others[index]]
    while waiting:
        texts = [others[index][place] for index in waiting]
        found = text_to_sql.score([rows[index] for index in waiting], texts)
        place += 1
        for index, text, judgement in zip(waiting, texts, found, strict=True):
            if judgement.valid_sql:
                taken[index], judged[index], places[index] = text, judgement, place
        waiting = [i for i in waiting if i not in places and len(others[i]) > place]
    return Retried(taken, judged, places, failed)
