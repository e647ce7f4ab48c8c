"""Run folders and comparisons made by hand: what a report reads, without any training."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kerasft.compare.result import (
    CHECKS,
    Answer,
    Check,
    Comparison,
    Contender,
    Differing,
    PairedTest,
    RunFacts,
    Score,
)
from kerasft.recipe import Recipe, resolve
from kerasft.report.document import Block, Document, Plots, Section
from kerasft.runs import RunFolder

MISCHIEF = "<script>alert('x')</script> & `| **bold** <img src=x onerror=y> $1$"
"""A text that must stay text wherever it comes from."""


def without_plots(document: Document) -> Document:
    """The same document, quick to render."""

    def bare(blocks: Sequence[Block]) -> list[Block]:
        return [
            dataclasses.replace(each, blocks=bare(each.blocks))
            if isinstance(each, Section)
            else each
            for each in blocks
            if not isinstance(each, Plots)
        ]

    return dataclasses.replace(document, blocks=bare(document.blocks))


def made_recipe(**settings: Any) -> Recipe:
    base = {
        "task": "text_to_sql",
        "model": {"preset": "gemma3-270m"},
        "data": {"source": "rows.jsonl"},
        "prompt": {"template": "gemma"},
    }
    return resolve(base, {name.replace("__", "."): value for name, value in settings.items()})


def made_run(
    folder: Path,
    steps: int = 60,
    question: str = "How many singers?",
    scored: bool = True,
    **record: Any,
) -> RunFolder:
    """A finished run of `steps` steps, with one evaluation of tuned and base."""
    run = RunFolder.create(folder, made_recipe(data__source=str(folder / "rows.jsonl")), "spider")
    run.append_metrics(
        {
            "step": step,
            "loss": 3.0 / math.sqrt(step),
            "accuracy": 0.5,
            "learning_rate": 1e-3 * (1 - step / steps),
            "gradient_norm": 1.0,
            "tokens": 100,
            "supervised_tokens": 40,
            "tokens_per_second": 1000.0 + step % 7,
            "peak_memory_bytes": 2**30,
            "seconds": 0.1,
        }
        for step in range(1, steps + 1)
    )
    run.end(
        record.pop("status", "finished"),
        **{
            "engine": "keras",
            "backend": "torch",
            "versions": {"python": "3.12.3", "kerasft": "0.1.0", "torch": "2.11.0"},
            "device": {"kind": "cuda", "name": "NVIDIA H100 80GB HBM3"},
            "dtype": "bfloat16",
            "seed": 0,
            "data": {
                "source": str(folder / "rows.jsonl"),
                "content_hash": "sha256:1234",
                "rows": 500,
                "validation_rows": 20,
                "tokens": 6000,
                "supervised_tokens": 2400,
                "dropped": {"longer than sequence_length = 512 tokens": 3},
                "lengths": {
                    "median": 12, "p95": 30, "p99": 38, "longest": 40,
                    "counts": [300, 150, 50], "edges": [0, 14, 28, 42],
                },
            },
            "base": {"preset": "gemma3-270m", "id": "gemma3-270m", "fingerprint": "68da"},
            "parameters": {"base": 268098176, "trained": 1898496},
            "planned_steps": steps,
            "steps": steps,
            "first_loss": 3.0,
            "last_loss": 0.4,
            "tokens": 100 * steps,
            "supervised_tokens": 40 * steps,
            "validation": {
                "before": 3.1, "last": 0.5, "best": 0.5, "best_step": steps,
                "all": [
                    {"step": 0, "loss": 3.1, "accuracy": 0.4},
                    {"step": steps, "loss": 0.5, "accuracy": 0.9},
                ],
            },
            "seconds": 6.0,
            "first_step_seconds": 1.5,
            "tokens_per_second": 1003.0,
            "peak_memory_bytes": 2**30,
            "samples": [
                {"prompt": question, "expected": "SELECT 1", "before": "?", "after": "SELECT 2"}
            ],
            **record,
        },
    )  # fmt: skip
    run.adapter.mkdir()
    (run.adapter / "adapter.json").write_text(json.dumps({"family": "gemma3"}))
    if scored:
        _score(run, question)
    return run


def _score(run: RunFolder, question: str) -> None:
    run.eval.mkdir()
    tuned = {
        "answer": "SELECT count(*) FROM singer",
        "predicted_sql": "SELECT count(*) FROM singer",
        "execution_match": True,
        "status": "match",
        "message": "",
    }
    wrong = {**tuned, "answer": MISCHIEF, "execution_match": False, "status": "wrong_rows"}
    lines = [
        {
            "question": f"{question} ({place})",
            "context": "CREATE TABLE singer (id INTEGER);",
            "sql": "SELECT count(*) FROM singer",
            "tuned": tuned if place % 2 else wrong,
            "base": wrong,
        }
        for place in range(8)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (run.eval / "validation.predictions.jsonl").write_text(text)
    results = {
        "schema_version": 1,
        "task": "text_to_sql",
        "data": {"source": "rows.jsonl", "which": "held-out rows"},
        "rows": 8,
        "command": f"kerasft eval {run.path} --base --data /home/someone/secret/rows.jsonl",
        "tuned": {"rows": 8, "execution_accuracy": _rate(4, 8), "status": {"match": 4}},
        "base": {"rows": 8, "execution_accuracy": _rate(0, 8), "status": {"wrong_rows": 8}},
        "comparison": {
            "execution_match": {
                "of": 8, "fixed": 4, "broken": 0, "p_value": 0.125,
                "difference": {"mean": 0.5, "low": 0.1, "high": 0.9},
                "rows": {"fixed": [1, 3, 5, 7], "broken": []},
            }
        },
    }  # fmt: skip
    (run.eval / "validation.json").write_text(json.dumps(results))


def _rate(count: int, of: int) -> Mapping[str, Any]:
    rate = count / of
    return {"count": count, "of": of, "rate": rate, "low": max(0, rate - 0.3), "high": rate + 0.3}


def made_comparison(seeds: int = 3, **changes: Any) -> Comparison:
    """Four contenders whose gate passed, three of which are ranked."""
    contenders = [
        made_contender("keras-torch", 0.025, 4.7, seeds),
        made_contender("keras-jax", 0.021, 5.1, seeds),
        made_contender("hf", 0.061, 19.4, seeds),
        made_contender(
            "trl", 0.09, 21.0, seeds, ranked=False, why_not=["trl: its device is another one"]
        ),
    ]
    comparison = Comparison(
        title="Gemma 3 270M on Spider: Keras and Hugging Face",
        created="2026-11-22T14:00:00+00:00",
        kerasft_version="0.1.0",
        commands=["kerasft compare --recipe /home/someone/spider.toml --engines keras-torch,hf"],
        recipe_toml='task = "text_to_sql"\n\n[data]\nsource = "/home/someone/rows.jsonl"\n',
        differences=["trl: device NVIDIA H200"],
        notes=["lora.layout = peft for all"],
        ranked=True,
        why_not=["trl: its device is another one"],
        kind="engines",
        reference="keras-torch",
        contenders=contenders,
        gate=[
            Check(
                name,
                what,
                value=None if what == "token ids" else 1.2e-6,
                bound=None if what == "token ids" else 1e-4,
                passed=True,
                seeds=[0],
                detail=f"{what} are the same",
            )
            for name in ("keras-jax", "hf", "trl")
            for what in CHECKS
        ],
        tests=[
            PairedTest("dev", "execution_match", "keras-torch", other, 30, 25, 3102, None, 3, p)
            for other, p in (("keras-jax", 0.62), ("hf", 0.59), ("trl", 0.0004))
        ],
        examples=[
            Differing(
                evaluation="dev",
                metric="execution_match",
                seed=0,
                question=MISCHIEF,
                context="CREATE TABLE t (a)",
                gold="SELECT a FROM t",
                answers={
                    "keras-torch": Answer("SELECT a FROM t", True, ""),
                    "hf": Answer(MISCHIEF, False, "wrong_rows: 1 row instead of 2"),
                },
            )
        ],
        differing_total=61,
        base_scores=[Score("dev", "execution_accuracy", "rate", 0, 1034, 0.0, 0.0, 0.004)],
        price_per_hour=2.5,
    )
    return dataclasses.replace(comparison, **changes)


def made_contender(
    name: str,
    step_seconds: float,
    gibibytes: float,
    seeds: int = 3,
    ranked: bool = True,
    why_not: list[str] | None = None,
) -> Contender:
    return Contender(
        name=name,
        engine=name.partition("-")[0],
        backend=name.partition("-")[2] or "torch",
        layout="peft",
        device="cuda NVIDIA H100 80GB HBM3",
        dtype="bfloat16",
        versions={"python": "3.12.3", "torch": "2.11.0"},
        trained_parameters=1898496,
        runs=[
            _facts(name, seed, step_seconds * (1 + seed / 100), gibibytes) for seed in range(seeds)
        ],
        ranked=ranked,
        why_not=why_not or [],
    )


def _facts(name: str, seed: int, step_seconds: float, gibibytes: float) -> RunFacts:
    shift = 0.01 * seed + 0.002 * len(name)
    return RunFacts(
        run=f"{name}-seed{seed}",
        seed=seed,
        status="finished",
        why="",
        first_step_seconds=800 * step_seconds,
        step_seconds=step_seconds,
        tokens_per_second=8192 / step_seconds,
        supervised_tokens_per_second=900 / step_seconds,
        training_seconds=250 * step_seconds,
        whole_seconds=250 * step_seconds + 20,
        peak_memory_bytes=int(gibibytes * 2**30),
        adapter_bytes=7_600_000,
        run_bytes=30_000_000,
        steps=250,
        tokens=2_048_000,
        supervised_tokens=225_000,
        losses=[(step, 2.8 / math.sqrt(step) + shift) for step in range(1, 251)],
        validation_losses=[(0, 2.9), (250, 0.4 + shift)],
        scores=[
            Score("dev", "execution_accuracy", "rate", 390, 1034, 0.377 + shift, 0.34, 0.42),
            Score("dev", "valid_sql", "rate", 660, 1034, 0.638 + shift, 0.6, 0.68),
            Score("dev", "perplexity", "perplexity", None, 1034, 7.9 + shift, 7.4, 8.4),
        ],
    )
