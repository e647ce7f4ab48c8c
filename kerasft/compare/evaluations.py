"""What was scored of each run, and what may be held against what.

Two evaluations are of the same questions where their names, prompts (by hash) and the longest
answer agree. Those of other questions are shown under a name of their own and never paired.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasft.compare.result import Answer, Differing, PairedTest, Score
from kerasft.errors import RunError
from kerasft.evaluating.paired import Flag, compare_flags
from kerasft.records import read_json
from kerasft.runs import RunFolder
from kerasft.tasks import TASKS

MOST_EXAMPLES = 50
"""Questions on which the runs differ that are kept; all of them are counted."""

_KINDS = ("rate", "mean", "perplexity")

Line = Mapping[str, Any]
"""A line of the predictions: the row, and under `tuned` answer and judgement."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of one run.

    Attributes:
        label: by which it is shown; the same for the same questions.
        results: of its .json.
        file: that .json.
    """

    label: str
    results: Mapping[str, Any]
    file: Path

    @property
    def asks(self) -> tuple[Any, ...]:
        """What must agree for two evaluations to be of the same questions."""
        decoding = self.results.get("decoding") or {}
        return (
            self.file.stem,
            self.results.get("task"),
            self.results.get("prompts"),
            decoding.get("max_new_tokens"),
        )

    def lines(self) -> list[Line]:
        """The predictions, in order of the questions.

        Raises:
            RunError: they are missing or damaged.
        """
        path = self.file.with_name(f"{self.file.stem}.predictions.jsonl")
        try:
            return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        except (OSError, ValueError) as error:
            raise RunError(f"{path} cannot be read: {error}") from error


def evaluations_of(run: RunFolder) -> list[Evaluation]:
    """The evaluations of a run of which there are scores of the tuned model, by name.

    Raises:
        RunError: one cannot be read.
    """
    found = []
    for file in sorted(run.eval.glob("*.json")):
        results = read_json(file)
        if "tuned" in results:
            found.append(Evaluation(file.stem, results, file))
    return found


def labelled(groups: Sequence[Sequence[Evaluation]]) -> tuple[list[list[Evaluation]], list[str]]:
    """The evaluations of all runs, those of other questions under other labels, and notes.

    Args:
        groups: by run, the reference's first, which keeps its names.
    """
    asked: dict[str, list[tuple[Any, ...]]] = {}
    found, notes = [], []
    for group in groups:
        named = []
        for each in group:
            known = asked.setdefault(each.label, [])
            if each.asks not in known:
                known.append(each.asks)
                if len(known) == 2:
                    notes.append(
                        f"evaluations named {each.label} are not of the same questions: they are "
                        "shown apart and not compared"
                    )
            place = known.index(each.asks)
            label = each.label if place == 0 else f"{each.label} ({place + 1})"
            named.append(Evaluation(label, each.results, each.file))
        found.append(named)
    return found, notes


def scores_of(evaluation: Evaluation, side: str = "tuned") -> list[Score]:
    """Every rate, mean and perplexity with an interval, those of parts of the rows left out."""
    return list(_scores(evaluation.label, evaluation.results.get(side) or {}))


def _scores(label: str, summary: Mapping[str, Any], path: str = "") -> Iterator[Score]:
    for name, value in summary.items():
        if not isinstance(value, Mapping) or name.startswith("by_"):
            continue
        kind = next((each for each in _KINDS if value.get(each) is not None), None)
        if kind is None or value.get("low") is None:
            yield from _scores(label, value, f"{path}{name} / ")
            continue
        yield Score(
            evaluation=label,
            metric=f"{path}{name}",
            kind=kind,
            count=value.get("count"),
            total=value["of"],
            value=value[kind],
            low=value["low"],
            high=value["high"],
        )


Answered = Mapping[str, Mapping[int, Sequence[Line]]]
"""By contender and seed, the predictions of one evaluation."""


def paired_tests(label: str, task: str, answered: Answered) -> list[PairedTest]:
    """McNemar's exact test of every pair of contenders, in the order of the contenders.

    Every measure of the task is tested over all seeds that both have, pooled; the first of
    them by seed, too, where there are several.
    """
    measures = list(TASKS[task].PAIRED)
    everyone = [line for runs in answered.values() for lines in runs.values() for line in lines]
    if everyone and all("judge" in line["tuned"] for line in everyone):
        measures.append("judge")
    tests = []
    for a, b in itertools.combinations(answered, 2):
        seeds = sorted(answered[a].keys() & answered[b].keys())
        for place, measure in enumerate(measures):
            pairs = [
                tuple([line["tuned"][measure] for line in answered[name][seed]] for name in (a, b))
                for seed in seeds
            ]
            if not pairs:
                continue
            pooled = [[flag for pair in pairs for flag in pair[side]] for side in (0, 1)]
            tests.append(_test(label, measure, (a, b), pooled[0], pooled[1], None, len(seeds)))
            if place == 0 and len(seeds) > 1:
                tests += [
                    _test(label, measure, (a, b), pair[0], pair[1], seed, 1)
                    for seed, pair in zip(seeds, pairs, strict=True)
                ]
    return tests


def _test(
    label: str,
    measure: str,
    names: tuple[str, str],
    a: Sequence[Flag],
    b: Sequence[Flag],
    seed: int | None,
    seeds: int,
) -> PairedTest:
    found = compare_flags(a, b)
    return PairedTest(
        evaluation=label,
        metric=measure,
        a=names[0],
        b=names[1],
        only_a=found["broken"],
        only_b=found["fixed"],
        total=found["of"],
        seed=seed,
        seeds=seeds,
        p_value=found["p_value"],
    )


def differing(label: str, task: str, answered: Answered) -> list[Differing]:
    """The questions whose answers are not all right or all wrong, in the first common seed.

    Where a task judges no answer right or wrong, those whose texts differ.
    """
    common = set.intersection(*(set(runs) for runs in answered.values())) if answered else set()
    if len(answered) < 2 or not common:
        return []
    seed, module = min(common), TASKS[task]
    measure = module.PAIRED[0] if module.PAIRED else None
    asked, context = module.PROMPT_COLUMNS
    found = []
    lines = {name: runs[seed] for name, runs in answered.items()}
    for together in zip(*lines.values(), strict=True):
        said = [line["tuned"] for line in together]
        if len({each[measure] if measure else each["answer"] for each in said}) < 2:
            continue
        row = together[0]
        found.append(
            Differing(
                evaluation=label,
                metric=measure or "answer",
                seed=seed,
                question=str(row.get(asked, "")),
                context=str(row.get(context) or ""),
                gold=str(row.get(module.COMPLETION_COLUMN, "")),
                answers={
                    name: Answer(
                        text=each["answer"],
                        right=each[measure] if measure else None,
                        why=_why(each),
                    )
                    for name, each in zip(lines, said, strict=True)
                },
            )
        )
    return found


def _why(judged: Mapping[str, Any]) -> str:
    """What became of an answer, in the task's own words."""
    status, message = judged.get("status") or "", judged.get("message") or ""
    return f"{status}: {message}" if status and message else str(status or message)
