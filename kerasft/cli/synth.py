"""`kerasft synth`: generated text-to-SQL rows, and databases for Spider's questions."""

import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from kerasft.cli.options import json_option
from kerasft.cli.output import console, number, print_json, table
from kerasft.records import write_text


@click.command()
@click.option("--rows", type=click.IntRange(min=1), help="How many rows.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The JSONL file to write; with --spider the folder.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same rows.")
@click.option(
    "--db",
    type=click.Path(path_type=Path),
    help="Ask about this SQLite or DuckDB database, which is only read, instead of the built-in "
    "domains.",
)
@click.option("--domains", help="Built-in domains, split by commas; all of them by default.")
@click.option(
    "--hold-out",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="A share of the patterns: their rows go to a file beside --out, NAME-held-out.jsonl, so "
    "that a model is tested on kinds of questions that it was not trained on.",
)
@click.option(
    "--spider",
    type=click.Path(path_type=Path),
    help="Spider's tables.json: build and fill the databases of the questions of --data.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="With --spider: rows of db_id, question and query, such as Spider's dev.json.",
)
@json_option
def synth(
    rows: int | None,
    out: Path,
    seed: int,
    db: Path | None,
    domains: str | None,
    hold_out: float | None,
    spider: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Make text-to-SQL rows that execute, from built-in domains or from your own database.

    The rows are generated: questions, SQL and built-in values are made by rule, in the columns of
    gretel's text-to-SQL data. Every query was run and gave rows. Rows over --db name it in a column
    `database`, from the folder of --out, and `kerasft eval` runs their queries on it.

    With --spider and --data the questions are Spider's own, and what is made are their databases:
    from the schemas of tables.json, filled by rule so that the gold queries find something. --out
    gets the SQLite files and rows.jsonl, which `kerasft eval --data` scores.
    """
    if spider is not None or data is not None:
        others = {"rows": rows, "db": db, "domains": domains, "hold-out": hold_out}
        _check_spider(spider, data, others)
        _spider(spider, data, out, seed, as_json)
        return
    if rows is None:
        raise click.UsageError("say with --rows how many rows to make.")
    if db is not None and domains is not None:
        raise click.UsageError("--db and --domains exclude each other: give one of them.")
    if out.is_dir():
        raise click.UsageError(f"{out} is a folder: --out is the JSONL file to write.")
    _rows(rows, out, seed, db, domains, hold_out, as_json)


def _check_spider(spider: Path | None, data: Path | None, others: Mapping[str, object]) -> None:
    if spider is None or data is None:
        raise click.UsageError("--spider (tables.json) and --data (questions) go together.")
    given = [f"--{name}" for name, value in others.items() if value is not None]
    if given:
        raise click.UsageError(f"--spider makes databases, and takes no {' or '.join(given)}.")


def _rows(
    rows: int,
    out: Path,
    seed: int,
    db: Path | None,
    domains: str | None,
    hold_out: float | None,
    as_json: bool,
) -> None:
    from kerasft.data.synth import DIFFICULTIES, generate, generate_from_database, held_out

    began = time.perf_counter()
    if db is not None:
        file = _from(out.parent, db)
        made = [{**row, "database": file} for row in generate_from_database(db, rows, seed)]
    else:
        names = None if domains is None else [name.strip() for name in domains.split(",")]
        made = list(generate(rows, seed, domains=names))
    files = {out: made}
    if hold_out is not None:
        apart = held_out({row["pattern"] for row in made}, hold_out, seed)
        files = {
            out: [row for row in made if row["pattern"] not in apart],
            out.with_name(f"{out.stem}-held-out{out.suffix}"): [
                row for row in made if row["pattern"] in apart
            ],
        }
    for file, kept in files.items():
        write_text(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))
    seconds = time.perf_counter() - began

    counts = Counter((row["difficulty"], row["pattern"]) for row in made)
    by_difficulty = Counter(row["difficulty"] for row in made)
    if as_json:
        print_json(
            {
                "out": str(out),
                "generated": True,
                "rows": len(made),
                "files": {str(file): len(kept) for file, kept in files.items()},
                "seed": seed,
                "seconds": seconds,
                "difficulties": {name: by_difficulty[name] for name in DIFFICULTIES},
                "patterns": {pattern: count for (_, pattern), count in sorted(counts.items())},
            }
        )
        return
    _print_patterns(DIFFICULTIES, counts)
    shares = ", ".join(f"{name} {by_difficulty[name]:,}" for name in DIFFICULTIES)
    where = ", ".join(
        f"{file}" if len(files) == 1 else f"{len(kept):,} in {file}" for file, kept in files.items()
    )
    console().print(
        f"\n{len(made):,} generated rows ({shares}) in {seconds:.1f} s: {where}", markup=False
    )


def _from(folder: Path, file: Path) -> str:
    """The path of a file from a folder, so that both can move together."""
    file = file.expanduser().resolve()
    try:
        return Path(os.path.relpath(file, folder.expanduser().resolve())).as_posix()
    except ValueError:  # on another drive
        return str(file)


def _print_patterns(difficulties: Sequence[str], counts: Mapping[tuple[str, str], int]) -> None:
    lines = [
        [difficulty, pattern, number(count)]
        for difficulty in difficulties
        for (of, pattern), count in sorted(counts.items(), key=lambda item: -item[1])
        if of == difficulty
    ]
    console().print(table("", ["difficulty", "pattern", "rows "], lines))


def _spider(tables: Path, questions: Path, out: Path, seed: int, as_json: bool) -> None:
    from kerasft.data.spider_databases import ROWS, build_spider_databases

    began = time.perf_counter()
    report = build_spider_databases(tables, questions, out, seed).as_json()
    seconds = time.perf_counter() - began
    if as_json:
        print_json({"out": str(out), "generated": True, "seed": seed, "seconds": seconds, **report})
        return
    _print_report(report)
    console().print(
        f"\n{report['databases']:,} generated databases with {report['rows']:,} rows for "
        f"{report['questions']:,} questions in {seconds:.1f} s: {out}",
        markup=False,
    )
    console().print(f"Score a model on them: kerasft eval RUN --data {out / ROWS}", markup=False)


def _print_report(report: Mapping[str, Any]) -> None:
    questions, mutants = report["questions"], report["mutants"]
    lines = [
        ["gold queries that run", _share(report["run"], questions)],
        ["with a result that is not empty", _share(report["non_empty"], questions)],
        ["… and more than NULLs or a single zero", _share(report["telling"], questions)],
        ["whose LIMIT cuts through a tie", _share(report["tied"], questions)],
        ["wrong queries told apart from gold", _share(mutants["told_apart"], mutants["queries"])],
    ]
    lines += [
        [f"  {kind}", _share(of["told_apart"], of["queries"])]
        for kind, of in mutants["kinds"].items()
    ]
    console().print(table("", ["what", "how many "], lines))
    for failure in report["failed"]:
        console().print(f"does not run: {failure}", markup=False)


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,}" + (f" ({part / whole:.1%})" if whole else "")
