"""`kerasft train`: fine-tune, or go on with a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kerasft.backend import DEFAULT
from kerasft.cli.options import backend_option, json_option, recipe_option, set_option
from kerasft.cli.output import console, number, print_json, size, table
from kerasft.engines import DEFAULT as DEFAULT_ENGINE
from kerasft.engines import ENGINES
from kerasft.recipe import as_settings
from kerasft.stopping import TIME_BUDGET

if TYPE_CHECKING:
    from kerasft.training import TrainResult

INTERRUPTED = 130
"""As main's: a run that was asked to stop is whole, but what follows it must not start."""


@click.command()
@recipe_option(required=False, help="A shipped recipe, or a file ending in .toml.")
@backend_option
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    help="What trains: kerasft's own step (keras, the default), or on torch its twin in the "
    "Hugging Face stack: a plain loop with PEFT (hf), or TRL's SFTTrainer (trl).",
)
@click.option("--out", type=click.Path(path_type=Path), help="Run folder (runs/RECIPE-DATE-TIME).")
@set_option
@click.option(
    "--time-budget",
    metavar="TIME",
    help="Save and stop before this time is used up, such as 8h30m; as train.time_budget.",
)
@click.option(
    "--auto-batch",
    is_flag=True,
    help="Where memory runs out before the first checkpoint, halve train.batch_size, double "
    "train.gradient_accumulation and start again.",
)
@click.option("--resume", "run", metavar="RUN", help="Go on with this run from its checkpoint.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, without loading weights.")
@json_option
def train(
    recipe: str | None,
    backend: str | None,
    engine: str | None,
    out: Path | None,
    overrides: tuple[str, ...],
    time_budget: str | None,
    auto_batch: bool,
    run: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Fine-tune a model as a recipe says, or go on with a stopped run.

    \b
    kerasft train --recipe sql --backend torch
    kerasft train --recipe sql --set train.max_steps=20 --dry-run
    kerasft train --recipe sql --time-budget 8h30m
    kerasft train --recipe sql --engine hf --set lora.layout=peft
    kerasft train --resume runs/sql-20260131-120000
    kerasft train --resume runs/sql-20260131-120000 --set train.epochs=5

    Ctrl-C saves a checkpoint and stops; a second one stops at once. A run that stops because
    its time budget is used up exits 0 and prints the command that goes on with it. What may
    be set with --resume: how long the run is, how often it saves and validates, where the
    same base and the same rows lie now.
    """
    if (recipe is None) == (run is None):
        raise click.UsageError("Give either --recipe, or --resume with a run.")
    if run is not None and (out or dry_run or auto_batch or engine):
        raise click.UsageError(
            "--resume takes folder, batch and engine from the run, and has no --dry-run."
        )
    if dry_run and engine not in (None, DEFAULT_ENGINE):
        raise click.UsageError("--dry-run sizes the engine keras; leave --engine out.")
    settings = as_settings(overrides)
    if time_budget is not None:
        settings["train.time_budget"] = time_budget
    from kerasft import training
    from kerasft.console import RichReporter

    if dry_run:
        from kerasft.planning import dry_run as planned

        plan = planned(recipe, backend=backend or DEFAULT, **settings)
        _print_plan(plan, as_json)
        return
    reporter = RichReporter(console(stderr=True))
    if run is not None:
        result = training.resume(run, backend=backend, reporter=reporter, settings=settings)
    else:
        result = training.train(
            recipe,
            backend=backend or DEFAULT,
            engine=engine or DEFAULT_ENGINE,
            out=out,
            reporter=reporter,
            auto_batch=auto_batch,
            **settings,
        )
    from kerasft.report.writing import refreshed

    page = refreshed(result.run, reporter)
    if as_json:
        print_json({"run": str(result.run.path), "report": page, **result.record})
    else:
        _print_result(result, page)
    if result.status == "stopped" and result.stopped_by != TIME_BUDGET:
        click.get_current_context().exit(INTERRUPTED)


def _print_result(result: "TrainResult", page: Path | None) -> None:
    record, run = result.record, result.run.path
    rows = [["status", f"{result.status}: {result.why}" if result.why else result.status]]
    if record.get("steps") is not None:
        rows += _number_rows(record)
    out = console()
    out.print(table(str(run), ["", ""], rows))
    for sample in record.get("samples") or []:
        shown = [
            [key, str(sample[key])] for key in ("expected", "before", "after") if key in sample
        ]
        out.print(table("\n" + sample["prompt"], ["", ""], shown))
    out.print()
    if page is not None:
        click.echo(page)
    if result.status == "finished":
        click.echo(f"kerasft eval {run} --base")
        click.echo(f"kerasft export {run} --to hf --out MODEL")
    elif record.get("engine") != "trl":  # whose runs have no checkpoints
        click.echo(f"kerasft train --resume {run}")


def _number_rows(record: Mapping[str, Any]) -> list[list[str]]:
    """What was measured; a run that was stopped before its first step has nothing of it."""
    rows = [
        ["steps", f"{number(record['steps'])} of {number(record['planned_steps'])}"],
        ["loss", f"{number(record['first_loss'])} → {number(record['last_loss'])}"],
        ["tokens/s", number(round(record["tokens_per_second"]))],
        ["peak memory", f"{record['peak_memory_bytes'] / 2**30:.2f} GiB"],
        ["training time", f"{record['seconds']:.1f} s"],
        *_step_rows(record),
        *_incident_rows(record),
    ]
    validation = record.get("validation")
    if validation:
        text = f"{number(validation['before'])} → {number(validation['best'])}"
        rows.insert(2, ["validation loss", text])
    return rows


def _incident_rows(record: Mapping[str, Any]) -> list[list[str]]:
    """Steps to look at, with their rows in run.json."""
    return [
        [label, f"{len(record[key])}, the first at step {record[key][0]['step']}: see run.json"]
        for label, key in (("loss spikes", "spikes"), ("updates left out", "skipped"))
        if record.get(key)
    ]


def _step_rows(record: Mapping[str, Any]) -> list[list[str]]:
    """How the step ran; a run of an older kerasft did not record it."""
    rows = []
    if record.get("first_step_seconds") is not None:
        rows.append(["first step", f"{record['first_step_seconds']:.1f} s"])
    if record.get("compilations"):
        count, seconds = record["compilations"]["count"], record["compilations"]["seconds"]
        rows.append(["compilations", f"{number(count)} in {seconds:.1f} s" if count else "none"])
    if record.get("remat"):
        rows.append(["remat", record["remat"]])
    for label, key in (("padding", "padding_share"), ("input wait", "input_wait_share")):
        if record.get(key) is not None:
            rows.append([label, f"{record[key]:.1%}"])
    return rows


def _print_plan(plan: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(plan)
        return
    rows = [
        [_label(key), _cell(value, key.endswith("_bytes"))]
        for key, value in plan.items()
        if key != "recipe"
    ]
    click.echo(plan["recipe"])
    console().print(table("", ["", ""], rows))


def _label(key: str) -> str:
    label = key.removesuffix("_bytes").replace("_", " ")
    return "memory, roughly" if label == "memory" else label


def _cell(value: Any, is_size: bool = False) -> str:
    if is_size and value:
        return size(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_cell(inner)}" for key, inner in value.items())
    return number(value) if value is None or isinstance(value, (int, float)) else str(value)
