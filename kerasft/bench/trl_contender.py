"""TRL's SFTTrainer as people use it: its packing where rows differ in length."""

import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from kerasft.bench import memory
from kerasft.bench.hf_contender import base_model
from kerasft.bench.stopwatch import Counts, Stopwatch
from kerasft.bench.versions import versions_of
from kerasft.bench.weights import hf_config
from kerasft.bench.work import CLIP_NORM, LEARNING_RATE, SEED, Work
from kerasft.data.examples import Example
from kerasft.hf.batches import IGNORED
from kerasft.hf.models import (
    attention_for,
    lora_config,
    placeholder_tokenizer,
    trained_parameters,
)
from kerasft.hf.step import synchronise


def run(work: Work, examples: Sequence[Example], variant: str) -> dict[str, Any]:
    """Measure TRL.

    Args:
        variant: `flex` for FlexAttention; else FlashAttention 2 where it is installed, and
            what transformers has without it.
    """
    attention = _attention(work, variant)
    packs = work.packing and len({len(example.token_ids) for example in examples}) > 1
    settings = work.lora
    with tempfile.TemporaryDirectory() as folder:
        trainer = _Trainer(
            model=base_model(work, attention),
            args=_config(work, folder, packs),
            train_dataset=_dataset(examples),
            processing_class=placeholder_tokenizer(),
            peft_config=lora_config(
                work.table,
                work.config,
                rank=settings.rank,
                alpha=settings.rank * settings.scale,
                dropout=settings.dropout,
                targets=settings.target_layers,
            ),
        )
        steps_per_epoch = -(-len(trainer.train_dataset) // work.batch_size)
        plan = work.plan(steps_per_epoch)
        trainer.args.max_steps = plan.total
        stopwatch = Stopwatch(plan, synchronise)
        counts: deque[Counts] = deque()
        trainer.data_collator = _counting(trainer.data_collator, counts)
        trainer.add_callback(_timing(stopwatch, counts))
        memory.reset()
        trainer.train()
    return {
        **stopwatch.result(),
        "steps_per_epoch": steps_per_epoch,
        "adapter_parameters": trained_parameters(trainer.model),
        "first_loss": float(trainer.losses[0]),
        "last_loss": float(trainer.losses[1]),
        "peak_memory_bytes": memory.peak(),
        "versions": versions_of("trl", "transformers", "peft", "torch"),
        "notes": [f"{attention} attention", "packed, padding-free" if packs else "padded"],
    }


class _Trainer(SFTTrainer):
    """Keeps the losses of the first and of the newest step, on the device."""

    losses: tuple[torch.Tensor, ...] = ()

    def training_step(self, *arguments: Any, **options: Any) -> torch.Tensor:
        loss = super().training_step(*arguments, **options)
        self.losses = (*self.losses[:1], loss) if self.losses else (loss, loss)
        return loss


def _attention(work: Work, variant: str) -> str:
    if variant == "flex":
        return "flex_attention"
    if find_spec("flash_attn") is not None and torch.cuda.is_available():
        return "flash_attention_2"
    return attention_for(hf_config(work))


def _config(work: Work, folder: str, packs: bool) -> SFTConfig:
    return SFTConfig(
        output_dir=folder,
        per_device_train_batch_size=work.batch_size,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=CLIP_NORM,
        optim="adamw_torch_fused" if torch.cuda.is_available() else "adamw_torch",
        bf16=work.dtype == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=work.remat,
        packing=packs,
        packing_strategy="bfd",
        max_length=work.length,
        logging_steps=10,  # TRL's own number: losses are read back this often
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=SEED,
    )


def _dataset(examples: Sequence[Example]) -> Dataset:
    """Token ids with labels, which TRL takes as they are."""
    return Dataset.from_dict(
        {
            "input_ids": [example.token_ids.tolist() for example in examples],
            "labels": [
                [
                    token if weight else IGNORED
                    for token, weight in zip(
                        example.token_ids.tolist(), example.loss_weights.tolist(), strict=True
                    )
                ]
                for example in examples
            ],
        }
    )


def _counting(collate: Any, counts: deque[Counts]) -> Any:
    """A collator that notes what it was given; batches come to the step in this order."""

    def counted(features: Sequence[Mapping[str, Any]]) -> Any:
        lengths = [
            length
            for feature in features
            for length in feature.get("seq_lengths") or [len(feature["input_ids"])]
        ]
        labels = [label for feature in features for label in feature["labels"]]
        starts = [0]
        for length in lengths:
            starts.append(starts[-1] + length)
        counts.append(
            Counts(
                len(lengths),
                sum(lengths),
                sum(label != IGNORED for label in labels)
                - sum(labels[start] != IGNORED for start in starts[:-1]),
            )
        )
        return collate(features)

    return counted


def _timing(stopwatch: Stopwatch, counts: deque[Counts]) -> TrainerCallback:
    class Timing(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **other: Any) -> None:
            stopwatch.start()

        def on_step_end(self, args: Any, state: Any, control: Any, **other: Any) -> None:
            stopwatch.step(counts.popleft())

    return Timing()
