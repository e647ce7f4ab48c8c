"""Hugging Face copies of the tiny models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from kerasft.models.families import FAMILIES
from tests.tiny import random_arrays, tiny_config


def hf_state(family: str, config: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """The tiny model's arrays under Hugging Face names and in Hugging Face layout."""
    arrays = random_arrays(family, config, seed)
    return {s.hf: s.to_hf(arrays[s.name]).copy() for s in FAMILIES[family].tensors(config)}


def hf_model(family: str, folder: Path, config: dict[str, Any] | None = None, seed: int = 0) -> Any:
    """The tiny model in transformers, made from the config.json that we write."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = config or tiny_config(family)
    written = FAMILIES[family].hf_config(
        config, dtype="float32", bos_id=2, eos_ids=[1, 5], pad_id=0
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(written))
    model = AutoModelForCausalLM.from_config(
        AutoConfig.from_pretrained(folder), attn_implementation="eager"
    ).eval()
    state = {name: torch.from_numpy(a) for name, a in hf_state(family, config, seed).items()}
    left = model.load_state_dict(state, strict=False)
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    assert set(left.missing_keys) <= tied and not left.unexpected_keys, left
    model.tie_weights()
    return model


def hf_logits(model: Any, token_ids: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        return model(torch.from_numpy(token_ids.astype("int64"))).logits.float().numpy()
