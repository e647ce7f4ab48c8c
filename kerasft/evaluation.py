"""`evaluate`: answers to rows with known answers, judged by the task."""

import json
import sqlite3
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasft import backend as backends
from kerasft.console import Reporter, SilentReporter
from kerasft.errors import KerasftError
from kerasft.evaluating.answers import adapter_hash, asked
from kerasft.evaluating.asked import Asked, check
from kerasft.evaluating.changes import changed_examples, comparison, measured_fields
from kerasft.evaluating.journal import Journal
from kerasft.evaluating.losses import encode_completions
from kerasft.evaluating.paired import compare_losses
from kerasft.evaluating.rows import Rows, rows_of_another_task, rows_to_score
from kerasft.recipe import Overrides, Recipe, load, override
from kerasft.records import plain, write_json, write_text
from kerasft.runs import RunFolder, is_run
from kerasft.tasks import TASKS
from kerasft.versions import versions

if TYPE_CHECKING:
    from kerasft.engine.loaded import LoadedModel
    from kerasft.engine.perplexity import CompletionLosses
    from kerasft.evaluating.contender import Contest, Scored
    from kerasft.judging import Judge

JUDGED_WITH = ("duckdb", "sqlglot", "scipy", "openai")
"""Packages whose versions can change a score, beside those that can change an answer."""


def evaluate(
    run_or_model: str | Path,
    *,
    recipe: str | Recipe | None = None,
    data: str | Path | None = None,
    db: str | Path | None = None,
    split: str | None = None,
    limit: int | None = None,
    base: bool = False,
    perplexity: bool = True,
    forgetting: str | Path | None = None,
    retry: int = 0,
    judge: str | None = None,
    judge_model: str | None = None,
    judge_prices: tuple[float, float] | None = None,
    out: str | Path | None = None,
    backend: str | None = None,
    settings: Overrides = (),
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Score a run, or a bare model with a recipe's prompt.

    Answers are kept as they come, in NAME.partial.jsonl: the same call after a Ctrl-C or a
    crash takes them up and works out the rest. docs/eval.md says what the results hold.

    Args:
        run_or_model: a run folder, or any preset of a recipe.
        recipe: needed for a bare model; a run has its own.
        data: rows to score instead of the recipe's held-out ones.
        db: an SQLite or DuckDB file that all of `data` is about, which then needs `question`
            and `sql` alone.
        split: of `data`, or of the recipe's source.
        limit: rows at the most, 0 for all; the recipe's `eval.limit` where not given.
        base: score the untouched base beside it, on the same rows, and compare the two.
        perplexity: of the rows' own completions, too.
        forgetting: a recipe whose held-out rows, or a file of rows of the other task, whose
            completions are weighed under the base and the tuned model.
        retry: width of a beam whose candidates are tried where an answer is no valid SQL; 0
            for none.
        judge, judge_model: base URL of an OpenAI-compatible endpoint, and the model there that
            grades the answers.
        judge_prices: what a million tokens of prompt and of completion cost.
        out: folder of the results; the run's `eval/` where not given.
        backend: the run's, else torch.
        settings: overrides of the recipe.
        reporter: told what happens.

    Returns:
        What is also written as NAME.json beside NAME.predictions.jsonl: the data, the scores
        as `tuned` (or `base` for a bare model) and, where asked for, those of the `base`, the
        `comparison` of both, the examples that `changed`, `with_retry` and `forgetting`; and
        `files` and `predictions`.

    Raises:
        KerasftError: explains itself; before weights are loaded where that can be.
        KeyboardInterrupt: it was stopped; what was answered is kept.
    """
    reporter = reporter or SilentReporter()
    wanted = Asked(
        run_or_model=str(run_or_model),
        recipe=recipe,
        data=_text(data),
        db=_text(db),
        split=split,
        limit=limit,
        base=base,
        perplexity=perplexity,
        forgetting=_text(forgetting),
        retry=retry,
        judge=judge,
        judge_model=judge_model,
        judge_prices=judge_prices,
        out=_text(out),
        backend=backend,
        settings=settings if isinstance(settings, Mapping) else tuple(settings),
    )
    run = RunFolder.open(Path(run_or_model)) if is_run(Path(run_or_model)) else None
    resolved = _recipe(run, wanted)
    tuned_for = run.recipe().task if run else None
    folder = check(wanted, resolved.task, tuned_for, run.eval if run else None)
    backend = backend or (run and run.record().get("backend")) or backends.DEFAULT
    backends.select(backend)
    grader = _judge(wanted)
    most = resolved.eval.limit if limit is None else limit
    rows = rows_to_score(
        resolved, data=wanted.data, database=Path(db) if db else None, split=split, limit=most
    )
    others = rows_of_another_task(wanted.forgetting, resolved.task, most) if forgetting else None
    return _evaluate(wanted, run, resolved, folder, rows, others, grader, backend, reporter)


def _evaluate(
    wanted: Asked,
    run: RunFolder | None,
    recipe: Recipe,
    folder: Path,
    rows: Rows,
    others: Rows | None,
    judge: "Judge | None",
    backend: str,
    reporter: Reporter,
) -> dict[str, Any]:
    from kerasft.engine.device import chunk_bytes, current
    from kerasft.engine.perplexity import CompletionLosses
    from kerasft.evaluating.contender import Contest
    from kerasft.generation import prompt_ids

    began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    model = _model(run, wanted, recipe, rows, reporter)
    prompts = [prompt_ids(model, row) for row in rows.rows]
    device = current()
    run_by = {
        "backend": backend,
        "device": f"{device.kind} {device.name}",
        "versions": versions(),
    }
    depends_on = asked(model, prompts, recipe.eval, run_by)
    path = folder / f"{rows.name}.partial.jsonl"
    with Journal(path, depends_on) as journal:
        if journal.changed:
            reporter.note(f"starting anew: {', '.join(journal.changed)} changed since {path.name}")
        contest = Contest(model, rows, prompts, recipe.eval, journal, reporter)
        try:
            scored = {name: contest.score(name) for name in _contenders(model, wanted.base)}
            for each in scored.values():
                if wanted.retry:
                    contest.retry(each, wanted.retry)
                if judge is not None:
                    contest.grade(each, judge, _prices(wanted))
            losses = CompletionLosses(
                model.causal_lm.backbone, model.family, model.lora, chunk_bytes=chunk_bytes()
            )
            if wanted.perplexity:
                encoded = encode_completions(rows.rows, model.template, model.tokenizer)
                for each in scored.values():
                    each.losses = contest.weigh(each.name, losses, encoded, "these rows")
                    each.summary["perplexity"] = each.losses.summary()
            forgotten = _forgetting(contest, model, losses, others) if others else None
        except KeyboardInterrupt:
            reporter.note(f"stopped; {path} keeps what was answered. Go on with:")
            reporter.note(wanted.command())
            raise
        predictions = [
            {**row, **{name: each.line(index) for name, each in scored.items()}}
            for index, row in enumerate(rows.rows)
        ]
        results = {
            "task": recipe.task,
            "data": rows.described,
            "rows": len(rows.rows),
            "command": wanted.command(),
            "started": started,
            "seconds": time.monotonic() - began,
            "decoding": {
                "strategy": "greedy",
                "max_new_tokens": recipe.eval.max_new_tokens,
                "batch_size": recipe.eval.batch_size,
                "stop_ids": sorted(model.stop_ids),
                **{name: each.answers.rate() for name, each in scored.items()},
            },
            "model": {
                "preset": model.preset,
                "fingerprint": model.fingerprint,
                "dtype": model.base_dtype,
                "adapter_step": model.adapter.step if model.adapter else None,
                "adapter": adapter_hash(model),
            },
            "prompts": depends_on["prompts"],
            "judge": judge.described() if judge is not None else None,
            "backend": run_by["backend"],
            "device": {"kind": device.kind, "name": device.name},
            "versions": versions(JUDGED_WITH) | {"sqlite": sqlite3.sqlite_version},
            **{name: each.summary for name, each in scored.items()},
            **_beside(rows, scored, predictions),
            **_retried(scored, wanted.retry),
            **({"forgetting": forgotten} if forgotten else {}),
        }
        files = _write(folder, rows.name, results, predictions)
        journal.remove()
    return {**results, "files": files, "predictions": predictions}


def _text(value: str | Path | None) -> str | None:
    return None if value is None else str(value)


def _recipe(run: RunFolder | None, wanted: Asked) -> Recipe:
    if wanted.recipe is None:
        if run is None:
            raise KerasftError(
                f"{wanted.run_or_model} is no run, and a bare model has no prompt of its own: "
                "give a run folder, or --recipe, whose prompt, rows and task it is scored with"
            )
        return override(run.recipe(), wanted.settings)
    if isinstance(wanted.recipe, str):
        return load(wanted.recipe, wanted.settings)
    return override(wanted.recipe, wanted.settings)


def _judge(wanted: Asked) -> "Judge | None":
    if wanted.judge is None or wanted.judge_model is None:
        return None
    from kerasft.judging import Judge

    return Judge(wanted.judge, wanted.judge_model)


def _prices(wanted: Asked) -> Any:
    from kerasft.judging import Prices

    return Prices(*wanted.judge_prices) if wanted.judge_prices is not None else None


def _model(
    run: RunFolder | None, wanted: Asked, recipe: Recipe, rows: Rows, reporter: Reporter
) -> "LoadedModel":
    from kerasft.engine.loaded import load_bare, load_run

    with reporter.working(f"Loading {wanted.run_or_model}"):
        if run is not None:
            return load_run(run.path)
        return load_bare(wanted.run_or_model, rows.template, rows.task, dtype=recipe.model.dtype)


def _contenders(model: "LoadedModel", base: bool) -> list[str]:
    if model.lora is None:
        return ["base"]
    return ["tuned", "base"] if base else ["tuned"]


def _forgetting(
    contest: "Contest", model: "LoadedModel", losses: "CompletionLosses", rows: Rows
) -> dict[str, Any]:
    """Perplexity of another task's completions, before and after tuning."""
    encoded = encode_completions(rows.rows, rows.template, model.tokenizer)
    base, tuned = (contest.weigh(name, losses, encoded, rows.name) for name in ("base", "tuned"))
    return {
        "data": rows.described,
        "task": rows.task,
        "rows": len(rows.rows),
        "base": base.summary(),
        "tuned": tuned.summary(),
        "comparison": compare_losses(base.nats, tuned.nats, base.tokens),
    }


def _beside(
    rows: Rows, scored: Mapping[str, "Scored"], predictions: list[dict[str, Any]]
) -> dict[str, Any]:
    """Base and tuned compared, where there are both."""
    if len(scored) < 2 or not predictions:
        return {}
    task, base, tuned = TASKS[rows.task], scored["base"], scored["tuned"]
    paired = [*task.PAIRED, *(["judge"] if base.grades else [])]
    measured = measured_fields(base.judgements[0], base.summary)
    compared = comparison(predictions, paired, measured)
    if base.losses is not None and tuned.losses is not None:
        compared["perplexity"] = compare_losses(
            base.losses.nats, tuned.losses.nats, base.losses.tokens
        )
    found: dict[str, Any] = {"comparison": compared}
    if paired:
        columns = (task.PROMPT_COLUMNS[0], task.COMPLETION_COLUMN)
        found["changed"] = {
            "measure": paired[0],
            "examples": changed_examples(predictions, paired[0], *columns),
        }
    return found


def _retried(scored: Mapping[str, "Scored"], width: int) -> dict[str, Any]:
    retried = {
        name: each.retried.summary(width)
        for name, each in scored.items()
        if each.retried is not None
    }
    return {"with_retry": retried} if retried else {}


def _write(
    folder: Path, name: str, results: Mapping[str, Any], predictions: list[dict[str, Any]]
) -> list[str]:
    lines = "".join(json.dumps(plain(line), ensure_ascii=False) + "\n" for line in predictions)
    # A judge's JSON can hold half a surrogate pair, which no file can.
    lines = lines.encode("utf-8", "replace").decode()
    write_text(folder / f"{name}.predictions.jsonl", lines)
    write_json(folder / f"{name}.json", results)
    return [str(folder / f"{name}.json")]
