"""The plots of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def loss_plot(
    lines: Sequence[Mapping[str, Any]],
    validations: Sequence[Mapping[str, float]],
    path: Path,
) -> None:
    """Training loss by step, its running mean, and the validation losses, as a PNG.

    Args:
        lines: of metrics.jsonl.
        validations: `step` and `loss` each.
        path: written whole; its folder is made.
    """
    from matplotlib.figure import Figure

    steps = [line["step"] for line in lines]
    losses = [line["loss"] for line in lines]
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(steps, losses, color="#9ab8d8", linewidth=0.8, label="training, each step")
    decay = max(0.9, 1 - 20 / len(losses))
    mean = running_mean(losses, decay)
    axes.plot(steps, mean, color="#1f5a99", linewidth=1.8, label="running mean")
    if validations:
        axes.plot(
            [entry["step"] for entry in validations],
            [entry["loss"] for entry in validations],
            color="#c8551b",
            marker="o",
            linestyle="--",
            label="validation",
        )
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss (nats a supervised token)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}")
    figure.savefig(aside, format="png")
    aside.replace(path)


def running_mean(values: Sequence[float], decay: float) -> list[float]:
    """Exponential mean, corrected for its start: the first value is the first mean."""
    means, total, weight = [], 0.0, 0.0
    for value in values:
        total = decay * total + (1 - decay) * value
        weight = decay * weight + (1 - decay)
        means.append(total / weight)
    return means
