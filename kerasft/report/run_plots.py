"""The plots of one run."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kerasft.plots import loss_curve
from kerasft.report.document import Plot
from kerasft.report.palette import series
from kerasft.report.plots import axes_of, dots, line, steps_axis, thinned
from kerasft.report.run_contents import Evaluation, RunContents
from kerasft.report.scores import LIKE_ANOTHER, interval, readable, shares

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def training_plots(run: RunContents) -> list[Plot]:
    """Loss, learning rate, throughput and lengths, as far as there is something to draw."""
    found = [loss_curve(run.lines, run.validations)]
    if all("learning_rate" in each for each in run.lines):
        found.append(_learning_rate(run.lines))
    rates = [each for each in run.lines[1:] if each.get("tokens_per_second")]
    if len(rates) > 1:
        found.append(_throughput(rates))
    lengths = (run.record.get("data") or {}).get("lengths")
    if lengths:
        found.append(_lengths(lengths, run))
    return found


def score_plot(evaluation: Evaluation) -> Plot | None:
    """Shares of rows of tuned and base with their intervals; None where there are none."""
    names = [name for name in shares(evaluation.result) if name not in LIKE_ANOTHER]
    sides = [side for side in ("tuned", "base") if side in evaluation.result]
    if not names:
        return None
    groups = [
        (side, [interval(evaluation.result[side].get(name)) for name in names]) for side in sides
    ]
    values = "; ".join(
        f"{side} {readable(names[0])} {each[0][0]:.1%}" for side, each in groups if each[0]
    )
    return Plot(
        name=f"scores-{evaluation.name}",
        title=f"{evaluation.name}: share of rows, with 95 % intervals",
        alt=f"Dots with error bars. {values}. The table beside it has all numbers.",
        draw=dots([readable(name) for name in names], groups, "share of rows (%)"),
    )


def _learning_rate(lines: Sequence[Mapping[str, Any]]) -> Plot:
    def draw(figure: "Figure") -> None:
        axes = axes_of(figure)
        few = thinned(lines)
        line(axes, [each["step"] for each in few], [each["learning_rate"] for each in few], 0,
             marker="o" if len(few) == 1 else "")  # fmt: skip
        steps_axis(axes)
        axes.set_ylabel("learning rate")
        axes.set_ylim(bottom=0)
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))

    highest = max(lines, key=lambda each: each["learning_rate"])
    alt = (
        f"The learning rate is highest, {highest['learning_rate']:.3g}, at step "
        f"{highest['step']:,}, and ends at {lines[-1]['learning_rate']:.3g}."
    )
    return Plot("learning-rate", "Learning rate by optimizer step", alt, draw)


def _throughput(lines: Sequence[Mapping[str, Any]]) -> Plot:
    from statistics import median

    rates = [each["tokens_per_second"] for each in lines]
    middle = median(rates)

    def draw(figure: "Figure") -> None:
        axes = axes_of(figure, left=0.2)
        few = thinned(lines)
        line(axes, [each["step"] for each in few], [each["tokens_per_second"] for each in few], 0,
             marker="", linewidth=1.1)  # fmt: skip
        axes.axhline(middle, color=series(1).colour.light, linestyle="--", linewidth=1.4,
                     label=f"median {middle:,.0f}")  # fmt: skip
        steps_axis(axes)
        axes.set_ylabel("tokens/s")
        axes.set_ylim(0, max(rates) * 1.2)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.legend(loc="lower right")

    alt = (
        f"Tokens a second by step, the first step left out: median {middle:,.0f}, "
        f"{min(rates):,.0f} to {max(rates):,.0f}."
    )
    return Plot("throughput", "Tokens a second, after the first step", alt, draw)


def _lengths(lengths: Mapping[str, Any], run: RunContents) -> Plot:
    edges, counts = lengths["edges"], lengths["counts"]
    limit = run.recipe.train.sequence_length if run.recipe else None

    def draw(figure: "Figure") -> None:
        axes = axes_of(figure)
        axes.stairs(counts, edges, fill=True, color=series(0).colour.light)
        if limit is not None:
            axes.axvline(limit, color=series(1).colour.light, linestyle="--",
                         label=f"sequence_length {limit:,}")  # fmt: skip
            axes.legend(loc="upper left")
        axes.set_xlabel("tokens a row")
        axes.set_ylabel("rows")

    alt = (
        f"Rows by length: half have {lengths['median']:,} tokens or fewer, the longest "
        f"{lengths['longest']:,}."
    )
    return Plot("lengths", "Rows by length, those trained on", alt, draw)
