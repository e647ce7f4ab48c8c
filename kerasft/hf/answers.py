"""Greedy answers by transformers' `generate`, rows padded on the left."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig

PADDING = 0

Prompts = Sequence[Sequence[int]]


def greedy(
    model: Any,
    prompts: Prompts,
    max_new_tokens: int,
    stop_ids: Sequence[int],
    *,
    width: int | None = None,
    cache: str | None = None,
) -> list[list[int]]:
    """Continuations, without the prompt and the stop token.

    Args:
        model: a causal LM in `eval` mode, with or without an adapter.
        prompts: token ids of each.
        max_new_tokens: tokens at the most.
        stop_ids: tokens that end a row.
        width: that prompts are padded to; the longest of them where not given.
        cache: transformers' `cache_implementation`; its own where not given.
    """
    width = width or max(map(len, prompts))
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        eos_token_id=list(stop_ids),
        pad_token_id=PADDING,
        cache_implementation=cache,
    )
    ids, mask = left_padded(prompts, width)
    with torch.inference_mode():
        found = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=settings,
        )
    return [before_stop(row, stop_ids) for row in found[:, width:].tolist()]


def left_padded(prompts: Prompts, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, int64 (rows, width) each."""
    ids = torch.full((len(prompts), width), PADDING, dtype=torch.int64)
    mask = torch.zeros((len(prompts), width), dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.as_tensor(list(prompt))
        mask[row, width - len(prompt) :] = 1
    return ids, mask


def before_stop(tokens: list[int], stop_ids: Sequence[int]) -> list[int]:
    """Tokens up to the first stop id; padding comes after it only."""
    end = next((at for at, token in enumerate(tokens) if token in stop_ids), len(tokens))
    return tokens[:end]
