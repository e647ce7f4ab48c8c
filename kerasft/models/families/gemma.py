"""Gemma and Gemma 2, which KerasHub builds from one backbone class.

Sources: the published configurations of the two families, and KerasHub's
GemmaBackbone, whose `intermediate_dim` is twice the feed-forward width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kerasft.models.architecture import inverse_frequencies
from kerasft.models.families.base import NOT_IN_LLAMA_CPP, ConfigReader
from kerasft.models.families.gemma_like import (
    NORM_EPSILON,
    GemmaLike,
    check_layer_types,
    layer_types,
    soft_cap,
)

if TYPE_CHECKING:
    from kerasft.models.gguf import GgufFile

ROPE_THETA = 10_000.0


class Gemma(GemmaLike):
    """Gemma 1, 1.1 and CodeGemma."""

    name = "gemma"
    backbone_class = "GemmaBackbone"
    causal_lm_class = "GemmaCausalLM"
    model_types = ("gemma",)
    gguf_architecture = "gemma"
    config_keys = (
        "vocabulary_size",
        "num_layers",
        "num_query_heads",
        "num_key_value_heads",
        "hidden_dim",
        "intermediate_dim",
        "head_dim",
        "query_head_dim_normalize",
        "use_post_ffw_norm",
        "use_post_attention_norm",
        "attention_logit_soft_cap",
        "final_logit_soft_cap",
        "use_sliding_window_attention",
        "sliding_window_size",
        "layer_norm_epsilon",
    )
    keras_defaults: ClassVar[Mapping[str, Any]] = {
        "query_head_dim_normalize": True,
        "use_post_ffw_norm": False,
        "use_post_attention_norm": False,
        "attention_logit_soft_cap": None,
        "final_logit_soft_cap": None,
        "use_sliding_window_attention": False,
        "sliding_window_size": 4096,
        "layer_norm_epsilon": NORM_EPSILON,
    }
    saved_layers: ClassVar[Mapping[str, str]] = {
        "token_embedding": "reversible_embedding",
        "transformer_layers": "gemma_decoder_block",
        "layer_norm": "rms_normalization",
    }
    norms = (
        ("pre_attention_norm", "pre_attention_norm", "input_layernorm", "attn_norm"),
        ("pre_ffw_norm", "pre_ffw_norm", "post_attention_layernorm", "ffn_norm"),
    )

    def owns(self, values: Mapping[str, Any]) -> bool:
        return not values.get("use_post_attention_norm")

    def feed_forward(self, config: Mapping[str, Any]) -> int:
        return config["intermediate_dim"] // 2

    def max_positions(self, config: Mapping[str, Any]) -> int:
        return 8192

    def inverse_frequencies(self, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
        frequencies = inverse_frequencies(config["head_dim"], ROPE_THETA)
        return {"local": frequencies, "global": frequencies}

    def config_from_hf(self, hf: Mapping[str, Any]) -> dict[str, Any]:
        reader = ConfigReader(hf, f"This {self.name} config.json")
        config = self._read(reader)
        reader.finish()
        return config

    def _read(self, reader: ConfigReader) -> dict[str, Any]:
        config = self.read_common(reader)
        config["intermediate_dim"] *= 2
        rope = reader.mapping("rope_parameters")
        theta = rope.get("rope_theta", reader.values.get("rope_theta", ROPE_THETA))
        reader.require(theta == ROPE_THETA, f"rope_theta: expected {ROPE_THETA}, got {theta!r}")
        scaling = reader.mapping("rope_scaling") or rope
        kind = scaling.get("rope_type", scaling.get("type", "default"))
        reader.require(kind == "default", f"rope scaling: expected none, got {kind!r}")
        return {**self.keras_defaults, **config}

    def config_from_gguf(self, file: GgufFile) -> dict[str, Any]:
        reader = ConfigReader(file.metadata, f"This {self.name} GGUF file")
        config = self.keras_defaults | self._read_gguf(reader)
        reader.finish()
        return config

    def _read_gguf(self, reader: ConfigReader) -> dict[str, Any]:
        config = self.read_gguf_common(reader)
        config["intermediate_dim"] *= 2
        theta = reader.number(f"{self.gguf_architecture}.rope.freq_base", ROPE_THETA)
        reader.require(theta == ROPE_THETA, f"rope.freq_base: expected {ROPE_THETA}, got {theta}")
        factor = reader.number(f"{self.gguf_architecture}.rope.scaling.factor", 1.0)
        reader.require(factor == 1, f"rope.scaling.factor: expected none, got {factor}")
        return config

    def gguf_metadata(self, config: Mapping[str, Any]) -> dict[str, int | float | str]:
        reader = ConfigReader(config, f"This {self.name} model")
        metadata = self._write_gguf(config, reader)
        reader.finish(NOT_IN_LLAMA_CPP)
        return metadata

    def _write_gguf(self, config: Mapping[str, Any], reader: ConfigReader) -> dict[str, Any]:
        for key in ("attention_logit_soft_cap", "final_logit_soft_cap"):
            reader.require(config[key] is None, f"{key}: expected none, got {config[key]}")
        window = config["use_sliding_window_attention"]
        reader.require(not window, "use_sliding_window_attention: expected false")
        return self.write_gguf_common(config, reader)

    def hf_config(
        self,
        config: Mapping[str, Any],
        *,
        dtype: str,
        bos_id: int,
        eos_ids: Sequence[int],
        pad_id: int,
    ) -> dict[str, Any]:
        return {
            "architectures": ["GemmaForCausalLM"],
            "model_type": "gemma",
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_activation": "gelu_pytorch_tanh",
            "rope_theta": ROPE_THETA,
            **self.write_common(config, dtype, bos_id, eos_ids, pad_id),
        }


class Gemma2(Gemma):
    """Gemma 2: soft caps, post-norms, and a sliding window on every other block."""

    name = "gemma2"
    model_types = ("gemma2",)
    gguf_architecture = "gemma2"
    gguf_27b_layers = 46
    norms = (
        ("pre_attention_norm", "pre_attention_norm", "input_layernorm", "attn_norm"),
        (
            "post_attention_norm",
            "post_attention_norm",
            "post_attention_layernorm",
            "post_attention_norm",
        ),
        ("pre_ffw_norm", "pre_ffw_norm", "pre_feedforward_layernorm", "ffn_norm"),
        ("post_ffw_norm", "post_ffw_norm", "post_feedforward_layernorm", "post_ffw_norm"),
    )

    def owns(self, values: Mapping[str, Any]) -> bool:
        return bool(values.get("use_post_attention_norm"))

    def block_kinds(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        if not config["use_sliding_window_attention"]:
            return super().block_kinds(config)
        return tuple("global" if i % 2 else "local" for i in range(config["num_layers"]))

    def _read(self, reader: ConfigReader) -> dict[str, Any]:
        config = super()._read(reader)
        config |= {
            "query_head_dim_normalize": self.scales_by_head(reader, config),
            "use_post_ffw_norm": True,
            "use_post_attention_norm": True,
            "attention_logit_soft_cap": soft_cap(reader, "attn_logit_softcapping", 50.0),
            "final_logit_soft_cap": soft_cap(reader, "final_logit_softcapping", 30.0),
            "use_sliding_window_attention": True,
            "sliding_window_size": reader.size("sliding_window", 4096),
        }
        check_layer_types(reader, self.block_kinds(config))
        return config

    def _read_gguf(self, reader: ConfigReader) -> dict[str, Any]:
        return super()._read_gguf(reader) | {
            "use_post_ffw_norm": True,
            "use_post_attention_norm": True,
            "attention_logit_soft_cap": reader.number("gemma2.attn_logit_softcapping", 50.0),
            "final_logit_soft_cap": reader.number("gemma2.final_logit_softcapping", 30.0),
            "use_sliding_window_attention": True,
            "sliding_window_size": reader.size("gemma2.attention.sliding_window", 4096),
        }

    def _write_gguf(self, config: Mapping[str, Any], reader: ConfigReader) -> dict[str, Any]:
        for key in ("use_post_ffw_norm", "use_sliding_window_attention"):
            reader.require(bool(config[key]), f"{key}: llama.cpp expects it")
        return self.write_gguf_common(config, reader) | {
            "attn_logit_softcapping": reader.number("attention_logit_soft_cap"),
            "final_logit_softcapping": reader.number("final_logit_soft_cap"),
            "attention.sliding_window": config["sliding_window_size"],
        }

    def hf_config(
        self,
        config: Mapping[str, Any],
        *,
        dtype: str,
        bos_id: int,
        eos_ids: Sequence[int],
        pad_id: int,
    ) -> dict[str, Any]:
        return {
            "architectures": ["Gemma2ForCausalLM"],
            "model_type": "gemma2",
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_activation": "gelu_pytorch_tanh",
            "rope_theta": ROPE_THETA,
            "attn_logit_softcapping": config["attention_logit_soft_cap"],
            "final_logit_softcapping": config["final_logit_soft_cap"],
            "query_pre_attn_scalar": self.pre_attention_scalar(config),
            "sliding_window": config["sliding_window_size"],
            "layer_types": layer_types(self.block_kinds(config)),
            **self.write_common(config, dtype, bos_id, eos_ids, pad_id),
        }
