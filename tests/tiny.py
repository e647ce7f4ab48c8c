"""Tiny random models of every family, built in memory.

Every tensor is random, norm scales included, so that a tensor left out, swapped
or transposed shows in the logits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasft.models.families import FAMILIES

VOCABULARY = 96
WINDOW = 8


def tiny_config(family: str) -> dict[str, Any]:
    """A KerasHub backbone config with grouped query heads and more than one kind of block."""
    common = {
        "vocabulary_size": VOCABULARY,
        "num_query_heads": 4,
        "num_key_value_heads": 2,
        "hidden_dim": 32,
    }
    gemma = {
        "head_dim": 16,
        "query_head_dim_normalize": True,
        "use_post_ffw_norm": False,
        "use_post_attention_norm": False,
        "attention_logit_soft_cap": None,
        "final_logit_soft_cap": None,
        "use_sliding_window_attention": False,
        "sliding_window_size": 4096,
        "layer_norm_epsilon": 1e-6,
    }
    post_norms = {"use_post_ffw_norm": True, "use_post_attention_norm": True}
    window = {"use_sliding_window_attention": True, "sliding_window_size": WINDOW}
    if family == "gemma":
        return common | gemma | {"num_layers": 2, "intermediate_dim": 96}
    if family == "gemma2":
        caps = {"attention_logit_soft_cap": 5.0, "final_logit_soft_cap": 3.0}
        # 32 hidden / 4 heads is not the head width: both ways to scale queries differ.
        scale = {"query_head_dim_normalize": False}
        sizes = {"num_layers": 3, "intermediate_dim": 96}
        return common | gemma | post_norms | window | caps | scale | sizes
    if family == "gemma3":
        return (
            common
            | gemma
            | post_norms
            | window
            | {
                "num_layers": 7,
                "intermediate_dim": 48,
                "use_query_key_norm": True,
                "local_rope_scaling_factor": 1.0,
                "global_rope_scaling_factor": 8.0,
            }
        )
    if family == "llama3":
        return common | {
            "num_layers": 2,
            "intermediate_dim": 48,
            "rope_max_wavelength": 500_000.0,
            "rope_position_scaling_factor": 1.0,
            "rope_frequency_adjustment_factor": 8.0,
            "rope_low_freq_factor": 1.0,
            "rope_high_freq_factor": 4.0,
            "rope_pretraining_sequence_length": 8192,
            "layer_norm_epsilon": 1e-5,
            "tie_word_embeddings": False,
        }
    raise ValueError(f"no tiny config for {family!r}")


def tiny_arrays(family: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Random float32 arrays in KerasHub's shapes, by canonical name."""
    return random_arrays(family, tiny_config(family), seed)


def random_arrays(family: str, config: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Random float32 arrays for a config: kernels of unit gain, norms far from constant."""
    generator = np.random.default_rng(seed)
    arrays = {}
    for spec in FAMILIES[family].tensors(config):
        values = generator.standard_normal(spec.shape).astype("float32")
        if spec.name.endswith("/scale"):
            values = 0.3 * values + (1.0 if family == "llama3" else 0.0)
        else:
            values *= spec.hf_shape[-1] ** -0.5
        arrays[spec.name] = values.astype("float32")
    return arrays


def tiny_causal_lm(family: str, seed: int = 0, dtype: str = "float32") -> Any:
    """A tiny random KerasHub causal LM without a preprocessor."""
    table, config = FAMILIES[family], tiny_config(family)
    causal_lm = table.build(config, dtype)
    for spec in table.tensors(config):
        spec.variable(causal_lm.backbone).assign(tiny_arrays(family, seed)[spec.name])
    return causal_lm


def tiny_tokens(length: int = 3 * WINDOW, batch: int = 2, seed: int = 1) -> np.ndarray:
    """Random token ids, int32 (batch, length), longer than the sliding window."""
    return np.random.default_rng(seed).integers(4, VOCABULARY, (batch, length)).astype("int32")


def keras_logits(causal_lm: Any, token_ids: np.ndarray) -> np.ndarray:
    """Logits of a live KerasHub model, float32 (batch, length, vocabulary)."""
    import keras

    inputs = {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    hidden = causal_lm.backbone(inputs)
    logits = causal_lm.backbone.token_embedding(hidden, reverse=True)
    return keras.ops.convert_to_numpy(keras.ops.cast(logits, "float32"))
