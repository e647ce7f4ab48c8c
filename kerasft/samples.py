"""Answers to a few held-out rows before and after training, to be read beside each other."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from kerasft.console import Reporter
from kerasft.out_of_memory import answer_remedies, explained
from kerasft.preparation import Prepared
from kerasft.tasks import TASKS, task_row

Answer = Callable[[Sequence[Sequence[int]], int, Sequence[int]], list[list[int]]]
"""Prompts, tokens at the most and stop ids → greedy continuations."""


class Samples:
    """The held-out rows of a run that are answered twice.

    Args:
        prepared: has the rows.
        reporter: told what happens.
        answer: of the model as it is when it is called.

    Attributes:
        found: `prompt`, `expected`, `before` and, at the end, `after` of each.
        seconds: how long the answers of the base took.
    """

    def __init__(self, prepared: Prepared, reporter: Reporter, answer: Answer) -> None:
        self._prepared = prepared
        self._answer = answer
        self._reporter = reporter
        self._rows = [task_row(prepared.recipe.task, row) for row in prepared.sample_rows]
        self.found: list[dict[str, str]] = []
        self.seconds = 0.0

    def state(self) -> dict[str, Any]:
        """What a checkpoint has of it."""
        return {"found": self.found, "seconds": self.seconds}

    def restore(self, state: dict[str, Any]) -> None:
        """Put `state` back; the base is not asked again."""
        self.found, self.seconds = state["found"], state["seconds"]

    def before(self) -> None:
        """Let the base answer, where it has not."""
        if not self._rows or self.found:
            return
        began = time.monotonic()
        texts = self._answers("before")
        task = TASKS[self._prepared.recipe.task]
        self.found = [
            {
                "prompt": str(row[task.PROMPT_COLUMNS[0]]),
                "expected": str(row[task.COMPLETION_COLUMN]),
                "before": text,
            }
            for row, text in zip(self._rows, texts, strict=True)
        ]
        self.seconds = time.monotonic() - began

    def after(self) -> None:
        """Let the trained model answer."""
        if not self._rows:
            return
        texts = self._answers("after")
        for sample, text in zip(self.found, texts, strict=True):
            sample["after"] = text

    def _answers(self, when: str) -> list[str]:
        from kerasft.data.prompts import stop_ids

        prepared = self._prepared
        count, tokens = len(self._rows), prepared.recipe.eval.max_new_tokens
        with (
            self._reporter.working(f"Answering {count} held-out rows {when} training"),
            explained(
                f"answering {count} held-out rows together",
                lambda: answer_remedies(count, tokens, "eval.samples"),
            ),
        ):
            answers = self._answer(
                [prepared.prompt_ids(row) for row in self._rows],
                tokens,
                stop_ids(prepared.template, prepared.tokenizer),
            )
        return [prepared.tokenizer.decode(ids).strip() for ids in answers]
