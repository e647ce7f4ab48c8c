"""`kerasft generate`: one answer as a stream, or a file of prompts in batches."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kerasft.backend import DEFAULT
from kerasft.cli.options import backend_option, json_option, recipe_option
from kerasft.cli.output import print_json, printable
from kerasft.errors import DataError, collected
from kerasft.records import plain, write_text
from kerasft.runs import is_run

if TYPE_CHECKING:
    from kerasft.engine.loaded import LoadedModel

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.argument("target", metavar="RUN_OR_MODEL")
@click.argument("prompt", metavar="[PROMPT|-]", required=False)
@click.option("--context", type=_FILE, help="File with the schema or passage for the prompt.")
@click.option("--file", type=_FILE, help="Prompts: one a line, or JSONL rows with their columns.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="JSONL file for the answers to --file."
)
@click.option(
    "--temperature",
    type=click.FloatRange(min=0),
    default=0.0,
    help="0 (default) takes the likeliest token; higher draws more freely.",
)
@click.option(
    "--top-k", type=click.IntRange(min=0), default=0, help="Draw from the K likeliest; 0: all."
)
@click.option(
    "--top-p",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    help="Draw from the likeliest that together have this probability.",
)
@click.option("--seed", type=int, default=0, help="Seed of the draws.")
@click.option(
    "--max-new-tokens",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    help="Longest answer.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Prompts of --file decoded together.",
)
@click.option("--raw", is_flag=True, help="Take the prompt as it is, without the template.")
@recipe_option(required=False, help="The recipe whose template a bare model is prompted with.")
@backend_option
@json_option
def generate(
    target: str,
    prompt: str | None,
    context: Path | None,
    file: Path | None,
    out: Path | None,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
    max_new_tokens: int,
    batch_size: int,
    raw: bool,
    recipe: str | None,
    backend: str | None,
    as_json: bool,
) -> None:
    """Answer a prompt (- reads it from the standard input), or a file of prompts.

    \b
    kerasft generate runs/sql-… "How many orders are there?" --context schema.sql
    kerasft generate runs/sql-… --file questions.jsonl --out answers.jsonl
    """
    if (prompt is None) == (file is None):
        raise click.UsageError("Give either a prompt, or --file.")
    if file is not None and context is not None:
        raise click.UsageError("With --file the context is a column of each row.")
    if out is not None and file is None:
        raise click.UsageError("--out goes with --file.")
    if raw and context is not None:
        raise click.UsageError("--raw takes the prompt as it is: it has no place for --context.")
    if not is_run(Path(target)) and recipe is None and not raw:
        raise click.UsageError(
            f"{target} is not a run, and a bare model has no prompt of its own: "
            "give --recipe, or --raw."
        )
    if file is not None:
        asked = read_prompts(file)
    else:
        asked = [click.get_text_stream("stdin").read() if prompt == "-" else prompt]
    model = _model(target, recipe, backend)

    from kerasft.engine.decode import Sampling
    from kerasft.generation import answer_rows, prompt_row, stream
    from kerasft.out_of_memory import explained
    from kerasft.tasks import TASKS

    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    passage = context.read_text("utf-8") if context else ""
    # A row of a file may leave its context out, as a prompt on the command line may.
    optional = dict.fromkeys(TASKS[model.task].PROMPT_COLUMNS[1:], "")
    rows = [
        {**optional, **row}
        if isinstance(row, Mapping)
        else (row if raw else prompt_row(model, row, passage))
        for row in asked
    ]
    shorter = f"fewer tokens than --max-new-tokens {max_new_tokens}"
    if file is None:
        pieces = []
        with explained("answering a prompt", lambda: ["try a shorter prompt", shorter]):
            for piece in stream(model, rows[0], max_new_tokens=max_new_tokens, sampling=sampling):
                pieces.append(piece)
                if not as_json:
                    click.echo(printable(piece).plain, nl=False)
        if as_json:
            print_json({"prompt": asked[0], "answer": "".join(pieces)})
        else:
            click.echo()
        return
    together = min(batch_size, len(rows))
    fewer = [f"try --batch-size {together // 2}"] if together > 1 else []
    with explained(f"answering {together} prompts together", lambda: [*fewer, shorter]):
        answers = answer_rows(
            model, rows, max_new_tokens=max_new_tokens, batch_size=batch_size, sampling=sampling
        )
    lines = [_line(row, answer) for row, answer in zip(asked, answers, strict=True)]
    if out is None:
        click.echo("\n".join(lines))
        return
    write_text(out, "\n".join(lines) + "\n")
    if as_json:
        print_json({"answers": len(lines), "file": str(out)})
    else:
        click.echo(f"{out}: {len(lines)} answers")


def read_prompts(file: Path) -> list[str | dict[str, Any]]:
    """The prompts of a file: rows of a `.jsonl`, else the lines that are not blank.

    Raises:
        DataError: not UTF-8, no prompt, or lines that are no JSON object; all at once.
    """
    try:
        lines = file.read_text("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8: {error}") from error
    asked: list[str | dict[str, Any]] = []
    faults = []
    for position, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if file.suffix != ".jsonl":
            asked.append(line.strip())
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            faults.append(f"line {position}: {error}")
            continue
        if isinstance(row, dict):
            asked.append(row)
        else:
            faults.append(f"line {position}: expected an object, got {type(row).__name__}")
    if faults:
        raise DataError(collected(f"{file} has faults", faults))
    if not asked:
        raise DataError(f"{file} has no prompt in it")
    return asked


def _model(target: str, recipe: str | None, backend: str | None) -> "LoadedModel":
    from kerasft.loading import load

    if is_run(Path(target)):
        return load(target, backend=backend)
    from kerasft import backend as backends
    from kerasft.data.prompts import template_for
    from kerasft.recipe import PromptSettings
    from kerasft.recipe import load as load_recipe

    if recipe is not None:
        chosen = load_recipe(recipe)
        prompt, task, dtype = chosen.prompt, chosen.task, chosen.model.dtype
    else:
        # With --raw nothing of a template is used but its stop token, here <eos>.
        prompt, task, dtype = PromptSettings(template="instruction"), "instruct", "auto"
    template = template_for(prompt, task)
    backends.select(backend or DEFAULT)

    from kerasft.engine.loaded import load_bare

    return load_bare(target, template, task, dtype=dtype)


def _line(row: str | Mapping[str, Any], answer: str) -> str:
    content = {"prompt": row} if isinstance(row, str) else dict(row)
    return json.dumps(plain({**content, "answer": answer}), ensure_ascii=False)
