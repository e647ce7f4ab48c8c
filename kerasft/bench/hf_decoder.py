"""transformers' `generate`, greedy, rows padded on the left."""

from typing import Any

import torch
from transformers import GenerationConfig

from kerasft.bench import memory
from kerasft.bench.decoding import DecodeWork, Decoding, Prompts, measure
from kerasft.bench.versions import versions_of
from kerasft.bench.weights import hf_config
from kerasft.bench.work import SEED
from kerasft.hf.models import attention_for, folder_model, random_model

PADDING = 0

WIDTH_STEP = 64
"""With a static cache, prompts are padded to multiples of this: each width is compiled."""


def run(work: DecodeWork, prompts: Prompts, variant: str) -> dict[str, Any]:
    """Measure `generate` with its `dynamic` cache, or with its `static` one.

    With a static cache it compiles the forward pass by itself, on an accelerator.
    """
    static = variant == "static"
    model = _model(work).eval()
    settings = GenerationConfig(
        max_new_tokens=work.max_new_tokens,
        do_sample=False,
        num_beams=1,
        eos_token_id=list(work.stop_ids),
        pad_token_id=PADDING,
        cache_implementation="static" if static else None,
    )

    def answer(batch: Prompts) -> list[list[int]]:
        longest = max(map(len, batch))
        width = -(-longest // WIDTH_STEP) * WIDTH_STEP if static else longest
        ids, mask = left_padded(batch, width)
        with torch.inference_mode():
            found = model.generate(
                ids.to(model.device),
                attention_mask=mask.to(model.device),
                generation_config=settings,
            )
        return [before_stop(row, work.stop_ids) for row in found[:, width:].tolist()]

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


def left_padded(batch: Prompts, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, int64 (rows, width) each."""
    ids = torch.full((len(batch), width), PADDING, dtype=torch.int64)
    mask = torch.zeros((len(batch), width), dtype=torch.int64)
    for row, prompt in enumerate(batch):
        ids[row, width - len(prompt) :] = torch.as_tensor(list(prompt))
        mask[row, width - len(prompt) :] = 1
    return ids, mask


def before_stop(tokens: list[int], stop_ids: Any) -> list[int]:
    """Tokens up to the first stop id; padding comes after it only."""
    end = next((at for at, token in enumerate(tokens) if token in stop_ids), len(tokens))
    return tokens[:end]


def _model(work: DecodeWork) -> Any:
    config = hf_config(work)
    if work.folder is not None:
        return folder_model(work.folder, config, work.dtype)
    return random_model(config, work.dtype, SEED)


def _reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    memory.reset()
