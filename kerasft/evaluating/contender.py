"""One model's answers to the rows, judged in every way that was asked for."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from kerasft.console import Reporter
from kerasft.data.examples import Encoded
from kerasft.evaluating import grades as judged
from kerasft.evaluating.answers import Answers, answer, candidates
from kerasft.evaluating.journal import Journal
from kerasft.evaluating.losses import Losses, completion_losses
from kerasft.evaluating.retry import Retried, retry
from kerasft.evaluating.rows import Rows
from kerasft.judging import Grade, Judge, Prices, summarise_grades
from kerasft.out_of_memory import answer_remedies, explained
from kerasft.recipe import EvalSettings
from kerasft.tasks import TASKS

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from kerasft.engine.loaded import LoadedModel
    from kerasft.engine.perplexity import CompletionLosses


@dataclass
class Scored:
    """What came out for one contender.

    Attributes:
        name: `tuned` or `base`.
        answers: greedy.
        judgements: one an answer, the task's own.
        summary: of the judgements.
        grades: the judge's, where there is one.
        losses: of the rows' own completions, where they were asked for.
        retried: with candidates in place of invalid SQL, where that was asked for.
    """

    name: str
    answers: Answers
    judgements: list[Any]
    summary: dict[str, Any]
    grades: list[Grade] = field(default_factory=list)
    losses: Losses | None = None
    retried: Retried | None = None

    def line(self, row: int) -> dict[str, Any]:
        """What the predictions say of a row."""
        found = {"answer": self.answers.texts[row], **asdict(self.judgements[row])}
        if self.grades:
            grade = self.grades[row]
            found |= {
                "judge": judged.flag(grade),
                "judge_verdict": grade.verdict,
                "judge_reason": grade.reason,
            }
        if self.losses is not None and row in self.losses.found:
            loss = self.losses.found[row]
            found |= {"nats": loss.nats, "completion_tokens": loss.tokens}
        if self.retried is not None and row in self.retried.failed:
            found["with_retry"] = {
                "candidate": self.retried.places.get(row),
                "answer": self.retried.answers[row],
                **asdict(self.retried.judgements[row]),
            }
        return found


class Contest:
    """Lets a model answer, tuned and untouched, and judges the answers.

    Args:
        model: loaded.
        rows: that it answers.
        prompts: their token ids.
        settings: of the recipe.
        journal: where answers and grades are kept.
        reporter: told what happens.
    """

    def __init__(
        self,
        model: "LoadedModel",
        rows: Rows,
        prompts: Sequence[Sequence[int]],
        settings: EvalSettings,
        journal: Journal,
        reporter: Reporter,
    ) -> None:
        self._model = model
        self._rows = rows
        self._prompts = prompts
        self._settings = settings
        self._journal = journal
        self._reporter = reporter
        self._task = TASKS[rows.task]

    def acting_as(self, name: str) -> "AbstractContextManager[None]":
        """The model as this contender, inside the block."""
        alone = name == "base" and self._model.lora is not None
        return self._model.lora.disabled() if alone else nullcontext()

    def score(self, name: str) -> Scored:
        """Greedy answers and what the task says of them."""
        rows = self._rows.rows
        counting = self._reporter.counting(f"Answering, {name}", len(rows))
        with counting as told, self.acting_as(name), self._fewer_rows(1):
            what = f"answers of {name}"
            answers = answer(
                self._model, rows, self._prompts, self._settings, self._journal, what, told
            )
        with self._reporter.working(f"Judging {len(rows)} answers, {name}"):
            judgements = self._task.score(rows, answers.texts)
        return Scored(name, answers, judgements, self._task.summarise(judgements))

    def retry(self, scored: Scored, width: int) -> None:
        """Try the candidates of a beam where the greedy answer is no valid SQL."""

        def beams(failed: list[int]) -> dict[int, list[str]]:
            what = f"candidates of {scored.name}, {width} wide"
            count = self._reporter.counting(
                f"Trying {width} candidates, {scored.name}", len(failed)
            )
            with count as told, self.acting_as(scored.name), self._fewer_rows(width):
                return candidates(
                    self._model,
                    self._prompts,
                    failed,
                    width,
                    self._settings,
                    self._journal,
                    what,
                    told,
                )

        scored.retried = retry(self._rows.rows, scored.answers.texts, scored.judgements, beams)

    def grade(self, scored: Scored, judge: Judge, prices: Prices | None) -> None:
        """Have the judge grade the greedy answers."""
        rows = self._rows.rows
        what = f"grades of {scored.name} by {judge.model} at {judge.url}"
        with self._reporter.counting(f"Grading, {scored.name}", len(rows)) as told:
            scored.grades = judged.grade(
                judge, self._rows.task, rows, scored.answers.texts, self._journal, what, told
            )
        scored.summary["judge"] = summarise_grades(scored.grades, prices)

    def weigh(self, name: str, losses: "CompletionLosses", encoded: Encoded, of: str) -> Losses:
        """The losses of completions under this contender."""
        count = len(encoded.examples)
        with (
            self._reporter.counting(f"Perplexity of {of}, {name}", count) as told,
            self.acting_as(name),
            explained("weighing completions", lambda: ["leave them out with --no-perplexity"]),
        ):
            return completion_losses(losses, encoded, told)

    def _fewer_rows(self, width: int) -> "AbstractContextManager[None]":
        """What to do where `eval.batch_size` rows, or so many of `width` candidates, do not fit."""
        size = self._settings.batch_size
        remedies = answer_remedies(size, self._settings.max_new_tokens, "eval.batch_size")
        if width > 1:
            remedies.insert(0, f"try fewer candidates than --retry {width}")
        return explained(f"answering {size} rows together", lambda: remedies)
