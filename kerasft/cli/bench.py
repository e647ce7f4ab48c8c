"""`kerasft bench`: the training step beside its peers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from kerasft.cli.bench_decode import decode
from kerasft.cli.bench_types import Names, Shape, check_names, timeout_option
from kerasft.cli.options import json_option, recipe_option, set_option
from kerasft.cli.output import console, number, print_json, printable, table
from kerasft.recipe import TARGETS, as_settings


@click.group(invoke_without_command=True)
@click.pass_context
@click.option("--shape", type=Shape(), help="Random weights of this shape (gemma-2b).")
@click.option("--preset", metavar="PRESET", help="Real weights instead.")
@recipe_option(
    required=False,
    help="Train on a recipe's rows, with its adapter and, without --shape, its model.",
)
@set_option
@click.option(
    "--contenders",
    type=Names(),
    help="Who takes part, with commas: kerasft-torch, kerasft-jax, keras-torch, keras-jax, hf, "
    "hf-compiled, trl, unsloth (all of these where not given), "
    "kerasft-torch-float8, kerasft-jax-float8, kerasft-torch-float8-backward, "
    "kerasft-jax-float8-backward, kerasft-torch-int8-backward, trl-flex.",
)
@click.option("--rank", type=click.IntRange(1), help="Rank of the adapter (4); alpha is the same.")
@click.option("--targets", type=Names(), help="Layers with an adapter (query,value).")
@click.option(
    "--layout", type=click.Choice(("keras", "peft")), help="Layout of kerasft's adapter (keras)."
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    help="Rows a step (8); packed rows where a contender packs.",
)
@click.option("--length", type=click.IntRange(8), help="Tokens a row (512).")
@click.option(
    "--supervised",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Share of a random row's tokens that is supervised.",
)
@click.option(
    "--remat",
    type=click.Choice(("none", "block")),
    default="none",
    show_default=True,
    help="`block` computes activations again in the backward pass, each in its own way.",
)
@click.option(
    "--steps",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="Measured steps; 0 for an epoch of the recipe's rows.",
)
@click.option(
    "--warmup",
    type=click.IntRange(0),
    default=3,
    show_default=True,
    help="Steps before them, after the first.",
)
@click.option(
    "--dtype",
    type=click.Choice(("auto", "bfloat16", "float32")),
    default="auto",
    show_default=True,
    help="Of the frozen base; adapters are float32.",
)
@timeout_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where bench.json and the logs go; runs/bench-MODEL where not given.",
)
@json_option
def bench(
    context: click.Context,
    shape: str | None,
    preset: str | None,
    recipe: str | None,
    overrides: tuple[str, ...],
    contenders: tuple[str, ...] | None,
    targets: tuple[str, ...] | None,
    remat: str,
    out: Path | None,
    as_json: bool,
    **numbers: Any,
) -> None:
    """Measure one LoRA step on kerasft and its peers, side by side.

    \b
    kerasft bench --contenders kerasft-torch,kerasft-jax,hf
    kerasft bench --shape gemma3-1b --supervised 0.2 --remat block
    kerasft bench --recipe sql --steps 0
    kerasft bench decode --help

    Every contender trains the same adapter on the same rows, in a process of its own. The
    median is that of steps with one synchronisation each; the rates are those of as many
    steps (or of an epoch) with one synchronisation at their end.
    """
    if context.invoked_subcommand is not None:
        _check_no_options(context)
        return
    _check(shape, preset, recipe, overrides, contenders, targets, numbers["steps"])
    from kerasft.bench.comparison import Request, bench
    from kerasft.bench.contenders import DEFAULT
    from kerasft.console import RichReporter

    subject = shape or (Path(preset).name if preset else None) or recipe or "gemma-2b"
    folder = out or Path("runs") / f"bench-{Path(subject).stem if recipe else subject}"
    request = Request(
        shape=shape,
        preset=preset,
        recipe=recipe,
        overrides=as_settings(overrides),
        contenders=contenders or DEFAULT,
        targets=targets,
        remat=remat == "block",
        **numbers,
    )
    record = bench(request, folder, RichReporter(console(stderr=True)))
    if as_json:
        print_json({**record, "out": str(folder)})
        return
    _print(record)
    click.echo(f"\nWritten to {folder}: bench.json, logs")


def _check(
    shape: str | None,
    preset: str | None,
    recipe: str | None,
    overrides: tuple[str, ...],
    contenders: tuple[str, ...] | None,
    targets: tuple[str, ...] | None,
    steps: int,
) -> None:
    from kerasft.bench.contenders import CONTENDERS

    if shape and preset:
        raise click.UsageError("Give --shape for random weights or --preset for real ones.")
    if overrides and not recipe:
        raise click.UsageError("--set changes a recipe's settings: give --recipe too.")
    if steps == 0 and not recipe:
        raise click.UsageError("--steps 0 is an epoch of a recipe's rows: give --recipe too.")
    check_names(contenders, CONTENDERS, "--contenders")
    check_names(targets, TARGETS, "--targets")


def _check_no_options(context: click.Context) -> None:
    """Refuse options of the training step before the name of a command."""
    given = [
        f"--{name.replace('_', '-')}"
        for name in context.params
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(
            f"{', '.join(given)}: options of `bench {context.invoked_subcommand}` stand after it."
        )


bench.add_command(decode)

COLUMNS = (
    "",
    "first s ",
    "median ms ",
    "tokens/s ",
    "supervised/s ",
    "rows/s ",
    "peak GiB ",
    "of floor ",
    "loss",
    "adapter ",
    "notes",
)


def _print(record: Mapping[str, Any]) -> None:
    out, work, device, floor = console(), record["work"], record["device"], record["floor"]
    rows = [_row(entry) for entry in record["contenders"]]
    out.print(table("", COLUMNS, rows))
    out.print()
    out.print(printable(_described(work, device)))
    out.print(printable(_floor_line(floor, device)))


def _row(entry: Mapping[str, Any]) -> list[str]:
    if entry["status"] != "ok":
        blank = [""] * (len(COLUMNS) - 2)
        return [entry["name"], *blank, f"{entry['status']}: {entry['reason']}"]
    median = entry["median_step_seconds"]
    return [
        entry["name"],
        f"{entry['first_step_seconds']:.1f}",
        "–" if median is None else f"{1000 * median:,.1f}",
        _rate(entry["tokens_per_second"]),
        _rate(entry["supervised_tokens_per_second"]),
        number(entry["rows_per_second"]),
        f"{entry['peak_memory_bytes'] / 2**30:.2f}",
        f"{entry['floor_share']:.0%}" if entry["floor_share"] else "–",
        f"{entry['first_loss']:.3f} → {entry['last_loss']:.3f}",
        number(entry["adapter_parameters"]),
        "; ".join(entry["notes"]),
    ]


def _rate(value: float | None) -> str:
    return number(None if value is None else round(value))


def _described(work: Mapping[str, Any], device: Mapping[str, Any]) -> str:
    model = work["preset"] or f"{work['shape']} with random weights"
    rows = f"rows of {work['recipe']}" if work["recipe"] else "random rows"
    return (
        f"{model}, {device['dtype']}, on {device['name']}. LoRA of rank {work['rank']} on "
        f"{', '.join(work['targets'])} ({work['layout']} layout in kerasft). {rows}: "
        f"{work['batch_size']} of up to {work['length']} tokens a step; "
        f"{work['supervised_tokens'] / work['tokens']:.0%} of the tokens supervised"
        f"{', blocks rematerialised' if work['remat'] else ''}."
    )


def _floor_line(floor: Mapping[str, Any], device: Mapping[str, Any]) -> str:
    rate = device["flops_per_second"]
    text = f"The floor: {floor['flops_per_row'] / 1e12:.3g} TFLOP a row"
    if floor["flops_per_full_step"]:
        step = floor["flops_per_full_step"]
        text += f", {step / 1e12:.3g} a step, {1000 * step / rate:.3g} ms"
    return f"{text} at the {rate / 1e12:.3g} TFLOP/s of a large {device['dtype']} product."
