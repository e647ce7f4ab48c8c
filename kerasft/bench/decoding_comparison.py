"""`bench decode`: fill the prompts once, let every decoder answer them, compare the answers."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kerasft.bench import processes
from kerasft.bench.comparison import (
    measured_device,
    none_finished,
    run_contender,
    shape_of_preset,
)
from kerasft.bench.contenders import DECODE, DECODE_PEERS, DECODERS
from kerasft.bench.decoding import DecodeWork, Prompts, random_prompts, write_prompts
from kerasft.bench.shapes import shape_of
from kerasft.console import Reporter, SilentReporter
from kerasft.errors import KerasftError
from kerasft.recipe import Overrides, Recipe, load, override
from kerasft.records import read_json, write_json
from kerasft.runs import RunFolder, is_run
from kerasft.versions import versions

RANDOM_STOP = 1
"""The stop id of random prompts; random weights rarely give it, so answers are long."""


@dataclass(frozen=True)
class DecodeRequest:
    """What was asked for.

    Attributes:
        target: a run, or the preset of a bare model; None for random weights of `shape`.
        recipe: for a bare model: whose prompt and rows; a run has its own.
        overrides: of the recipe.
        data, split: rows instead of the recipe's held-out ones, as `kerasft eval` takes them.
        limit: rows at the most, 0 for all; of random prompts, how many.
        length: the longest of random prompts.
        contenders: names, in the order in which they run.
        batch_sizes: each is tried.
        max_new_tokens: the recipe's where not given; of random prompts 64.
        dtype: of the weights; `auto` is what the device has.
        timeout: seconds a contender may take.
    """

    target: str | None = None
    shape: str | None = None
    recipe: str | None = None
    overrides: Overrides = ()
    data: str | None = None
    split: str | None = None
    limit: int = 0
    length: int = 256
    contenders: Sequence[str] = tuple(DECODERS)
    batch_sizes: Sequence[int] = (64, 256)
    max_new_tokens: int | None = None
    dtype: str = "auto"
    timeout: float = 900.0


def bench_decoding(
    request: DecodeRequest, out: Path, reporter: Reporter | None = None
) -> dict[str, Any]:
    """Run the benchmark and write `bench.json` and the contenders' logs into a folder.

    Returns:
        bench.json.

    Raises:
        KerasftError: the request cannot be prepared, or no contender finished.
    """
    reporter = reporter or SilentReporter()
    logs = processes.folder_for_logs(out)
    with tempfile.TemporaryDirectory(prefix="kerasft-bench-") as name:
        folder = Path(name)
        with reporter.working("Filling the prompts"):
            prepared = _of_random_prompts(request) if request.target is None else _of_rows(request)
        work, prompts, described = prepared
        with reporter.working("Looking at the device"):
            device = measured_device(work.dtype, folder, logs)
        work = replace(work, dtype=device["dtype"])
        write_prompts(folder / "prompts.npz", prompts)
        record = {
            "work": {**described, **_described(work, prompts)},
            "device": dict(device),
            "versions": versions(),
            "contenders": [],
        }
        answers: dict[str, list[list[int]]] = {}
        folders: dict[str, processes.Ended] = {}
        for contender in (DECODERS[name] for name in request.contenders):
            with reporter.working(contender.title):
                entry = run_contender(
                    contender, work, folder, logs, request.timeout, folders, DECODE
                )
            found = entry.pop("answers", [])
            if entry["status"] == "ok" and entry["best"] is None:
                size = entry["batches"][0]["batch_size"]
                entry |= {"status": "failed", "reason": f"out of memory with {size} rows a batch"}
            elif entry["status"] == "ok":
                entry["equal_answers"] = equal_shares(found, answers) if work.preset else {}
                answers[contender.name] = found
            record["contenders"].append(entry)
            write_json(out / "bench.json", {**record, **against_peers(record["contenders"])})
    if not answers:
        raise none_finished(record["contenders"], logs)
    return read_json(out / "bench.json")


def equal_shares(
    answers: Sequence[Sequence[int]], others: Mapping[str, Sequence[Sequence[int]]]
) -> dict[str, float]:
    """By name of each other contender, the share of answers with the same tokens."""
    return {
        name: sum(map(_equal, answers, theirs)) / len(answers) for name, theirs in others.items()
    }


def against_peers(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The fastest of the peers at its best batch, and every contender's rate over its rate.

    Returns:
        `fastest_peer`, a name or None, and `times_fastest_peer` by name.
    """
    rates = {
        entry["name"]: entry["best"]["rows_per_second"] for entry in entries if entry.get("best")
    }
    peers = {name: rate for name, rate in rates.items() if name in DECODE_PEERS}
    if not peers:
        return {"fastest_peer": None, "times_fastest_peer": {}}
    fastest = max(peers, key=lambda name: peers[name])
    return {
        "fastest_peer": fastest,
        "times_fastest_peer": {name: rate / peers[fastest] for name, rate in rates.items()},
    }


def _equal(ours: Sequence[int], theirs: Sequence[int]) -> bool:
    return list(ours) == list(theirs)


def _of_rows(request: DecodeRequest) -> tuple[DecodeWork, Prompts, dict[str, Any]]:
    """The work and the prompts of a run or of a bare model with a recipe."""
    from kerasft.data.examples import encode_prompt
    from kerasft.data.prompts import Template, stop_ids
    from kerasft.evaluating.rows import rows_to_score
    from kerasft.models.adapter import read_info
    from kerasft.models.sources import load_tokenizer

    target = Path(str(request.target))
    run = RunFolder.open(target) if is_run(target) else None
    recipe = _recipe(request, run)
    chosen = rows_to_score(recipe, data=request.data, split=request.split, limit=request.limit)
    info = read_info(run.adapter) if run else None
    preset = info.preset if info else str(request.target)
    template = Template.from_dict(info.template) if info else chosen.template
    tokenizer = load_tokenizer(preset)
    prompts = [encode_prompt(row, template, tokenizer) for row in chosen.rows]
    shape = shape_of_preset(preset)
    work = DecodeWork(
        family=shape.family,
        config=dict(shape.config),
        preset=preset,
        adapter=str(run.adapter.resolve()) if run else None,
        folder=None,
        dtype=info.dtype if info and request.dtype == "auto" else request.dtype,
        batch_sizes=list(request.batch_sizes),
        max_new_tokens=request.max_new_tokens or recipe.eval.max_new_tokens,
        stop_ids=stop_ids(template, tokenizer),
    )
    return work, prompts, {"run": str(target) if run else None, "data": dict(chosen.described)}


def _recipe(request: DecodeRequest, run: RunFolder | None) -> Recipe:
    if request.recipe is not None:
        return load(request.recipe, request.overrides)
    if run is None:
        raise KerasftError(
            f"{request.target} is no run, and a bare model has no prompt of its own: give a run "
            "folder, or --recipe, whose prompt and rows it gets"
        )
    return override(run.recipe(), request.overrides)


def _of_random_prompts(request: DecodeRequest) -> tuple[DecodeWork, Prompts, dict[str, Any]]:
    name = request.shape or "gemma3-270m"
    shape = shape_of(name)
    work = DecodeWork(
        family=shape.family,
        config=dict(shape.config),
        preset=None,
        adapter=None,
        folder=None,
        dtype=request.dtype,
        batch_sizes=list(request.batch_sizes),
        max_new_tokens=request.max_new_tokens or 64,
        stop_ids=[RANDOM_STOP],
    )
    vocabulary = work.config["vocabulary_size"]
    prompts = random_prompts(vocabulary, request.limit or 256, request.length)
    return work, prompts, {"shape": name}


def _described(work: DecodeWork, prompts: Prompts) -> dict[str, Any]:
    lengths = [len(prompt) for prompt in prompts]
    return {
        "preset": work.preset,
        "family": work.family,
        "rows": len(prompts),
        "prompt_tokens": sum(lengths),
        "longest_prompt": max(lengths),
        "batch_sizes": list(work.batch_sizes),
        "max_new_tokens": work.max_new_tokens,
        "stop_ids": list(work.stop_ids),
    }
