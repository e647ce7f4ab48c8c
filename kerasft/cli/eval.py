"""`kerasft eval`: scores of a run, with those of its base beside them."""

from pathlib import Path

import click

from kerasft.cli.options import backend_option, json_option, recipe_option, set_option
from kerasft.cli.output import console, print_json


@click.command("eval")
@click.argument("target", metavar="RUN_OR_MODEL")
@recipe_option(required=False, help="Prompt, rows and task for a bare model; a run has its own.")
@click.option("--data", metavar="FILE", help="Rows to score instead of the recipe's held-out ones.")
@click.option(
    "--db",
    metavar="FILE",
    help="SQLite or DuckDB file that all of --data (question and sql, JSONL) is about.",
)
@click.option("--split", help="Split of --data, or of the recipe's source.")
@click.option("--limit", type=click.IntRange(min=0), help="Rows at the most; 0 for all.")
@click.option(
    "--base", is_flag=True, help="Score the untouched base on the same rows, and compare."
)
@click.option(
    "--perplexity/--no-perplexity",
    default=True,
    help="Of the rows' own answers, too (on by default).",
)
@click.option(
    "--forgetting",
    metavar="RECIPE|FILE",
    help="Perplexity of base and tuned on rows of another task: a recipe's held-out ones, or a "
    "file's.",
)
@click.option(
    "--retry",
    type=click.IntRange(min=1),
    metavar="N",
    help="Where an answer is no valid SQL, try the candidates of a beam of width N; scored apart.",
)
@click.option("--judge", metavar="URL", help="OpenAI-compatible endpoint that grades the answers.")
@click.option("--judge-model", metavar="NAME", help="The model there.")
@click.option(
    "--judge-prices",
    type=click.FloatRange(min=0),
    nargs=2,
    metavar="PROMPT COMPLETION",
    help="What a million tokens of each cost, for the sum.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the results (RUN/eval).")
@set_option
@backend_option
@json_option
def evaluate(
    target: str,
    recipe: str | None,
    data: str | None,
    db: str | None,
    split: str | None,
    limit: int | None,
    base: bool,
    perplexity: bool,
    forgetting: str | None,
    retry: int | None,
    judge: str | None,
    judge_model: str | None,
    judge_prices: tuple[float, float] | None,
    out: Path | None,
    overrides: tuple[str, ...],
    backend: str | None,
    as_json: bool,
) -> None:
    """Score a run on the rows it held back, or a bare model with a recipe's prompt.

    Stopped with Ctrl-C, the same command goes on where it was.

    \b
    kerasft eval runs/sql-… --base
    kerasft eval runs/sql-… --data questions.jsonl --db shop.sqlite --retry 4
    kerasft eval runs/sql-… --forgetting dolly
    kerasft eval gemma3-270m --recipe sql --limit 50 --out scores
    """
    from kerasft.console import RichReporter
    from kerasft.evaluation import evaluate as score
    from kerasft.runs import RunFolder, is_run

    reporter = RichReporter(console(stderr=True))
    results = score(
        target,
        recipe=recipe,
        data=data,
        db=db,
        split=split,
        limit=limit,
        base=base,
        perplexity=perplexity,
        forgetting=forgetting,
        retry=retry or 0,
        judge=judge,
        judge_model=judge_model,
        judge_prices=judge_prices,
        out=out,
        backend=backend,
        settings=overrides,
        reporter=reporter,
    )
    page = None
    if out is None and is_run(Path(target)):
        from kerasft.report.writing import refreshed

        page = refreshed(RunFolder.open(target), reporter)
    if as_json:
        shown = {key: value for key, value in results.items() if key != "predictions"}
        print_json({**shown, "report": page})
        return
    from kerasft.cli.scores import tables

    shown = console()
    for each in tables(results):
        shown.print(each)
    for file in [*results["files"], *([page] if page else [])]:
        click.echo(file)
