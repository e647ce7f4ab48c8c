"""`kerasft ask`: a question about a database, its SQL and what that gives."""

import io
import sys
from pathlib import Path

import click

from kerasft.cli.options import backend_option, json_option, recipe_option


@click.command()
@click.argument("question", metavar="[QUESTION]", required=False)
@click.option(
    "--db",
    "database",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="SQLite or DuckDB file; it is only read.",
)
@click.option(
    "--model",
    metavar="RUN_OR_MODEL",
    help="A run, an adapter folder, or a preset with --recipe; else the adapter of kerasft.",
)
@recipe_option(required=False, help="The recipe whose template a bare model is prompted with.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Rows at the most."
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="For the query; it is stopped then.",
)
@click.option(
    "--retry",
    type=click.IntRange(min=2),
    metavar="N",
    help="On an SQL error, try the other candidates of a beam of width N.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Show the model N values of each text column; shipped recipes train without (0).",
)
@click.option(
    "--max-prompt-tokens",
    type=click.IntRange(min=1),
    metavar="N",
    help="Cut longer schemas to the tables that the question is about; what the model was "
    "trained with, if not given.",
)
@click.option(
    "--max-new-tokens",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Longest SQL.",
)
@click.option("--explain", is_flag=True, help="Show the database's plan for the query, too.")
@click.option(
    "--chart",
    type=click.Path(path_type=Path),
    metavar="FILE.png",
    help="Draw the result, where it is a category or a time and a number.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print the rows as CSV, all else on stderr.")
@backend_option
@json_option
@click.pass_context
def ask(
    context: click.Context,
    question: str | None,
    database: Path,
    model: str | None,
    recipe: str | None,
    limit: int,
    timeout: float,
    retry: int | None,
    samples: int,
    max_prompt_tokens: int | None,
    max_new_tokens: int,
    explain: bool,
    chart: Path | None,
    as_csv: bool,
    backend: str | None,
    as_json: bool,
) -> None:
    """Answer a question about a database: SQL by the model, run read-only, its rows as a table.

    Without a question: a prompt with a history (\\h shows its commands), or the lines of the
    standard input, one question each; with --json one object a line.

    \b
    kerasft ask "Which ten albums sold best?" --db chinook.sqlite
    kerasft ask --db shop.duckdb --model runs/sql-…
    """
    if as_csv and as_json:
        raise click.UsageError("Give --csv or --json, not both.")
    if chart is not None and chart.suffix.lower() != ".png":
        raise click.UsageError(f"--chart writes a PNG: {chart} must end in .png.")
    if question is None and (as_csv or chart is not None):
        raise click.UsageError("--csv and --chart go with one QUESTION.")
    if question is not None and not question.strip():
        raise click.UsageError("The question is empty.")
    if question is not None:  # bytes of an argument that are no UTF-8 are no tokens either
        question = question.encode("utf-8", "replace").decode("utf-8")
    _streams_hold_any_text()

    from kerasft.asking import Asker
    from kerasft.cli.answers import AnswerPrinter
    from kerasft.cli.output import console
    from kerasft.cli.prompting import Prompt
    from kerasft.sql.engine import engine_of
    from kerasft.sql_writer import open_writer

    engine_of(database)  # a wrong path is told before a model is loaded
    with console(stderr=True).status("Loading the model"):
        writer = open_writer(
            model,
            recipe=recipe,
            backend=backend,
            max_prompt_tokens=max_prompt_tokens,
            max_new_tokens=max_new_tokens,
        )
    with Asker(
        database, writer, limit=limit, seconds=timeout, retry=retry or 0, samples=samples
    ) as asker:
        lines = question is None
        form = "csv" if as_csv else ("lines" if lines else "json") if as_json else "table"
        printer = AnswerPrinter(asker, form, limit=limit, explain=explain, chart=chart)
        if question is not None:
            answered = printer.ask(question)
        elif sys.stdin.isatty():
            answered = Prompt(asker, printer).run()
        else:
            answered = printer.ask_each(line.strip() for line in sys.stdin if line.strip())
    context.exit(0 if answered else 1)


def _streams_hold_any_text() -> None:
    """Make pipes UTF-8, whatever the system's encoding: rows and questions hold any character."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):
            continue
        if stream.isatty():
            stream.reconfigure(errors="replace" if stream is sys.stdin else "backslashreplace")
        elif stream is sys.stdin:
            stream.reconfigure(encoding="utf-8-sig", errors="replace")
        else:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
