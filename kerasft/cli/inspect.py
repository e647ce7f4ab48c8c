"""`kerasft inspect`: what a recipe will train on, token by token."""

from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from kerasft.cli.options import json_option, recipe_option, set_option
from kerasft.cli.output import console, number, print_json, printable, table
from kerasft.errors import DataError, collected
from kerasft.inspection import Inspection, Sample, Split, histogram

_BAR = 40  # columns of the longest bar
_TRAINED = ("green", "bright_green")  # in turn, so that token edges show
_CONTEXT = ("grey50", "grey62")


@click.command()
@recipe_option(required=True, help="Recipe whose rows, template and model are looked at.")
@click.option("--data", metavar="FILE", help="Other rows than the recipe's.")
@set_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where inspect.json and lengths.png go; runs/inspect-RECIPE where not given.",
)
@json_option
def inspect(
    recipe: str, data: str | None, overrides: tuple[str, ...], out: Path | None, as_json: bool
) -> None:
    """Show lengths, tokens by loss weight, dropped rows and leaks of a recipe's data.

    Fails when a row has no trained token, a second BOS, an untrained stop token or a
    cut answer. Only the tokenizer of the model is loaded.
    """
    from kerasft.inspection import inspect as run
    from kerasft.inspection import lengths_plot
    from kerasft.models.sources import load_tokenizer
    from kerasft.recipe import load
    from kerasft.records import write_json

    settings = load(recipe, overrides)
    if data is not None:
        settings = settings.model_copy(
            update={"data": settings.data.model_copy(update={"source": data})}
        )
    found = run(settings, load_tokenizer(settings.model.preset))
    folder = out or Path("runs") / f"inspect-{Path(recipe).stem}"
    write_json(folder / "inspect.json", found.to_dict())
    lengths_plot(found.splits, found.sequence_length, folder / "lengths.png")
    if as_json:
        print_json({**found.to_dict(), "out": str(folder)})
        if found.faults:
            raise click.exceptions.Exit(1)
        return
    _print(found, console())
    click.echo(f"\nWritten to {folder}: inspect.json, lengths.png")
    if found.faults:
        raise DataError(collected(f"{recipe} would not train what it should", found.faults))


def _print(found: Inspection, out: Console) -> None:
    for sample in found.samples:
        out.print(_sample(sample, out.color_system is not None))
        out.print()
    for split in found.splits:
        out.print(_lengths(split, found.sequence_length))
    rows = [
        [
            split.name,
            number(split.rows),
            number(split.examples),
            number(sum(split.dropped.values())),
            number(split.trimmed),
            number(split.tokens),
            f"{number(split.supervised_tokens)} ({split.supervised_tokens / split.tokens:.0%})",
        ]
        for split in found.splits
    ]
    names = ["", "rows ", "used ", "dropped ", "trimmed ", "tokens ", "trained tokens "]
    out.print(table("", names, rows))
    for split in found.splits:
        for reason, count in split.dropped.items():
            out.print(printable(f"{split.name}: {number(count)} rows dropped, {reason}"))
    out.print(printable(_summary(found)))


def _summary(found: Inspection) -> str:
    lines = [
        f"source: {found.source}, {number(found.counts['rows'])} rows, {found.content_hash[:23]}…",
        "columns: " + ", ".join(f"{name} = {source}" for name, source in found.columns.items()),
        f"stop: {found.stop[0]} is trained; generation ends on {' or '.join(found.stop)}",
        _packing(found),
        f"steps an epoch: {number(found.steps_per_epoch)}, in {len(found.shapes)} "
        f"{'shape' if len(found.shapes) == 1 else 'shapes'}: {_shapes(found)}",
        f"asked twice within the source: {number(found.counts['repeated'])} rows",
    ]
    lines += [
        f"training rows that {name} asks too: {number(count)}"
        for name, count in found.shared.items()
    ]
    return "\n".join(lines)


def _packing(found: Inspection) -> str:
    padding = f"{found.padding_share:.1%} of the tokens are padding"
    if found.packed_rows is None:
        return f"packing: off, rows of like length beside each other; {padding}"
    examples = found.splits[0].examples
    return (
        f"packing: {number(examples)} examples in {number(found.packed_rows)} rows, "
        f"{examples / found.packed_rows:.1f} a row; {padding}"
    )


def _shapes(found: Inspection) -> str:
    return ", ".join(
        f"{windows} of {accumulation} × {rows} × {length} tokens, {gathered} with logits"
        for (accumulation, rows, length, gathered), windows in found.shapes.items()
    )


def _sample(sample: Sample, colored: bool) -> Text:
    """A row with its trained tokens marked: green in colour, in ⟦ ⟧ without."""
    trained = sum(token.weight for token in sample.tokens)
    text = Text(
        f"{sample.split} row {sample.row}: {len(sample.tokens)} tokens, {trained} trained\n"
    )
    text.stylize("bold")
    before = 0
    for place, token in enumerate(sample.tokens):
        if not colored and token.weight != before:
            text.append("⟦" if token.weight else "⟧")
        before = token.weight
        style = (_TRAINED if token.weight else _CONTEXT)[place % 2] if colored else ""
        text.append(printable(token.text.replace("\n", "↵\n")).plain, style)
    return text.append("⟧") if before and not colored else text


def _lengths(split: Split, limit: int) -> Text:
    """The histogram of a split as bars; those over the limit in red, or with a `!`."""
    counts, edges = histogram(split.lengths)
    quantiles = ", ".join(f"{name} {number(value)}" for name, value in split.quantiles.items())
    text = Text(f"{split.name}: tokens a row ({quantiles}; limit {number(limit)})\n", "bold")
    for count, start, end in zip(counts, edges, edges[1:], strict=False):
        over = start > limit
        bar = "█" * round(_BAR * count / max(counts)) or ("▏" if count else "")
        line = f"{start:>6}–{end - 1:<6} {bar} {number(count)}{' !' if over else ''}\n"
        text.append(line, "red" if over else "default")
    return text
