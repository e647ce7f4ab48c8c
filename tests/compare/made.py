"""Run folders made by hand, for what only reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerasft.compare.probing import Probe
from kerasft.recipe import Recipe, resolve
from kerasft.records import write_json
from kerasft.runs import RunFolder

DEVICE = {"kind": "cuda", "name": "NVIDIA H100 80GB HBM3"}


def recipe(**settings: Any) -> Recipe:
    """Of text to SQL, with overrides by `section__key`."""
    base = {
        "task": "text_to_sql",
        "model": {"preset": "gemma3-270m"},
        "lora": {"layout": "peft"},
        "data": {"source": "rows.jsonl"},
        "prompt": {"template": "gemma"},
    }
    return resolve(base, {name.replace("__", "."): value for name, value in settings.items()})


def made_run(
    path: Path,
    *,
    engine: str = "keras",
    backend: str = "torch",
    seed: int = 0,
    losses: Sequence[float | None] = (3.0, 2.0, 1.0),
    seconds: Sequence[float] = (9.0, 0.5, 0.25),
    record: Mapping[str, Any] | None = None,
    **settings: Any,
) -> RunFolder:
    """A run folder that says it is finished, with a line a step.

    Args:
        losses, seconds: by step.
        record: fields of run.json that differ.
        settings: of `recipe`.
    """
    run = RunFolder.create(path, recipe(train__seed=seed, **settings), "made")
    run.append_metrics(
        {
            "step": step,
            "loss": loss,
            "tokens": 1000,
            "supervised_tokens": 100,
            "seconds": took,
        }
        for step, (loss, took) in enumerate(zip(losses, seconds, strict=True), 1)
    )
    fields = {
        "engine": engine,
        "backend": backend,
        "versions": {"python": "3.12.3", "torch": "2.11.0"},
        "device": DEVICE,
        "dtype": "bfloat16",
        "seed": seed,
        "data": {"content_hash": "sha256:rows"},
        "base": {"fingerprint": "base"},
        "parameters": {"base": 268_098_176, "trained": 1_898_496},
        "steps": len(losses),
        "tokens": 1000 * len(losses),
        "supervised_tokens": 100 * len(losses),
        "first_step_seconds": 9.5,
        "peak_memory_bytes": 5_000_000_000,
        "seconds": sum(seconds),
    }
    run.update_run(**fields | dict(record or {}))
    if not record or "status" not in record:
        run.end("finished")
    return run


def add_evaluation(
    run: RunFolder,
    right: Sequence[bool | None],
    *,
    name: str = "rows",
    prompts: str = "these prompts",
    base: bool = False,
) -> None:
    """Scores and predictions of a run: one flag a question."""
    from kerasft.tasks.intervals import proportion

    judged = [flag for flag in right if flag is not None]
    summary = {
        "rows": len(right),
        "execution_accuracy": proportion(sum(judged), len(judged)),
        "perplexity": {"perplexity": 1.5, "low": 1.25, "high": 2.0, "of": len(right)},
        "by_difficulty": {"easy": {"execution_accuracy": proportion(1, 1)}},
    }
    sides = {"tuned": summary} | ({"base": summary} if base else {})
    write_json(
        run.eval / f"{name}.json",
        {
            "task": "text_to_sql",
            "prompts": prompts,
            "backend": "torch",
            "command": f"kerasft eval {run.path}",
            "decoding": {"max_new_tokens": 128},
            **sides,
        },
    )
    lines = [
        {
            "question": f"question {place}",
            "context": "CREATE TABLE t (a INTEGER)",
            "sql": "SELECT a FROM t",
            "tuned": {
                "answer": f"answer {place} of {run.path.name}",
                **dict.fromkeys(
                    (
                        "execution_match",
                        "execution_match_spider",
                        "execution_match_bird",
                        "exact_match",
                        "raw_exact_match",
                        "valid_sql",
                    ),
                    flag,
                ),
                "status": "match" if flag else "wrong_rows",
                "message": "" if flag else "1 row instead of 2",
            },
        }
        for place, flag in enumerate(right)
    ]
    (run.eval / f"{name}.predictions.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines)
    )


def made_probe(**changes: Any) -> Probe:
    """A probe of two tensors, with some of its fields changed."""
    a, b = np.full((4, 2), 0.5, np.float32), np.full((2, 3), 0.25, np.float32)
    fields: dict[str, Any] = {
        "key": "key",
        "engine": "keras",
        "backend": "torch",
        "dtype": "bfloat16",
        "base": "base",
        "windows": 3,
        "token_ids": "ids",
        "shapes": {"block/a": [4, 2], "block/b": [2, 3]},
        "starting": {"block/a": "values of a", "block/b": "zeros"},
        "loss": 3.0,
        "moved_loss": 3.5,
        "logits": np.linspace(-5, 5, 12, dtype=np.float32).reshape(3, 4),
        "gradients": {"block/b": b},
        "moved_gradients": {"block/a": a, "block/b": b},
    }
    return Probe(**fields | changes)
