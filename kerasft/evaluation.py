"""`evaluate`: answers to rows with known answers, judged by the task."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kerasft import backend as backends
from kerasft.console import Reporter, SilentReporter
from kerasft.data.prompts import template_for
from kerasft.data.sources import load_rows, split_rows
from kerasft.errors import KerasftError
from kerasft.recipe import DataSettings, EvalSettings, Overrides, Recipe, load, override
from kerasft.records import write_json, write_text
from kerasft.runs import RunFolder, is_run
from kerasft.tasks import TASKS, task_row
from kerasft.versions import versions


def evaluate(
    run_or_model: str | Path,
    *,
    recipe: str | Recipe | None = None,
    data: str | Path | None = None,
    split: str | None = None,
    limit: int | None = None,
    base: bool = False,
    out: str | Path | None = None,
    backend: str | None = None,
    settings: Overrides = (),
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Score a run, or a bare model with a recipe's prompt.

    Args:
        run_or_model: a run folder, or any preset of a recipe.
        recipe: needed for a bare model; a run has its own.
        data: rows to score instead of the recipe's held-out ones.
        split: of `data`, or of the recipe's source.
        limit: rows at the most, 0 for all; the recipe's `eval.limit` where not given.
        base: score the untouched base beside it, on the same rows.
        out: folder of the results; the run's `eval/` where not given.
        backend: the run's, else torch.
        settings: overrides of the recipe.
        reporter: told what happens.

    Returns:
        What is also written as NAME.json beside NAME.predictions.jsonl: the data, the
        scores as `tuned` (or `base` for a bare model) and, where asked for, `base`.

    Raises:
        KerasftError: explains itself.
    """
    reporter = reporter or SilentReporter()
    run = RunFolder.open(Path(run_or_model)) if is_run(Path(run_or_model)) else None
    resolved = _recipe(run, recipe, settings)
    folder = Path(out) if out else (run.eval if run else None)
    if folder is None:
        raise KerasftError(f"{run_or_model} is no run; say with --out where the results go")
    recorded = run.record().get("backend") if run else None
    backends.select(backend or recorded or backends.DEFAULT)
    name, source, rows = _rows(resolved, data, split)
    rows = rows[: (resolved.eval.limit if limit is None else limit) or None]
    rows = [task_row(resolved.task, row) for row in rows]

    from kerasft.engine.device import current
    from kerasft.engine.loaded import load_bare, load_run

    with reporter.working(f"Loading {run_or_model}"):
        if run:
            model = load_run(run.path)
        else:
            template = template_for(resolved.prompt, resolved.task)
            model = load_bare(
                str(run_or_model), template, resolved.task, dtype=resolved.model.dtype
            )
    task = TASKS[resolved.task]
    contenders = {}
    predictions: list[dict[str, Any]] = [dict(row) for row in rows]
    for contender in _contenders(model.lora is not None, base):
        with reporter.working(f"Answering and judging {len(rows)} rows, {contender}"):
            answers = _answers(model, rows, resolved.eval, contender)
            judgements = task.score(rows, answers)
        contenders[contender] = task.summarise(judgements)
        for prediction, answer, judgement in zip(predictions, answers, judgements, strict=True):
            prediction[contender] = {"answer": answer, **asdict(judgement)}
    device = current()
    results = {
        "task": resolved.task,
        "data": source,
        "rows": len(rows),
        "max_new_tokens": resolved.eval.max_new_tokens,
        "model": {
            "preset": model.preset,
            "fingerprint": model.fingerprint,
            "dtype": model.base_dtype,
            "adapter_step": model.adapter.step if model.adapter else None,
        },
        "device": {"kind": device.kind, "name": device.name},
        "versions": versions(),
        **contenders,
    }
    write_json(folder / f"{name}.json", results)
    lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in predictions)
    write_text(folder / f"{name}.predictions.jsonl", lines)
    return {**results, "files": [str(folder / f"{name}.json")], "predictions": predictions}


def _recipe(run: RunFolder | None, recipe: str | Recipe | None, settings: Overrides) -> Recipe:
    if recipe is None:
        if run is None:
            raise KerasftError(
                "a bare model has no prompt of its own: give --recipe, whose prompt, rows and "
                "task it is scored with"
            )
        return override(run.recipe(), settings)
    return load(recipe, settings) if isinstance(recipe, str) else override(recipe, settings)


def _rows(
    recipe: Recipe, data: str | Path | None, split: str | None
) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
    """Name, description and rows of what is scored."""
    if data is not None:
        given = DataSettings(source=str(data), split=split or "train", columns=recipe.data.columns)
        dataset = load_rows(given, recipe.task)
        return Path(str(data)).stem, _described(dataset, "all rows"), list(dataset.rows)
    changed = recipe.data.model_copy(update={"split": split} if split else {})
    dataset = load_rows(changed, recipe.task)
    if split and split != recipe.data.split:
        return split, _described(dataset, f"split {split}"), list(dataset.rows)
    _, held = split_rows(dataset, changed)
    if not held:
        raise KerasftError(
            "the recipe holds no rows back (data.validation is 0), and rows that were trained "
            "on say nothing: give --data or --split"
        )
    return "validation", _described(dataset, "rows held back from training"), held


def _described(dataset: Any, which: str) -> dict[str, Any]:
    return {
        "source": Path(dataset.source).name if Path(dataset.source).exists() else dataset.source,
        "content_hash": dataset.content_hash,
        "which": which,
    }


def _contenders(tuned: bool, base: bool) -> list[str]:
    if not tuned:
        return ["base"]
    return ["tuned", "base"] if base else ["tuned"]


def _answers(
    model: Any, rows: Sequence[Mapping[str, Any]], settings: EvalSettings, contender: str
) -> list[str]:
    from contextlib import nullcontext

    from kerasft.generation import answer_rows

    alone = contender == "base" and model.lora is not None
    with model.lora.disabled() if alone else nullcontext():
        return answer_rows(
            model, rows, max_new_tokens=settings.max_new_tokens, batch_size=settings.batch_size
        )
