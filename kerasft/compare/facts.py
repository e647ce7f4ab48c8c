"""The numbers of one run, from its folder."""

import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from kerasft.caches import folder_bytes
from kerasft.compare.result import RunFacts, Score
from kerasft.report.plots import thinned
from kerasft.runs import RunFolder

MOST_POINTS = 2000
"""Points of a loss curve that are kept; of a longer one every second, third … point."""


def facts_of(run: RunFolder, scores: Sequence[Score] = ()) -> RunFacts:
    """What run.json, metrics.jsonl and the files of a run say.

    Step time and rates are medians over the steps after the first, which compiles and fills
    caches; a run of one step has that one's.

    Raises:
        RunError: a file of the run is damaged.
    """
    record, lines = run.record(), run.metrics()
    later = lines[1:] or lines
    return RunFacts(
        run=run.path.name,
        seed=int(record.get("seed", run.recipe().train.seed)),
        status=str(record.get("status", "failed")),
        why=str(record.get("why", "")),
        first_step_seconds=record.get("first_step_seconds"),
        step_seconds=_median(line["seconds"] for line in later),
        tokens_per_second=_median(_rate(line, "tokens") for line in later),
        supervised_tokens_per_second=_median(_rate(line, "supervised_tokens") for line in later),
        training_seconds=record.get("seconds"),
        peak_memory_bytes=record.get("peak_memory_bytes") or None,
        adapter_bytes=folder_bytes(run.adapter) if run.adapter.is_dir() else None,
        run_bytes=folder_bytes(run.path),
        steps=record.get("steps"),
        tokens=record.get("tokens"),
        supervised_tokens=record.get("supervised_tokens"),
        whole_seconds=_whole_seconds(record),
        losses=tuple(
            thinned(
                [(line["step"], line["loss"]) for line in lines if line["loss"] is not None],
                MOST_POINTS,
            )
        ),
        validation_losses=_validation_losses(record),
        scores=tuple(scores),
    )


def not_run(name: str, seed: int, why: str) -> RunFacts:
    """Of a run that left nothing to read."""
    nothing: dict[str, Any] = dict.fromkeys(
        (
            "first_step_seconds",
            "step_seconds",
            "tokens_per_second",
            "supervised_tokens_per_second",
            "training_seconds",
            "peak_memory_bytes",
            "adapter_bytes",
            "run_bytes",
            "steps",
            "tokens",
            "supervised_tokens",
        )
    )
    return RunFacts(run=name, seed=seed, status="not run", why=why, **nothing)


def _whole_seconds(record: Mapping[str, Any]) -> float | None:
    if record.get("status") != "finished" or record.get("attempts") != 1:
        return None
    began, ended = (datetime.fromisoformat(record[name]) for name in ("started", "finished"))
    return (ended - began).total_seconds()


def _validation_losses(record: Mapping[str, Any]) -> tuple[tuple[int, float], ...]:
    found = (record.get("validation") or {}).get("all") or []
    return tuple(
        (int(each["step"]), float(each["loss"])) for each in found if each["loss"] is not None
    )


def _rate(line: Mapping[str, Any], what: str) -> float:
    return line[what] / max(line["seconds"], 1e-9)


def _median(values: Any) -> float | None:
    found = list(values)
    return statistics.median(found) if found else None
