"""The tables of a comparison."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kerasft.compare.result import CHECKS, Check, Comparison, Contender, PairedTest, RunFacts
from kerasft.compare.statistics import (
    Pace,
    Spread,
    ahead_from,
    compiled_apart,
    cost,
    facts_spread,
    pace,
    score_spread,
    spread,
)
from kerasft.report.comparison_plots import score_names, shown_name
from kerasft.report.document import Cell, Table
from kerasft.report.public import public_sentence
from kerasft.report.scores import p_value, readable
from kerasft.report.words import count


@dataclass(frozen=True)
class Measure:
    """A row of the table of numbers.

    Attributes:
        label: what it is.
        field: of `RunFacts`.
        factor, unit: from the field's unit to the one that is shown.
        decimals: shown; None for four digits of the mean.
        better: `low` or `high`; "" where neither is.
        compiling: whether compiling is in it, so that the first seed stands by itself.
    """

    label: str
    field: str
    factor: float = 1.0
    unit: str = ""
    decimals: int | None = 0
    better: str = ""
    compiling: bool = False

    def show(self, mean: float, deviation: float | None = None) -> str:
        """A mean with its deviation in the same unit, unless there is none."""
        value, around = mean * self.factor, (deviation or 0.0) * self.factor
        decimals = self.decimals
        if decimals is None:
            decimals = max(0, 3 - math.floor(math.log10(value))) if value > 0 else 0
        text = f"{value:,.{decimals}f}" + (f" ± {around:,.{decimals}f}" if around else "")
        return f"{text} {self.unit}".rstrip()


TRAINING_TIME = "training time, loading left out"

MEASURES = (
    Measure("time of a step, median", "step_seconds", 1000, "ms", None, "low"),
    Measure("tokens/s", "tokens_per_second", better="high"),
    Measure("supervised tokens/s", "supervised_tokens_per_second", better="high"),
    Measure("time to the first step's end", "first_step_seconds", 1, "s", None, "low", True),
    Measure(TRAINING_TIME, "training_seconds", 1, "s", None, "low", True),
    Measure("whole run, with loading and saving", "whole_seconds", 1, "s", 0, "low", True),
    Measure("peak memory", "peak_memory_bytes", 2**-30, "GiB", 2, "low"),
    Measure("adapter on disk", "adapter_bytes", 1e-6, "MB", 2, "low"),
    Measure("run folder, with checkpoints", "run_bytes", 1e-6, "MB", 2),
    Measure("optimizer steps", "steps"),
    Measure("tokens trained on", "tokens"),
)

_OF_A_RUN = tuple(
    measure for measure in MEASURES if measure.better and measure.field != "adapter_bytes"
)
"""What differs from run to run."""


def gate_table(comparison: Comparison) -> Table:
    """The checks, a row each, with a column a contender."""
    names = list(dict.fromkeys(check.contender for check in comparison.gate))
    found = {(check.what, check.contender): check for check in comparison.gate}
    order = [what for what in CHECKS if any(key[0] == what for key in found)]
    rows = [
        [what, *(_checked(found.get((what, contender))) for contender in names)] for what in order
    ]
    caption = f"Each contender against {comparison.reference}: what was found, and the bound"
    return Table(caption, ["", *names], rows)


def gate_details(comparison: Comparison) -> Table:
    """What each check did, in a sentence."""
    rows = [
        [
            check.what,
            check.contender,
            ", ".join(map(str, check.seeds)),
            public_sentence(check.detail),
        ]
        for check in comparison.gate
    ]
    return Table("The checks in words", ["", "contender", "seeds", "what was found"], rows)


def numbers_table(comparison: Comparison, contenders: Sequence[Contender]) -> Table:
    """Speed, memory and sizes; the best of those that may be ranked is strong."""
    rows: list[list[str | Cell]] = []
    for measure in MEASURES:
        for which, own in _seeds_of(measure, contenders):
            spreads = [facts_spread(contender, measure.field) for contender in own]
            if any(spreads):
                best = _best(own, spreads, measure.better)
                rows.append([_labelled(measure.label, which), *_shown(measure, spreads, best)])
        if measure.label == TRAINING_TIME:
            for which, own in _seeds_of(measure, contenders):
                rows += _standings(comparison, own, which)
    rows += _costs(comparison, contenders)
    rows.append(
        [
            "trained parameters",
            *(
                f"{each.trained_parameters:,}" if each.trained_parameters is not None else "–"
                for each in contenders
            ),
        ]
    )
    rows += _losses(contenders)
    several = any(len(contender.runs) > 1 for contender in contenders)
    caption = "Mean over the seeds ± sample standard deviation" if several else "One run each"
    if any(isinstance(cell, Cell) and cell.strong for row in rows for cell in row):
        caption += "; the best in bold"
    return Table(caption, ["", *(f"{shown_name(each, contenders)} " for each in contenders)], rows)


def ratio_table(comparison: Comparison, contenders: Sequence[Contender]) -> Table | None:
    """Each ranked contender's numbers over the reference's; None where nothing is ranked."""
    ranked = [contender for contender in contenders if contender.ranked]
    reference = next((each for each in ranked if each.name == comparison.reference), None)
    if reference is None or len(ranked) < 2:
        return None
    rows = []
    for measure in MEASURES:
        for which, chosen in _seeds_of(measure, ranked):
            spreads = [facts_spread(each, measure.field) for each in chosen]
            own = spreads[ranked.index(reference)]
            if not measure.better or own is None or not own.mean:
                continue
            ratios = [f"{each.mean / own.mean:.2f}" if each else "–" for each in spreads]
            rows.append([_labelled(measure.label, which), *ratios])
    caption = f"Ratios of the means to {reference.name}'s"
    return Table(caption, ["", *(f"{each.name} " for each in ranked)], rows) if rows else None


def score_table(comparison: Comparison, contenders: Sequence[Contender]) -> Table | None:
    """Scores, those of several seeds as mean ± deviation; None where nothing was scored."""
    base = {(score.evaluation, score.metric): score for score in comparison.base_scores}
    rows = []
    for kind in ("rate", "mean", "perplexity"):
        for evaluation, metric in score_names(comparison, kind):
            cells = [_scored(each, evaluation, metric, share=kind == "rate") for each in contenders]
            if base:
                own = base.get((evaluation, metric))
                cells.append(
                    _with_interval(own.value, own.low, own.high, kind == "rate") if own else "–"
                )
            rows.append([f"{evaluation}: {readable(metric)}", *cells])
    if not rows:
        return None
    columns = ["", *(each.name for each in contenders), *(["untouched base"] if base else [])]
    several = any(len(contender.runs) > 1 for contender in contenders)
    how = "95 % intervals"
    if several:
        how = "mean over the seeds ± sample standard deviation; plots have the intervals of each"
    return Table(f"Scores: {how}", columns, rows)


def tests_table(tests: Sequence[PairedTest], caption: str) -> Table:
    """McNemar's tests; the pooled ones first, and which seeds where there are several."""
    several = any(test.seeds > 1 for test in tests)
    rows = [
        [
            f"{test.a} and {test.b}",
            f"{test.evaluation}: {readable(test.metric)}",
            *([str(test.seed) if test.seed is not None else f"all {test.seeds}"] * several),
            f"{test.only_a:,}",
            f"{test.only_b:,}",
            f"{test.total:,}",
            p_value(test.p_value),
        ]
        for test in sorted(tests, key=lambda test: test.seed is not None)
    ]
    columns = [
        "",
        "measure",
        *(["seed"] * several),
        "only the first ",
        "only the second ",
        "pairs ",
    ]
    return Table(caption, [*columns, "p "], rows)


def first_measures(tests: Sequence[PairedTest]) -> tuple[list[PairedTest], list[PairedTest]]:
    """The tests of each evaluation's first measure, and those of the others."""
    first: dict[str, str] = {}
    for test in tests:
        first.setdefault(test.evaluation, test.metric)
    return (
        [test for test in tests if first[test.evaluation] == test.metric],
        [test for test in tests if first[test.evaluation] != test.metric],
    )


def runs_table(contenders: Sequence[Contender]) -> Table:
    """Every run by itself."""
    rows = [
        [
            run.run,
            contender.name,
            str(run.seed),
            f"{run.status}: {public_sentence(run.why)}" if run.why else run.status,
            *(_one(run, measure) for measure in _OF_A_RUN),
            f"{run.losses[-1][1]:.4f}" if run.losses else "–",
        ]
        for contender in contenders
        for run in contender.runs
    ]
    columns = ["", "contender", "seed", "status", *(f"{each.label} " for each in _OF_A_RUN)]
    return Table("The runs", [*columns, "last loss "], rows)


def versions_table(contenders: Sequence[Contender]) -> Table:
    """Engine, device, type and versions."""
    packages = dict.fromkeys(name for contender in contenders for name in contender.versions)
    facts: Mapping[str, Callable[[Contender], str]] = {
        "engine": lambda each: each.engine,
        "backend": lambda each: each.backend,
        "LoRA layout": lambda each: each.layout,
        "device": lambda each: each.device,
        "type of the base": lambda each: each.dtype,
    }
    rows = [[label, *(get(each) or "–" for each in contenders)] for label, get in facts.items()]
    rows += [[name, *(each.versions.get(name, "–") for each in contenders)] for name in packages]
    return Table("What ran where", ["", *(each.name for each in contenders)], rows)


def _seeds_of(
    measure: Measure, contenders: Sequence[Contender]
) -> list[tuple[str, list[Contender]]]:
    """Contenders with the runs that a row is the mean of, and which seeds' those are."""
    return compiled_apart(contenders) if measure.compiling else [("", list(contenders))]


def _labelled(label: str, which: str) -> str:
    return f"{label}, {which}" if which else label


def _checked(check: Check | None) -> Cell:
    if check is None:
        return Cell("not made", "warning")
    verdict = "passed" if check.passed else "failed"
    measured = ""
    if check.value is not None and check.bound is not None:
        measured = f", {check.value:.2g} ≤ {check.bound:.2g}"
        if not check.value <= check.bound:
            measured = f", {check.value:.2g}, bound {check.bound:.2g}"
    return Cell(f"{verdict}{measured}", "good" if check.passed else "bad", not check.passed)


def _best(
    contenders: Sequence[Contender], spreads: Sequence[Spread | None], better: str
) -> float | None:
    """The best mean of those that are ranked; None where two at least are not, or all equal."""
    means = [
        each.mean
        for contender, each in zip(contenders, spreads, strict=True)
        if contender.ranked and each is not None
    ]
    if not better or len(means) < 2 or len(set(means)) < 2:
        return None
    return min(means) if better == "low" else max(means)


def _shown(
    measure: Measure, spreads: Sequence[Spread | None], best: float | None
) -> Iterator[Cell]:
    for each in spreads:
        text = measure.show(each.mean, each.deviation) if each else "–"
        yield Cell(text, strong=each is not None and best is not None and each.mean == best)


def _standings(
    comparison: Comparison, contenders: Sequence[Contender], which: str
) -> list[list[str | Cell]]:
    """From or up to which step each ranked contender is ahead of the reference, in all."""
    reference = next((each for each in contenders if each.name == comparison.reference), None)
    own = pace(reference) if reference is not None and reference.ranked else None
    if own is None:
        return []
    cells = []
    for each in contenders:
        theirs = pace(each) if each.ranked and each is not reference else None
        cells.append(_standing(theirs, own) if theirs else "–")
    return [[_labelled(f"in all, against {comparison.reference}", which), *cells]]


def _standing(theirs: Pace, own: Pace) -> str:
    gained, lost = ahead_from(theirs, own), ahead_from(own, theirs)
    if gained is not None:
        return "always ahead" if gained == 1 else f"ahead from step {gained:,}"
    if lost is not None:
        return "always behind" if lost == 1 else f"ahead up to step {lost - 1:,}"
    return "level"


def _costs(comparison: Comparison, contenders: Sequence[Contender]) -> list[list[str | Cell]]:
    rows: list[list[str | Cell]] = []
    for which, own in compiled_apart(contenders):
        spreads = [
            spread(cost(run.training_seconds, comparison.price_per_hour) for run in contender.runs)
            for contender in own
        ]
        if any(spreads):
            label = f"cost of training, at {comparison.price_per_hour:g} an hour"
            shown = _shown(Measure(label, "", decimals=4), spreads, _best(own, spreads, "low"))
            rows.append([_labelled(label, which), *shown])
    return rows


def _losses(contenders: Sequence[Contender]) -> Iterator[list[str | Cell]]:
    fields = (("last training loss", "losses"), ("last validation loss", "validation_losses"))
    for label, field in fields:
        spreads = [
            spread(getattr(run, field)[-1][1] for run in contender.runs if getattr(run, field))
            for contender in contenders
        ]
        if any(spreads):
            yield [label, *_shown(Measure(label, field, decimals=4), spreads, None)]


def _scored(contender: Contender, evaluation: str, metric: str, *, share: bool) -> str:
    found = score_spread(contender, evaluation, metric)
    if found is None:
        return "–"
    if found.n > 1:
        form = ".1%" if share else ".3f"
        return f"{found.mean:{form}} ± {found.deviation:{form}} ({count(found.n, 'seed')})"
    one = next(
        score
        for run in contender.runs
        for score in run.scores
        if (score.evaluation, score.metric) == (evaluation, metric)
    )
    return _with_interval(one.value, one.low, one.high, share)


def _with_interval(value: float, low: float, high: float, share: bool) -> str:
    form = ".1%" if share else ".3f"
    return f"{value:{form}} ({low:{form}} to {high:{form}})"


def _one(run: RunFacts, measure: Measure) -> str:
    value = getattr(run, measure.field)
    return "–" if value is None else measure.show(value)
