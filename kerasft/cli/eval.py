"""`kerasft eval`: scores of a run, with those of its base beside them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from kerasft.cli.options import backend_option, json_option, recipe_option, set_option
from kerasft.cli.output import console, number, print_json, table


@click.command("eval")
@click.argument("target", metavar="RUN_OR_MODEL")
@recipe_option(required=False, help="Prompt, rows and task for a bare model; a run has its own.")
@click.option("--data", metavar="FILE", help="Rows to score instead of the recipe's held-out ones.")
@click.option("--split", help="Split of --data, or of the recipe's source.")
@click.option("--limit", type=click.IntRange(min=0), help="Rows at the most; 0 for all.")
@click.option("--base", is_flag=True, help="Score the untouched base on the same rows too.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the results (RUN/eval).")
@set_option
@backend_option
@json_option
def evaluate(
    target: str,
    recipe: str | None,
    data: str | None,
    split: str | None,
    limit: int | None,
    base: bool,
    out: Path | None,
    overrides: tuple[str, ...],
    backend: str | None,
    as_json: bool,
) -> None:
    """Score a run on the rows it held back, or a bare model with a recipe's prompt.

    \b
    kerasft eval runs/sql-… --base
    kerasft eval gemma3-270m --recipe sql --limit 50 --out scores
    """
    from kerasft.console import RichReporter
    from kerasft.evaluation import evaluate as score

    results = score(
        target,
        recipe=recipe,
        data=data,
        split=split,
        limit=limit,
        base=base,
        out=out,
        backend=backend,
        settings=overrides,
        reporter=RichReporter(console(stderr=True)),
    )
    if as_json:
        print_json({key: value for key, value in results.items() if key != "predictions"})
        return
    contenders = [name for name in ("base", "tuned") if name in results]
    metrics = {key: None for name in contenders for key in results[name]}
    rows = [
        [metric.replace("_", " "), *(cell(results[name].get(metric)) for name in contenders)]
        for metric in metrics
        if metric != "by_difficulty"
    ]
    out_console = console()
    out_console.print(table(f"{results['rows']} rows", ["", *contenders], rows))
    for file in results["files"]:
        click.echo(file)


def cell(value: Any) -> str:
    """A metric for a table: a rate or a mean with its 95 % interval, counts, or a number."""
    if not isinstance(value, Mapping):
        return number(value) if value is None or isinstance(value, (int, float)) else str(value)
    if "rate" in value:
        if value["rate"] is None:
            return "– (no row to judge)"
        low, high = value["low"], value["high"]
        return f"{value['rate']:.1%} ({low:.1%} to {high:.1%}), {value['count']} of {value['of']}"
    if "mean" in value:
        if value["mean"] is None:
            return "–"
        return f"{value['mean']:.3g} ({value['low']:.3g} to {value['high']:.3g})"
    return ", ".join(f"{name} {cell(count)}" for name, count in value.items())
