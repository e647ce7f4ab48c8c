"""`kerasft compare`: runs of several engines beside each other, gate first."""

import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kerasft.cli.options import json_option, recipe_option, set_option
from kerasft.cli.output import console, print_json

if TYPE_CHECKING:
    from kerasft.compare.engines import Plan
    from kerasft.evaluating.asked import Asked


@click.command("compare")
@click.argument("runs", metavar="[RUN]...", nargs=-1, type=click.Path(path_type=Path))
@recipe_option(required=False, help="Train this recipe with each of --engines, and compare.")
@click.option(
    "--engines",
    default="keras-torch,keras-jax,hf,trl",
    show_default=True,
    help="What trains it; may be run in parts into one --out.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Runs an engine: train.seed, and each other one higher.",
)
@set_option
@click.option(
    "--eval",
    "evaluations",
    multiple=True,
    metavar="OPTIONS",
    help="Score each run with these options of `kerasft eval`, as one text; may be repeated. "
    "Without it, on the rows that the recipe holds back.",
)
@click.option("--no-eval", is_flag=True, help="Score nothing.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder (comparisons/NAME-DATE-TIME).")
@click.option(
    "--price-per-hour", type=click.FloatRange(min=0), help="Of the device, for what a run costs."
)
@click.option("--no-gate", is_flag=True, help="Leave the parity gate out; nothing is ranked then.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Runs that are scored and probed at once. Trainings are timed, and run one by one.",
)
@json_option
def compare(
    runs: tuple[Path, ...],
    recipe: str | None,
    engines: str,
    seeds: int,
    overrides: tuple[str, ...],
    evaluations: tuple[str, ...],
    no_eval: bool,
    out: Path | None,
    price_per_hour: float | None,
    no_gate: bool,
    jobs: int,
    as_json: bool,
) -> None:
    """Compare runs, or train a recipe with several engines and compare those.

    The parity gate comes first: whether the runs were fed the same tokens and began with the
    same numbers, logits, loss and gradients. What does not pass is shown and never ranked.

    With --recipe, a comparison that was cut goes on with the same command, and --engines may
    be run in parts into one --out.

    \b
    kerasft compare runs/sql-torch runs/sql-jax
    kerasft compare --recipe sql --engines keras-torch,hf --seeds 3 --out sql-comparison
    kerasft compare --recipe sql --eval "--limit 200 --base" --price-per-hour 2.5
    """
    if bool(runs) == bool(recipe):
        raise click.UsageError("Give either run folders, or --recipe.")
    if recipe is None and (overrides or evaluations or no_eval or seeds > 1):
        raise click.UsageError("--set, --seeds, --eval and --no-eval go with --recipe.")
    if evaluations and no_eval:
        raise click.UsageError("Give either --eval or --no-eval.")
    from kerasft.compare import comparison
    from kerasft.compare.result import FILE
    from kerasft.console import RichReporter

    out = out or _fresh(Path(recipe).stem if recipe else "runs")
    reporter = RichReporter(console(stderr=True))
    how: dict[str, Any] = {
        "checked": not no_gate,
        "price_per_hour": price_per_hour,
        "reporter": reporter,
    }
    if recipe is not None:
        plan = _plan(recipe, engines, seeds, overrides, evaluations, no_eval, out, jobs)
        result = comparison.compare_engines(plan, **how)
    else:
        result = comparison.compare_runs(runs, out, jobs=jobs, **how)
    from kerasft.report.writing import write_comparison_report

    with reporter.working("Writing the report"):
        page = write_comparison_report(result, out)
    if as_json:
        print_json({"out": str(out), "report": str(page), **result.to_json()})
        return
    from kerasft.cli.comparison_tables import tables

    shown = console()
    for each in tables(result):
        shown.print(each)
    click.echo(out / FILE)
    click.echo(page)


def _plan(
    recipe: str,
    engines: str,
    seeds: int,
    overrides: Sequence[str],
    evaluations: Sequence[str],
    no_eval: bool,
    out: Path,
    jobs: int,
) -> "Plan":
    from kerasft.compare.engines import ENGINES, Plan
    from kerasft.recipe import load

    names = [name.strip() for name in engines.split(",") if name.strip()]
    unknown = [name for name in names if name not in ENGINES]
    if unknown or not names:
        given = f"{', '.join(unknown)}: " if unknown else ""
        raise click.UsageError(f"--engines: {given}expected some of {', '.join(ENGINES)}.")
    if not (evaluations or no_eval) and load(recipe, overrides).data.validation:
        evaluations = ("",)
    asked = [_asked(text) for text in evaluations]
    return Plan(recipe, overrides, list(dict.fromkeys(names)), seeds, asked, out, jobs)


def _asked(text: str) -> "Asked":
    """Options of `kerasft eval`, checked before anything is trained."""
    from kerasft.cli.eval import evaluate
    from kerasft.evaluating.asked import Asked

    # The run's place is taken by each run in turn.
    given = evaluate.make_context("eval", ["RUN", *shlex.split(text)]).params
    if given["out"] is not None or given["as_json"]:
        raise click.UsageError("--eval takes no --out and no --json: results stay with each run.")
    return Asked(
        run_or_model=given["target"],
        recipe=given["recipe"],
        data=given["data"],
        db=given["db"],
        split=given["split"],
        limit=given["limit"],
        base=given["base"],
        perplexity=given["perplexity"],
        forgetting=given["forgetting"],
        retry=given["retry"] or 0,
        judge=given["judge"],
        judge_model=given["judge_model"],
        judge_prices=given["judge_prices"],
        out=None,
        backend=given["backend"],
        settings=given["overrides"],
    )


def _fresh(name: str) -> Path:
    return Path("comparisons") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
