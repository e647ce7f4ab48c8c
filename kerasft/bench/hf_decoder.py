"""transformers' `generate`, greedy, rows padded on the left."""

from typing import Any

import torch

from kerasft.bench import memory
from kerasft.bench.decoding import DecodeWork, Decoding, Prompts, measure
from kerasft.bench.versions import versions_of
from kerasft.bench.weights import hf_config
from kerasft.bench.work import SEED
from kerasft.hf.answers import greedy
from kerasft.hf.models import attention_for, folder_model, random_model

WIDTH_STEP = 64
"""With a static cache, prompts are padded to multiples of this: each width is compiled."""


def run(work: DecodeWork, prompts: Prompts, variant: str) -> dict[str, Any]:
    """Measure `generate` with its `dynamic` cache, or with its `static` one.

    With a static cache it compiles the forward pass by itself, on an accelerator.
    """
    static = variant == "static"
    model = _model(work).eval()

    def answer(batch: Prompts) -> list[list[int]]:
        longest = max(map(len, batch))
        return greedy(
            model,
            batch,
            work.max_new_tokens,
            work.stop_ids,
            width=-(-longest // WIDTH_STEP) * WIDTH_STEP if static else longest,
            cache="static" if static else None,
        )

    return measure(
        work,
        prompts,
        Decoding(
            answer,
            fill=static,
            reset_peak=_reset_peak,
            peak=memory.peak,
            notes=[
                f"{attention_for(hf_config(work))} attention",
                *(["adapter merged into the weights"] if work.adapter else []),
            ],
            versions=versions_of("transformers", "torch"),
        ),
    )


def _model(work: DecodeWork) -> Any:
    config = hf_config(work)
    if work.folder is not None:
        return folder_model(work.folder, config, work.dtype)
    return random_model(config, work.dtype, SEED)


def _reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    memory.reset()
