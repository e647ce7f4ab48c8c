"""The loss curve of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasft.report.document import Plot
from kerasft.report.palette import MUTED, series
from kerasft.report.plots import axes_of, steps_axis, thinned
from kerasft.report.svg import write_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def loss_plot(
    lines: Sequence[Mapping[str, Any]],
    validations: Sequence[Mapping[str, float]],
    path: Path,
) -> None:
    """Write the loss curve as a PNG.

    Args:
        lines, validations: as for `loss_curve`.
        path: written whole; its folder is made.
    """
    write_png(loss_curve(lines, validations), path)


def loss_curve(
    lines: Sequence[Mapping[str, Any]], validations: Sequence[Mapping[str, float]]
) -> Plot:
    """Training loss by step, its running mean, and the validation losses.

    Args:
        lines: of metrics.jsonl, one at least, each with a loss.
        validations: `step` and `loss` each.
    """
    steps = [line["step"] for line in lines]
    losses = [line["loss"] for line in lines]
    mean = running_mean(losses, max(0.6, 1 - 20 / len(losses)))
    alt = (
        f"The training loss goes from {losses[0]:.3f} at step {steps[0]:,} to {losses[-1]:.3f} at "
        f"step {steps[-1]:,}; its running mean ends at {mean[-1]:.3f}."
    )
    if validations:
        before, after = validations[0], validations[-1]
        alt += (
            f" The validation loss goes from {before['loss']:.3f} at step {before['step']:,} to "
            f"{after['loss']:.3f} at step {after['step']:,}."
        )

    def draw(figure: "Figure") -> None:
        axes = axes_of(figure)
        one = "o" if len(steps) == 1 else ""
        few = thinned(list(zip(steps, losses, mean, strict=True)))
        xs, each, smooth = zip(*few, strict=True)
        axes.plot(xs, each, color=MUTED.light, alpha=0.55, linewidth=0.8, marker=one,
                  label="training, each step")  # fmt: skip
        axes.plot(xs, smooth, color=series(0).colour.light, marker=one, label="running mean")
        if validations:
            style = series(1)
            axes.plot(
                [entry["step"] for entry in validations],
                [entry["loss"] for entry in validations],
                color=style.colour.light,
                marker=style.marker,
                linestyle=style.line,
                label="validation",
            )
        steps_axis(axes)
        axes.set_ylabel("loss (nats a token)")
        axes.set_ylim(bottom=0)
        axes.legend()

    return Plot("loss", "Loss by optimizer step", alt, draw)


def running_mean(values: Sequence[float], decay: float) -> list[float]:
    """Exponential mean, corrected for its start: the first value is the first mean."""
    means, total, weight = [], 0.0, 0.0
    for value in values:
        total = decay * total + (1 - decay) * value
        weight = decay * weight + (1 - decay)
        means.append(total / weight)
    return means
