"""The evaluations of all runs of a comparison together."""

from collections.abc import Sequence

from kerasft.compare import evaluations
from kerasft.compare.contenders import Group
from kerasft.compare.evaluations import Evaluation, Line
from kerasft.compare.result import Differing, PairedTest, Score


class Scored:
    """The evaluations of all runs, those of the same questions under the same label.

    Args:
        found: the contenders.
        reference: one of them, whose evaluations keep their names.

    Attributes:
        notes: what a reader should know of them.
        base: scores of the untouched base, where a run's evaluation has it.

    Raises:
        RunError: an evaluation is damaged.
    """

    def __init__(self, found: Sequence[Group], reference: Group) -> None:
        order = [reference, *(group for group in found if group is not reference)]
        keys = [(group.name, seed) for group in order for seed in group.entrants]
        read = [
            evaluations.evaluations_of(group.entrants[seed].run)
            for group in order
            for seed in group.entrants
        ]
        labelled, self.notes = evaluations.labelled(read)
        self._by_run = dict(zip(keys, labelled, strict=True))
        self.notes += self._stacks()
        self.base = self._base()

    def scores(self, name: str, seed: int) -> list[Score]:
        """Of a run."""
        return [
            score
            for evaluation in self._by_run[name, seed]
            for score in evaluations.scores_of(evaluation)
        ]

    def compared(self, names: Sequence[str]) -> tuple[list[PairedTest], list[Differing]]:
        """Paired tests and the questions on which contenders differ, in the order of `names`."""
        tests, examples = [], []
        for label in self._labels():
            answered: dict[str, dict[int, list[Line]]] = {}
            task = ""
            for name in names:
                for (each, seed), of_run in self._by_run.items():
                    for evaluation in of_run:
                        if each == name and evaluation.label == label:
                            task = evaluation.results["task"]
                            answered.setdefault(name, {})[seed] = evaluation.lines()
            tests += evaluations.paired_tests(label, task, answered)
            examples += evaluations.differing(label, task, answered)
        return tests, examples

    def _labels(self) -> list[str]:
        every = (each.label for of_run in self._by_run.values() for each in of_run)
        return list(dict.fromkeys(every))

    def _all(self, label: str) -> list[Evaluation]:
        return [each for of_run in self._by_run.values() for each in of_run if each.label == label]

    def _stacks(self) -> list[str]:
        """Evaluations whose answers were given by more than one backend."""
        notes = []
        for label in self._labels():
            backends = sorted({str(each.results.get("backend")) for each in self._all(label)})
            if len(backends) > 1:
                notes.append(
                    f"{label} was answered with {' and '.join(backends)}: some answers differ by "
                    "rounding alone"
                )
        return notes

    def _base(self) -> list[Score]:
        """Of the untouched base, where a run's evaluation has it."""
        found = []
        for label in self._labels():
            with_base = [each for each in self._all(label) if "base" in each.results]
            found += evaluations.scores_of(with_base[0], "base") if with_base else []
        return found
