"""`bench`: prepare the work once, run every contender in its own process, keep the numbers."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kerasft.bench import processes
from kerasft.bench.contenders import CONTENDERS, DEFAULT, Contender
from kerasft.bench.decoding import DecodeWork
from kerasft.bench.floor import step_flops
from kerasft.bench.shapes import Shape, shape_of
from kerasft.bench.work import Work, random_examples, supervised_tokens, write_examples
from kerasft.console import Reporter, SilentReporter
from kerasft.data.examples import Example
from kerasft.errors import KerasftError, ModelError
from kerasft.models.sources import describe_base
from kerasft.planning import trainable_parameters
from kerasft.recipe import Recipe, load
from kerasft.records import read_json, write_json
from kerasft.versions import versions


@dataclass(frozen=True)
class Request:
    """What was asked for; None stands for the recipe's setting, or for the default.

    Attributes:
        shape: random weights of this shape; None for the recipe's or the given preset.
        preset: real weights.
        recipe: whose rows are used, with `overrides`; None for random rows.
        contenders: names, in the order in which they run.
        batch_size: rows a step, without accumulation: packed ones where a contender packs.
        length: tokens a row; with a recipe, the most.
        supervised: share of a random row's tokens that is supervised.
        steps: measured steps; 0 for one epoch of the recipe's rows.
        timeout: seconds a contender may take.
    """

    shape: str | None = None
    preset: str | None = None
    recipe: str | None = None
    overrides: Mapping[str, Any] | None = None
    contenders: Sequence[str] = DEFAULT
    rank: int | None = None
    targets: Sequence[str] | None = None
    layout: str | None = None
    batch_size: int | None = None
    length: int | None = None
    supervised: float = 1.0
    remat: bool = False
    steps: int = 10
    warmup: int = 3
    dtype: str = "auto"
    timeout: float = 900.0


def bench(request: Request, out: Path, reporter: Reporter | None = None) -> dict[str, Any]:
    """Run a benchmark and write `bench.json` and the logs of the contenders into a folder.

    Returns:
        bench.json.

    Raises:
        KerasftError: the request cannot be prepared, or no contender finished.
    """
    reporter = reporter or SilentReporter()
    logs = processes.folder_for_logs(out)
    with tempfile.TemporaryDirectory(prefix="kerasft-bench-") as name:
        folder = Path(name)
        with reporter.working("Looking at the device"):
            device = measured_device(request.dtype, folder, logs)
        work, examples = _prepared(request, device["dtype"], reporter)
        write_examples(folder / "rows.npz", examples)
        record = _record(request, work, device, examples)
        folders: dict[str, processes.Ended] = {}
        for contender in (CONTENDERS[name] for name in request.contenders):
            with reporter.working(contender.title):
                entry = run_contender(contender, work, folder, logs, request.timeout, folders)
            record["contenders"].append(_judged(entry, record))
            write_json(out / "bench.json", record)
    if not any(entry["status"] == "ok" for entry in record["contenders"]):
        raise none_finished(record["contenders"], logs)
    return read_json(out / "bench.json")


def none_finished(contenders: Sequence[Mapping[str, Any]], logs: Path) -> KerasftError:
    """The error of a benchmark without a result: the contenders' reasons and their logs."""
    reasons = "; ".join(f"{each['name']}: {each['reason']}" for each in contenders)
    return KerasftError(f"no contender finished; {logs} has their output. {reasons}")


def measured_device(dtype: str, folder: Path, logs: Path) -> Mapping[str, Any]:
    """What `bench.device.measure` says, from a process of its own.

    Raises:
        KerasftError: it cannot be measured.
    """
    (folder / "device-request.json").write_text(json.dumps({"dtype": dtype}), "utf-8")
    ended = processes.run_worker("device", folder, logs / "device.log", timeout=300)
    if ended.status != "ok":
        raise KerasftError(f"the device could not be measured: {ended.reason}")
    return ended.result


def _prepared(request: Request, dtype: str, reporter: Reporter) -> tuple[Work, list[Example]]:
    if request.recipe is None:
        return _of_random_rows(request, dtype)
    from kerasft.preparation import prepare

    recipe = load(request.recipe, request.overrides or {})
    settings: dict[str, Any] = {}
    if request.length is not None:
        settings["train.sequence_length"] = request.length
    if request.preset is not None:
        settings["model.preset"] = request.preset
    recipe = _overridden(recipe, settings)
    examples = prepare(recipe, reporter).train.examples
    preset = None if request.shape else recipe.model.preset
    shape = shape_of(request.shape) if request.shape else shape_of_preset(recipe.model.preset)
    work = Work(
        family=shape.family,
        config=dict(shape.config),
        preset=preset,
        folder=None,
        dtype=dtype,
        layout=request.layout or recipe.lora.layout,
        rank=request.rank or recipe.lora.rank,
        targets=list(request.targets or recipe.lora.target_layers),
        batch_size=request.batch_size or recipe.train.batch_size,
        length=recipe.train.sequence_length,
        packing=recipe.train.packing,
        compile=recipe.train.compile,
        remat=request.remat,
        steps=request.steps,
        warmup=request.warmup,
    )
    return work, examples


def _overridden(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    from kerasft.recipe import override

    return override(recipe, settings) if settings else recipe


def _of_random_rows(request: Request, dtype: str) -> tuple[Work, list[Example]]:
    if request.preset is not None:
        shape = shape_of_preset(request.preset)
    else:
        shape = shape_of(request.shape or "gemma-2b")
    length = request.length or 512
    work = Work(
        family=shape.family,
        config=dict(shape.config),
        preset=request.preset,
        folder=None,
        dtype=dtype,
        layout=request.layout or "keras",
        rank=request.rank or 4,
        targets=list(request.targets or ("query", "value")),
        batch_size=request.batch_size or 8,
        length=length,
        packing=True,
        compile="auto",
        remat=request.remat,
        steps=request.steps,
        warmup=request.warmup,
    )
    rows = work.plan(0).total * work.batch_size
    vocabulary = work.config["vocabulary_size"]
    return work, random_examples(vocabulary, rows, length, request.supervised)


def shape_of_preset(preset: str) -> Shape:
    """The sizes of real weights, without them.

    Raises:
        ModelError: only a download would tell.
    """
    described = describe_base(preset)
    if described.family is None or described.config is None:
        raise ModelError(
            f"{preset} is not on this machine, so its shape is not known; load it once, as "
            "`kerasft generate` does, or take random weights with --shape"
        )
    return Shape(described.family, described.config)


def _record(
    request: Request, work: Work, device: Mapping[str, Any], examples: Sequence[Example]
) -> dict[str, Any]:
    """bench.json without contenders."""
    lengths = [len(example.token_ids) for example in examples]
    supervised = sum(map(supervised_tokens, examples))
    parameters = trainable_parameters(work.table, work.config, work.lora)
    flops = step_flops(work.table, work.config, lengths, supervised, parameters)
    per_row = flops / len(examples)
    return {
        "work": {
            "shape": request.shape or (None if work.preset else "gemma-2b"),
            "preset": work.preset,
            "recipe": request.recipe,
            "family": work.family,
            "base_parameters": work.table.parameters(work.config),
            "adapter_parameters": parameters,
            "layout": work.layout,
            "rank": work.rank,
            "targets": list(work.targets),
            "batch_size": work.batch_size,
            "length": work.length,
            "remat": work.remat,
            "steps": work.steps,
            "warmup": work.warmup,
            "rows": len(examples),
            "tokens": sum(lengths),
            "supervised_tokens": supervised,
        },
        "device": dict(device),
        "floor": {
            "flops_per_row": per_row,
            "seconds_per_row": per_row / device["flops_per_second"],
            "flops_per_full_step": None if request.recipe else per_row * work.batch_size,
        },
        "versions": versions(),
        "contenders": [],
    }


def run_contender(
    contender: Contender,
    work: Work | DecodeWork,
    folder: Path,
    logs: Path,
    timeout: float,
    folders: dict[str, processes.Ended],
    prefix: str = "",
) -> dict[str, Any]:
    """Run one contender; its numbers, or why there are none.

    Args:
        folder: has the rows or prompts; the work is written beside them.
        logs: gets the contender's output.
        timeout: seconds.
        folders: the Hugging Face folder of the work, once a contender needed it.
        prefix: of the names of the tasks.
    """
    entry = {"name": contender.name, "title": contender.title}
    if contender.missing:
        names = ", ".join(contender.missing)
        return {**entry, "status": "not installed", "reason": f"{names} not installed"}
    if contender.folder == "always" or (contender.folder == "real" and work.preset is not None):
        if "weights" not in folders:
            work.write(folder / "work.json")
            folders["weights"] = processes.run_worker(
                f"{prefix}weights", folder, logs / "weights.log", timeout
            )
        made = folders["weights"]
        if made.status != "ok":
            reason = f"its weights could not be written: {made.reason}"
            return {**entry, "status": "failed", "reason": reason}
        work = replace(work, folder=made.result["folder"])
    work.write(folder / "work.json")
    ended = processes.run_worker(
        prefix + contender.name, folder, logs / f"{contender.name}.log", timeout
    )
    return {**entry, "status": ended.status, "reason": ended.reason, **ended.result}


def _judged(entry: dict[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """A contender's entry with its share of the floor: of the time that its free steps took."""
    rate = entry.get("rows_per_second")
    share = rate * record["floor"]["seconds_per_row"] if rate else None
    return {**entry, "floor_share": share}
