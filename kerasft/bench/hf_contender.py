"""transformers + PEFT in a plain loop: rows padded to the longest of a batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from kerasft.bench import memory
from kerasft.bench.stopwatch import Counts, Stopwatch
from kerasft.bench.versions import versions_of
from kerasft.bench.weights import hf_config
from kerasft.bench.work import SEED, Work
from kerasft.data.examples import Example
from kerasft.hf.batches import padded, supervised
from kerasft.hf.models import (
    attention_for,
    folder_model,
    random_model,
    trained_parameters,
    with_lora,
)
from kerasft.hf.step import TrainStep, synchronise


def run(work: Work, examples: Sequence[Example], variant: str) -> dict[str, Any]:
    """Measure transformers + PEFT, `eager` or `compiled`."""
    settings = work.lora
    model = with_lora(
        base_model(work),
        work.table,
        work.config,
        rank=settings.rank,
        alpha=settings.rank * settings.scale,
        dropout=settings.dropout,
        targets=settings.target_layers,
    )
    if work.remat:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    step = TrainStep(model, work.train(), 1, compiled=variant == "compiled")
    return {
        **train(step, work, examples),
        "adapter_parameters": trained_parameters(model),
        "versions": versions_of("transformers", "peft", "torch"),
        "notes": [f"{attention_for(hf_config(work))} attention", _padding(examples)],
    }


def base_model(work: Work, attention: str | None = None) -> Any:
    """The model of a work: real weights of its folder, or random ones."""
    config = hf_config(work)
    if work.folder is not None:
        return folder_model(work.folder, config, work.dtype, attention)
    return random_model(config, work.dtype, SEED, attention)


def train(step: TrainStep, work: Work, examples: Sequence[Example]) -> dict[str, Any]:
    """Run the plan: epochs of rows in a random order, `batch_size` a step."""
    steps_per_epoch = -(-len(examples) // work.batch_size)
    plan = work.plan(steps_per_epoch)
    stopwatch = Stopwatch(plan, synchronise)
    generator = np.random.default_rng(SEED)
    first = last = torch.zeros(())
    memory.reset()
    stopwatch.start()
    while stopwatch.steps < plan.total:
        order = generator.permutation(len(examples))
        for start in range(0, len(order), work.batch_size):
            rows = [examples[row] for row in order[start : start + work.batch_size]]
            batch = padded(rows)
            last = step([batch])["loss"]
            if stopwatch.steps == 0:
                first = last
            tokens = int(batch["attention_mask"].sum())
            stopwatch.step(Counts(len(rows), tokens, supervised(batch)))
            if stopwatch.steps == plan.total:
                break
    return {
        **stopwatch.result(),
        "steps_per_epoch": steps_per_epoch,
        "first_loss": float(first),
        "last_loss": float(last),
        "peak_memory_bytes": memory.peak(),
    }


def _padding(examples: Sequence[Example]) -> str:
    lengths = {len(example.token_ids) for example in examples}
    return "no padding" if len(lengths) == 1 else "padded to the longest of a batch"
