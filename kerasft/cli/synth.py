"""`kerasft synth`: generated text-to-SQL rows as JSON lines."""

import json
import time
from collections import Counter
from pathlib import Path

import click

from kerasft.cli.options import json_option
from kerasft.cli.output import console, number, print_json, table
from kerasft.records import write_text


@click.command()
@click.option("--rows", type=click.IntRange(min=1), required=True, help="How many rows.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The JSONL file to write.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same rows.")
@click.option(
    "--db",
    type=click.Path(path_type=Path),
    help="Ask about this SQLite database, which is only read, instead of the built-in domains.",
)
@click.option("--domains", help="Built-in domains, split by commas; all of them by default.")
@json_option
def synth(
    rows: int, out: Path, seed: int, db: Path | None, domains: str | None, as_json: bool
) -> None:
    """Make text-to-SQL rows that execute, from built-in domains or from your own database.

    The rows are generated: questions, SQL and built-in values are made by rule, in the columns of
    gretel's text-to-SQL data. Every query was run in SQLite and gave rows.
    """
    from kerasft.data.synth import DIFFICULTIES, generate, generate_from_database

    if db is not None and domains is not None:
        raise click.UsageError("--db and --domains exclude each other: give one of them.")
    began = time.perf_counter()
    if db is not None:
        made = list(generate_from_database(db, rows, seed))
    else:
        names = None if domains is None else [name.strip() for name in domains.split(",")]
        made = list(generate(rows, seed, domains=names))
    write_text(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made))
    seconds = time.perf_counter() - began

    counts = Counter((row["difficulty"], row["pattern"]) for row in made)
    by_difficulty = Counter(row["difficulty"] for row in made)
    if as_json:
        print_json(
            {
                "out": str(out),
                "generated": True,
                "rows": len(made),
                "seed": seed,
                "seconds": seconds,
                "difficulties": {name: by_difficulty[name] for name in DIFFICULTIES},
                "patterns": {pattern: count for (_, pattern), count in sorted(counts.items())},
            }
        )
        return
    lines = [
        [difficulty, pattern, number(count)]
        for difficulty in DIFFICULTIES
        for (of, pattern), count in sorted(counts.items(), key=lambda item: -item[1])
        if of == difficulty
    ]
    out_console = console()
    out_console.print(table("", ["difficulty", "pattern", "rows "], lines))
    shares = ", ".join(f"{name} {by_difficulty[name]:,}" for name in DIFFICULTIES)
    out_console.print(
        f"\n{len(made):,} generated rows ({shares}) in {seconds:.1f} s: {out}", markup=False
    )
