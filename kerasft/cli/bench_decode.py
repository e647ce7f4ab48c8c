"""`kerasft bench decode`: answering prompts beside transformers' `generate`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from kerasft.cli.bench_types import Counts, Names, Shape, check_names, timeout_option
from kerasft.cli.options import json_option, recipe_option, set_option
from kerasft.cli.output import console, number, print_json, printable, table


@click.command()
@click.argument("target", metavar="[RUN_OR_MODEL]", required=False)
@click.option("--shape", type=Shape(), help="Random weights of this shape and random prompts.")
@recipe_option(required=False, help="Prompt and rows for a bare model; a run has its own.")
@click.option("--data", metavar="FILE", help="Rows instead of the recipe's held-out ones.")
@click.option("--split", help="Split of --data, or of the recipe's source.")
@click.option("--limit", type=click.IntRange(min=0), default=0, help="Rows at the most; 0 for all.")
@click.option(
    "--length",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Tokens of the longest random prompt.",
)
@click.option(
    "--contenders",
    type=Names(),
    help="Who takes part, with commas: kerasft-torch, kerasft-jax, hf, hf-static (all where not "
    "given).",
)
@click.option(
    "--batch-sizes",
    type=Counts(),
    default="64,256",
    show_default=True,
    help="Rows decoded together; each is tried, and the fastest counts.",
)
@click.option(
    "--max-new-tokens",
    type=click.IntRange(1),
    help="Tokens an answer at the most; the recipe's where not given, of random prompts 64.",
)
@click.option(
    "--dtype",
    type=click.Choice(("auto", "bfloat16", "float32")),
    default="auto",
    show_default=True,
    help="Of the weights; `auto` is the run's own, or what the device has.",
)
@timeout_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where bench.json and the logs go; runs/bench-decode-MODEL where not given.",
)
@set_option
@json_option
def decode(
    target: str | None,
    shape: str | None,
    recipe: str | None,
    contenders: tuple[str, ...] | None,
    overrides: tuple[str, ...],
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Answer rows greedily on kerasft and on transformers, side by side.

    \b
    kerasft bench decode runs/sql-… --batch-sizes 64,256,1024
    kerasft bench decode gemma3-270m --recipe sql --limit 100
    kerasft bench decode --shape gemma3-270m --limit 256 --length 512

    Every contender gets the same token ids, the same limit of new tokens and the same stop
    tokens, in a process of its own, and answers all rows twice with each batch size.
    """
    from kerasft.bench.contenders import DECODERS
    from kerasft.bench.decoding_comparison import DecodeRequest, bench_decoding
    from kerasft.console import RichReporter

    if target is None and (recipe or options["data"] or options["split"] or overrides):
        raise click.UsageError(
            "--recipe, --data, --split and --set are of a run or a model: name one."
        )
    if target is not None and shape is not None:
        raise click.UsageError("Give a run or a model, or --shape for random weights.")
    check_names(contenders, DECODERS, "--contenders")
    subject = Path(target).name if target else shape or "gemma3-270m"
    folder = out or Path("runs") / f"bench-decode-{subject}"
    request = DecodeRequest(
        target=target,
        shape=shape,
        recipe=recipe,
        overrides=overrides,
        contenders=contenders or tuple(DECODERS),
        **options,
    )
    record = bench_decoding(request, folder, RichReporter(console(stderr=True)))
    if as_json:
        print_json({**record, "out": str(folder)})
        return
    _print(record)
    click.echo(f"\nWritten to {folder}: bench.json, logs")


COLUMNS = (
    "",
    "rows a batch ",
    "first pass s ",
    "second pass s ",
    "rows/s ",
    "new tokens/s ",
    "peak GiB ",
    "times the peer ",
    "notes",
)


def _print(record: Mapping[str, Any]) -> None:
    out, work, device = console(), record["work"], record["device"]
    rows = [row for entry in record["contenders"] for row in _rows(entry, record)]
    out.print(table("", COLUMNS, rows))
    out.print()
    model = work["preset"] or f"{work['shape']} with random weights"
    if work.get("run"):
        model = f"{work['run']} on {model}"
    out.print(
        printable(
            f"{model}, {device['dtype']}, on {device['name']}: {work['rows']:,} rows with "
            f"{work['prompt_tokens']:,} tokens (the longest {work['longest_prompt']:,}), up to "
            f"{work['max_new_tokens']} new ones. * is a contender's best batch, by the second "
            "pass; the first one compiles."
        )
    )
    for entry in record["contenders"]:
        for other, share in entry.get("equal_answers", {}).items():
            out.print(printable(f"{entry['name']} and {other}: {share:.1%} of answers are equal."))


def _rows(entry: Mapping[str, Any], record: Mapping[str, Any]) -> list[list[str]]:
    """A contender's lines, one a batch size."""
    if entry["status"] != "ok":
        blank = [""] * (len(COLUMNS) - 2)
        return [[entry["name"], *blank, f"{entry['status']}: {entry['reason']}"]]
    lines = []
    for batch in entry["batches"]:
        if batch["status"] != "ok":
            blank = [""] * (len(COLUMNS) - 3)
            lines.append([entry["name"], str(batch["batch_size"]), *blank, batch["status"]])
            continue
        best = batch["batch_size"] == entry["best"]["batch_size"]
        times = record["times_fastest_peer"].get(entry["name"]) if best else None
        lines.append(
            [
                entry["name"] + (" *" if best else ""),
                str(batch["batch_size"]),
                f"{batch['first_pass_seconds']:,.2f}",
                f"{batch['second_pass_seconds']:,.2f}",
                number(batch["rows_per_second"]),
                number(round(batch["new_tokens_per_second"])),
                f"{batch['peak_memory_bytes'] / 2**30:.2f}",
                "" if times is None else f"{times:.2f}",
                "; ".join(entry["notes"]) if best else "",
            ]
        )
    return lines
