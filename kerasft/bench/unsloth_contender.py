"""Unsloth's model and kernels in the plain loop of the Hugging Face contenders."""

import os
import tempfile
from collections.abc import Sequence
from typing import Any

from kerasft.bench.versions import versions_of
from kerasft.bench.work import SEED, Work
from kerasft.data.examples import Example


def run(work: Work, examples: Sequence[Example], variant: str) -> dict[str, Any]:
    """Measure Unsloth on the folder of a work; its checkpointing where `remat` is set."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    # It writes Python files where it is started, unless it is told otherwise.
    os.environ["UNSLOTH_COMPILE_LOCATION"] = tempfile.mkdtemp(prefix="unsloth-")
    # It patches the libraries below, so it comes before them.
    from unsloth import FastLanguageModel  # isort: skip
    import torch

    from kerasft.bench.hf_contender import train
    from kerasft.hf.models import module_names, trained_parameters
    from kerasft.hf.step import TrainStep

    model, _ = FastLanguageModel.from_pretrained(
        model_name=work.folder,
        max_seq_length=work.length,
        dtype=getattr(torch, work.dtype),
        load_in_4bit=False,
        local_files_only=True,
    )
    settings = work.lora
    checkpointing = "unsloth" if work.remat else False
    model = FastLanguageModel.get_peft_model(
        model,
        r=settings.rank,
        lora_alpha=settings.rank,  # a scale of 1; it wants a whole number
        lora_dropout=settings.dropout,
        bias="none",
        target_modules=module_names(work.table, work.config, settings.target_layers),
        use_gradient_checkpointing=checkpointing,
        random_state=SEED,
    )
    FastLanguageModel.for_training(model, use_gradient_checkpointing=checkpointing)
    return {
        **train(TrainStep(model, work.train(), 1), work, examples),
        "adapter_parameters": trained_parameters(model),
        "versions": versions_of("unsloth", "unsloth_zoo", "transformers", "peft", "torch"),
        "notes": ["its own kernels", "padded to the longest of a batch"],
    }
