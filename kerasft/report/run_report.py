"""What a run's report says: its contents as a document."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from kerasft.backend import DEFAULT as DEFAULT_BACKEND
from kerasft.engines import DEFAULT, train_options
from kerasft.export.card_facts import hub_base, public_name
from kerasft.export.card_scores import scores, sides
from kerasft.recipe import fields, to_toml
from kerasft.report.document import (
    Block,
    Cell,
    Code,
    Document,
    Example,
    Notice,
    Paragraph,
    Plots,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
)
from kerasft.report.public import public_command, public_sentence
from kerasft.report.run_contents import RunContents
from kerasft.report.run_plots import training_plots
from kerasft.report.run_scores import evaluation_section
from kerasft.report.scores import headline, readable
from kerasft.report.words import count, duration, gibibytes
from kerasft.versions import versions

SAMPLES = 3
"""Held-out rows that are not folded."""


def run_document(run: RunContents) -> Document:
    """The report of a run."""
    blocks: list[Block] = [*_notices(run), Tiles(_tiles(run)), _training(run)]
    blocks += [evaluation_section(each) for each in run.evaluations]
    if not run.evaluations:
        text = "No evaluation yet: `kerasft eval RUN --base` adds one, and writes this page again."
        blocks.append(Section("Scores", [Paragraph(text)]))
    blocks += [
        *_samples(run),
        _data(run),
        _recipe(run),
        _surroundings(run),
        Section("Do it again", [Code("\n".join(reproduce(run)), "sh")]),
    ]
    name = run.record.get("name") or "run"
    return Document(
        title=f"{name}: {run.name}",
        verdict=verdict(run),
        blocks=blocks,
        foot=f"Written by kerasft {versions().get('kerasft', '')}".rstrip()
        + " from the run's own files.",
    )


def verdict(run: RunContents) -> str:
    """What came out, in a sentence or two."""
    record = run.record
    preset = (record.get("base") or {}).get("preset") or (run.recipe and run.recipe.model.preset)
    what = f"Training {_public_preset(preset)}" if preset else "Training"
    text = f"{what} {_how_far(run)}"
    validation = record.get("validation")
    if validation and validation.get("best") is not None:
        text += (
            f" On held-out rows the loss went from {validation['before']:.3f} to "
            f"{validation['best']:.3f}."
        )
    for each in run.evaluations:
        clause = headline(each.result)
        if clause:
            rows = count(each.result.get("rows"), "row")
            text += f" On {rows} ({each.name}), {clause}."
    return text


def _how_far(run: RunContents) -> str:
    record = run.record
    steps, device = record.get("steps") or len(run.lines), _device(record)
    if not run.lines:
        return f"{_STATES[run.status]} before the first step."
    first, last = run.lines[0]["loss"], run.lines[-1]["loss"]
    text = f"took the loss from {first:.3f} to {last:.3f} in {count(steps, 'step')}"
    if record.get("seconds"):
        text += f" and {duration(record['seconds'])}"
    if device:
        text += f" on {device}"
    if run.status != "finished":
        planned = record.get("planned_steps")
        text += f", and {_STATES[run.status]}"
        text += f"; {count(planned, 'step')} were planned" if planned else ""
    return f"{text}."


_STATES = {
    "stopped": "was stopped",
    "failed": "failed",
    "killed": "was killed",
    "running": "goes on",
    "finished": "ended",
}


def _notices(run: RunContents) -> Iterator[Notice]:
    why = public_sentence(str(run.record.get("why") or ""))
    if run.status == "failed":
        yield Notice("bad", "This run failed.", [why] if why else [])
    elif run.status == "killed":
        text = "This run was killed: its record says running, and no process has it."
        yield Notice("bad", text, ["`kerasft train --resume RUN` goes on with it."])
    elif run.status == "running":
        yield Notice("warning", "This run is still training; what stands here is so far.")
    elif run.status == "stopped":
        yield Notice("warning", "This run was stopped before its end.", [why] if why else [])
    elif why:
        yield Notice("plain", why)
    if run.faults:
        lines = [public_sentence(fault) for fault in run.faults]
        yield Notice("warning", "Not everything of this run could be read.", lines)
    for key, text in (
        ("spikes", "loss stands out from those before"),
        ("skipped", "update was not finite and was left out"),
    ):
        found = run.record.get(key) or []
        if found:
            steps = ", ".join(f"{each['step']:,}" for each in found[:10])
            more = " and more" if len(found) > 10 else ""
            yield Notice("warning", f"{count(len(found), 'step')} whose {text}: {steps}{more}.")


def _tiles(run: RunContents) -> list[Tile]:
    record, found = run.record, []
    if run.lines:
        first, last = run.lines[0]["loss"], run.lines[-1]["loss"]
        found.append(Tile("training loss", f"{first:.3f} → {last:.3f}", "first step → last step"))
    validation = record.get("validation")
    if validation and validation.get("best") is not None:
        text = f"{validation['before']:.3f} → {validation['best']:.3f}"
        found.append(Tile("validation loss", text, f"best at step {validation['best_step']:,}"))
    found += _score_tiles(run)
    if record.get("seconds"):
        below = "loading and validation left out"
        found.append(Tile("training time", duration(record["seconds"]), below))
    if record.get("tokens_per_second"):
        text = f"{record['tokens_per_second']:,.0f}"
        found.append(Tile("tokens/s", text, "median after the first step"))
    if record.get("peak_memory_bytes"):
        found.append(Tile("peak memory", gibibytes(record["peak_memory_bytes"]), _device(record)))
    parameters = record.get("parameters") or {}
    if parameters.get("trained"):
        below = f"of {parameters['base'] + parameters['trained']:,}"
        found.append(Tile("trained parameters", f"{parameters['trained']:,}", below))
    return found


def _score_tiles(run: RunContents) -> Iterator[Tile]:
    for each in run.evaluations[:2]:
        shown = {side: next(scores(found), None) for side, found in sides(each.result).items()}
        side, first = next(iter(shown.items()), ("", None))
        if first is None:
            continue
        base = shown.get("base") if side == "tuned" else None
        below = f"{each.name}: {first.shown()[2]}" + (f"; base {base.shown()[1]}" if base else "")
        yield Tile(readable(first.name), first.shown()[1], below)


def _training(run: RunContents) -> Section:
    record, blocks = run.record, []
    if run.lines:
        blocks.append(Plots(training_plots(run)))
    else:
        blocks.append(Paragraph("No step was done, so there is no curve."))
    rows = [
        ("status", run.status),
        ("steps", _of(record.get("steps") or len(run.lines), record.get("planned_steps"))),
        ("started, UTC", _time(record.get("started"))),
        ("ended, UTC", _time(record.get("finished"))),
        ("tokens trained on", _number(record.get("tokens"))),
        ("of them supervised", _number(record.get("supervised_tokens"))),
        ("time to the first step's end", _seconds(record.get("first_step_seconds"))),
        ("compilations", _compilations(record.get("compilations"))),
        ("share of time waiting for input", _share(record.get("input_wait_share"))),
        ("share of places that are padding", _share(record.get("padding_share"))),
        ("blocks computed again (remat)", record.get("remat")),
    ]
    blocks.append(Table("How the run went", ["", ""], [[k, str(v)] for k, v in rows if v]))
    return Section("Training", blocks)


def _samples(run: RunContents) -> Iterator[Section]:
    samples = run.record.get("samples") or []
    if not samples:
        return
    shown = [
        Example(
            str(sample.get("prompt", "")),
            [
                Text(label, str(sample[key]))
                for label, key in (
                    ("known answer", "expected"),
                    ("before training", "before"),
                    ("after training", "after"),
                )
                if key in sample
            ],
        )
        for sample in samples
    ]
    blocks: list[Block] = list(shown[:SAMPLES])
    if len(shown) > SAMPLES:
        more = count(len(shown) - SAMPLES, "more row")
        blocks.append(Section(more, shown[SAMPLES:], folded=True))
    yield Section("Held-out rows, answered before and after training", blocks)


def _data(run: RunContents) -> Section:
    data = run.record.get("data") or {}
    if not data:
        return Section("Data", [Paragraph("The run ended before its rows were recorded.")])
    rows = [
        ["source", public_sentence(str(data.get("source")))],
        ["content hash", str(data.get("content_hash"))],
        ["rows trained on", _number(data.get("rows"))],
        ["held-out rows", _number(data.get("validation_rows"))],
        ["tokens an epoch", _number(data.get("tokens"))],
        ["of them supervised", _number(data.get("supervised_tokens"))],
        ["packed rows", _number(data.get("packed_rows"))],
        *([f"left out: {why}", _number(n)] for why, n in (data.get("dropped") or {}).items()),
        ["trimmed to the schema", _number(data.get("trimmed"))],
    ]
    lengths = data.get("lengths")
    if lengths:
        median, longest = lengths["median"], lengths["longest"]
        text = f"{median:,} median, {lengths['p95']:,} at 95 %, {longest:,} longest"
        rows.append(["tokens a row", text])
    return Section("Data", [Table("What it was trained on", ["", ""], [r for r in rows if r[1]])])


def _recipe(run: RunContents) -> Section:
    if run.recipe is None:
        return Section("Recipe", [Paragraph("The recipe cannot be read.")])
    rows = [
        [path, Cell(_toml(value), strong=True), default]
        for path, value, default in recipe_differences(run)
    ]
    return Section(
        "Recipe",
        [
            Table("Settings that are not the defaults", ["", "here", "default"], rows),
            Section("The whole recipe", [Code(to_toml(run.recipe), "toml")], folded=True),
        ],
    )


def recipe_differences(run: RunContents) -> list[tuple[str, Any, str]]:
    """Settings that differ from their default: name, value, and the default as text."""
    if run.recipe is None:
        return []
    values, found = run.recipe.model_dump(), []
    for path, _, default, _ in fields():
        value: Any = values
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if value != default and value is not None:
            shown = "(required)" if default == "required" else _toml(default)
            found.append((path, value, shown))
    return found


def _surroundings(run: RunContents) -> Section:
    record = run.record
    base = record.get("base") or {}
    rows = [
        ["engine", " on ".join(filter(None, (record.get("engine"), record.get("backend"))))],
        ["device", _device(record)],
        ["type of the base", record.get("dtype") or ""],
        ["seed", str(record.get("seed", ""))],
        ["base", _public_preset(base.get("preset") or "")],
        ["base's fingerprint", str(base.get("fingerprint") or "")],
    ]
    if run.licence is not None:
        rows.append(["base's licence", run.licence.name])
    rows += [[name, number] for name, number in (record.get("versions") or {}).items()]
    blocks: list[Block] = [Table("What ran where", ["", ""], [row for row in rows if row[1]])]
    if run.licence is not None:
        blocks.append(Paragraph(f"The base's terms: {run.licence.page}. {run.licence.asks}"))
    return Section("Versions, device and base", blocks)


def reproduce(run: RunContents) -> list[str]:
    """Commands that train and score it again; the recipe is the one on the page."""
    record = run.record
    number = (record.get("versions") or {}).get("kerasft")
    lines = [f"pip install kerasft=={number}"] if number else []
    options = train_options(
        record.get("engine") or DEFAULT, record.get("backend") or DEFAULT_BACKEND
    )
    lines.append(" ".join(["kerasft train --recipe recipe.toml", *options, "--out RUN"]))
    for each in run.evaluations:
        command = public_command(str(each.result.get("command") or ""))
        lines.append(command.replace(f" {run.name} ", " RUN ") or "kerasft eval RUN --base")
    return lines


def _public_preset(preset: str) -> str:
    name = public_name(preset)
    base = hub_base(preset)
    return f"{name} ({base})" if base and base != name and not name.startswith("hf://") else name


def _device(record: Mapping[str, Any]) -> str:
    device = record.get("device") or {}
    return str(device.get("name") or device.get("kind") or "")


def _toml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if value is not None else "not set"


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else ""


def _seconds(value: float | None) -> str:
    return "" if value is None else duration(value)


def _time(value: Any) -> str:
    """ISO 8601 as people read it."""
    return str(value or "").removesuffix("+00:00").replace("T", " ")


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _of(done: int, planned: int | None) -> str:
    return f"{done:,} of {planned:,}" if planned else f"{done:,}"


def _compilations(found: Mapping[str, Any] | None) -> str:
    if not found:
        return ""
    return f"{found['count']:,} in {duration(found['seconds'])}" if found["count"] else "none"
