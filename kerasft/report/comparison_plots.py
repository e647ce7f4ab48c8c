"""The plots of a comparison."""

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from kerasft.compare.result import Comparison, Contender, Score
from kerasft.plots import running_mean
from kerasft.report.document import Plot
from kerasft.report.palette import series
from kerasft.report.plots import Interval, axes_of, bars, dots, steps_axis, thinned
from kerasft.report.scores import LIKE_ANOTHER, readable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SCORE_PLOTS = 4

_BARS = (
    ("step_seconds", "step-time", "Time of a training step", "milliseconds, median", 1e3),
    ("first_step_seconds", "first-step", "Time to the end of the first step", "seconds", 1.0),
    ("training_seconds", "training-time", "Time of all steps", "seconds", 1.0),
    ("peak_memory_bytes", "peak-memory", "Peak memory", "GiB", 2**-30),
)


def loss_plots(contenders: Sequence[Contender]) -> list[Plot]:
    """Training losses on one plot, and validation losses on another, as far as there are some."""
    found = []
    for name, field, title in (
        ("losses", "losses", "Training loss, running mean"),
        ("validation-losses", "validation_losses", "Validation loss"),
    ):
        curves = [
            (index, contender.name, place, getattr(run, field))
            for index, contender in enumerate(contenders)
            for place, run in enumerate(contender.runs)
            if getattr(run, field)
        ]
        if curves:
            found.append(_curves(name, title, curves, smooth=field == "losses"))
    return found


def difference_plot(comparison: Comparison, contenders: Sequence[Contender]) -> Plot | None:
    """Training losses less the reference's of the same seed; None where no seed has both.

    On one plot with the losses themselves, runs that are the same but for rounding lie on top
    of each other.
    """
    reference = {
        run.seed: dict(run.losses)
        for contender in contenders
        if contender.name == comparison.reference
        for run in contender.runs
    }
    curves = []
    for index, contender in enumerate(contenders):
        if contender.name == comparison.reference:
            continue
        for place, run in enumerate(contender.runs):
            own = reference.get(run.seed, {})
            points = [(step, loss - own[step]) for step, loss in run.losses if step in own]
            if points:
                curves.append((index, contender.name, place, points))
    if not curves:
        return None
    title = f"Training loss less {comparison.reference}'s of the same seed, running mean"
    return _curves("loss-differences", title, curves, smooth=True, of_differences=True)


def speed_plots(contenders: Sequence[Contender]) -> list[Plot]:
    """Bars of step time, time to the first step, time of all steps, and memory."""
    found = []
    for field, name, title, unit, factor in _BARS:
        runs = [
            [factor * value for run in contender.runs if (value := getattr(run, field)) is not None]
            for contender in contenders
        ]
        if not any(runs):
            continue
        names = [shown_name(contender, contenders) for contender in contenders]
        several = any(len(values) > 1 for values in runs)
        said = "; ".join(
            f"{each} {_means(values)}" if values else f"{each} not measured"
            for each, values in zip(names, runs, strict=True)
        )
        dots = " The dots are the seeds, the bars their mean." if several else ""
        found.append(Plot(name, f"{title} ({unit})", f"{said}.{dots}", bars(names, runs, unit)))
    return found


def score_plots(comparison: Comparison, contenders: Sequence[Contender]) -> list[Plot]:
    """Shares of rows with their 95 % intervals, a row a contender and a dot a seed."""
    found = []
    names = [name for name in score_names(comparison, "rate") if name[1] not in LIKE_ANOTHER]
    for evaluation, metric in names[:MOST_SCORE_PLOTS]:
        base = [
            score
            for score in comparison.base_scores
            if (score.evaluation, score.metric) == (evaluation, metric)
        ]
        rows = [shown_name(contender, contenders) for contender in contenders]
        seeds = sorted({run.seed for contender in contenders for run in contender.runs})
        groups = [
            (
                f"seed {seed}",
                [_interval(contender, seed, evaluation, metric) for contender in contenders]
                + [None] * bool(base),
            )
            for seed in seeds
        ]
        if base:
            rows.append("untouched base")
            one = (base[0].value, base[0].low, base[0].high)
            groups.append(("base", [None] * len(contenders) + [one]))
        title = f"{readable(metric)} on {evaluation}, with 95 % intervals"
        said = "; ".join(
            f"{row} {each[place][0]:.1%}"
            for place, row in enumerate(rows)
            for _, each in groups
            if each[place] is not None
        )
        name = f"score-{len(found) + 1}"
        found.append(Plot(name, title, f"{said}.", dots(rows, groups, "share of rows (%)")))
    return found


def score_names(comparison: Comparison, kind: str) -> list[tuple[str, str]]:
    """Evaluations and measures of a kind, in the order in which the runs have them."""
    scores: list[Score] = [
        score
        for contender in comparison.contenders
        for run in contender.runs
        for score in run.scores
    ]
    return list(
        dict.fromkeys((score.evaluation, score.metric) for score in scores if score.kind == kind)
    )


def shown_name(contender: Contender, contenders: Sequence[Contender]) -> str:
    """A contender's name; where others are ranked and it is not, that is said."""
    if contender.ranked or not any(each.ranked for each in contenders):
        return contender.name
    return f"{contender.name} (not ranked)"


def _interval(contender: Contender, seed: int, evaluation: str, metric: str) -> Interval | None:
    for run in contender.runs:
        for score in run.scores:
            if (run.seed, score.evaluation, score.metric) == (seed, evaluation, metric):
                return score.value, score.low, score.high
    return None


def _means(values: Sequence[float]) -> str:
    mean = f"{fmean(values):.4g}"
    return mean if len(values) == 1 else f"{mean} ({', '.join(f'{each:.4g}' for each in values)})"


def _curves(
    name: str,
    title: str,
    curves: Sequence[tuple[int, str, int, Sequence[tuple[int, float]]]],
    *,
    smooth: bool,
    of_differences: bool = False,
) -> Plot:
    def draw(figure: "Figure") -> None:
        axes = axes_of(figure, left=0.2)
        for index, contender, place, points in curves:
            style = series(index)
            steps = [step for step, _ in points]
            losses = [loss for _, loss in points]
            if smooth:
                losses = running_mean(losses, max(0.8, 1 - 40 / len(losses)))
            few = thinned(list(zip(steps, losses, strict=True)), 200)
            # Markers of different curves at different steps: equal losses hide no curve.
            every = max(1, len(few) // 6)
            axes.plot(
                [step for step, _ in few],
                [loss for _, loss in few],
                color=style.colour.light,
                linestyle=style.line,
                linewidth=1.5,
                marker=style.marker,
                markersize=5,
                markevery=((2 * index + place) % every, every),
                label=contender if place == 0 else None,
            )
        steps_axis(axes)
        axes.set_ylabel("nats a token")
        if of_differences:
            highest = max(abs(limit) for limit in axes.get_ylim())
            axes.set_ylim(-highest, highest)
        else:
            axes.set_ylim(bottom=0)
        axes.legend()

    said = "; ".join(
        f"{contender} {points[0][1]:.3g} to {points[-1][1]:.3g}"
        for _, contender, place, points in curves
        if place == 0
    )
    several = " A curve a seed." if any(place for _, _, place, _ in curves) else ""
    return Plot(name, title, f"First to last step: {said}.{several}", draw)
