"""What run.json says of the steps of a run, from those who counted them."""

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kerasft.engine.learner import TrainedTuner
    from kerasft.engine.metrics_log import MetricsLog
    from kerasft.engine.progress import Progress
    from kerasft.engine.saving import Checkpoints, CheckpointWriter


def run_numbers(
    lines: Sequence[Mapping[str, Any]],
    progress: "Progress",
    validations: Sequence[Mapping[str, float]],
    finetuner: "TrainedTuner",
    log: "MetricsLog",
    checkpoints: "Checkpoints",
    writer: "CheckpointWriter",
) -> dict[str, Any]:
    """The fields of `kerasft.runs.RECORD` that are measured.

    Args:
        lines: of metrics.jsonl.
        progress, validations: of the whole run.
        finetuner, log, checkpoints, writer: of this process.
    """
    from kerasft.engine.device import peak_memory_bytes

    return {
        "steps": progress.step,
        "tokens": progress.tokens,
        "supervised_tokens": progress.supervised_tokens,
        "first_loss": lines[0]["loss"] if lines else None,
        "last_loss": lines[-1]["loss"] if lines else None,
        "validation": _validation(validations, progress),
        "compilations": {
            "count": len(finetuner.compilations),
            "seconds": sum(seconds for _, seconds in finetuner.compilations),
        },
        "first_step_seconds": log.first_step_seconds,
        "tokens_per_second": statistics.median(log.rates[1:] or log.rates or [0.0]),
        "input_wait_share": progress.input_seconds / max(progress.seconds, 1e-9),
        "peak_memory_bytes": peak_memory_bytes(),
        "seconds": progress.seconds,
        "saving": {
            "count": writer.saved,
            "waited_seconds": checkpoints.seconds,
            "longest_seconds": writer.seconds,
            "bytes": writer.bytes,
        },
    }


def _validation(
    results: Sequence[Mapping[str, float]], progress: "Progress"
) -> dict[str, Any] | None:
    if not results:
        return None
    return {
        "before": results[0]["loss"],
        "last": results[-1]["loss"],
        "best": progress.best_loss,
        "best_step": progress.best_step,
        "all": results,
    }
