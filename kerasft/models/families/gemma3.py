"""Gemma 3, text only: five local blocks to each global one, query and key norms.

Source: the published Gemma 3 configurations and KerasHub's Gemma3Backbone, which
fixes the rope bases (10,000 local, 1,000,000 global) and the 5:1 pattern.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kerasft.errors import ModelError
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

LOCAL_THETA, GLOBAL_THETA = 10_000.0, 1_000_000.0
TEXT_VOCABULARY = 262_144


class Gemma3(GemmaLike):
    """Gemma 3 of any size, without its vision tower."""

    name = "gemma3"
    backbone_class = "Gemma3Backbone"
    causal_lm_class = "Gemma3CausalLM"
    model_types = ("gemma3_text", "gemma3")
    gguf_architecture = "gemma3"
    gguf_27b_layers = 62
    hf_prefixes = ("model.", "language_model.model.", "model.language_model.")
    config_keys = (
        "vocabulary_size",
        "num_layers",
        "num_query_heads",
        "num_key_value_heads",
        "hidden_dim",
        "intermediate_dim",
        "head_dim",
        "query_head_dim_normalize",
        "use_query_key_norm",
        "use_post_ffw_norm",
        "use_post_attention_norm",
        "attention_logit_soft_cap",
        "final_logit_soft_cap",
        "use_sliding_window_attention",
        "sliding_window_size",
        "local_rope_scaling_factor",
        "global_rope_scaling_factor",
        "layer_norm_epsilon",
    )
    keras_defaults: ClassVar[Mapping[str, Any]] = {
        "query_head_dim_normalize": True,
        "use_query_key_norm": True,
        "use_post_ffw_norm": False,
        "use_post_attention_norm": False,
        "attention_logit_soft_cap": None,
        "final_logit_soft_cap": None,
        "use_sliding_window_attention": False,
        "sliding_window_size": 1024,
        "local_rope_scaling_factor": 1.0,
        "global_rope_scaling_factor": 1.0,
        "layer_norm_epsilon": NORM_EPSILON,
    }
    saved_layers: ClassVar[Mapping[str, str]] = {
        "token_embedding": "reversible_embedding",
        "transformer_layers": "gemma3_decoder_block",
        "layer_norm": "rms_normalization",
    }
    norms = (
        ("pre_attention_norm", "pre_attention_norm", "input_layernorm", "attn_norm"),
        ("query_norm", "attention.query_norm", "self_attn.q_norm", "attn_q_norm"),
        ("key_norm", "attention.key_norm", "self_attn.k_norm", "attn_k_norm"),
        (
            "post_attention_norm",
            "post_attention_norm",
            "post_attention_layernorm",
            "post_attention_norm",
        ),
        ("pre_ffw_norm", "pre_ffw_norm", "pre_feedforward_layernorm", "ffn_norm"),
        ("post_ffw_norm", "post_ffw_norm", "post_feedforward_layernorm", "post_ffw_norm"),
    )

    def backbone_arguments(self, config: Mapping[str, Any], dtype: str) -> dict[str, Any]:
        return super().backbone_arguments(config, dtype) | {
            "image_size": None,
            "vision_encoder": None,
        }

    def check_backbone(self, backbone: Any) -> None:
        _check_text_decoder(
            backbone.vision_encoder is not None,
            backbone.is_embedding_model or backbone.use_bidirectional_attention,
        )

    def config_from_keras(self, values: Mapping[str, Any]) -> dict[str, Any]:
        _check_text_decoder(
            values.get("vision_encoder") is not None,
            bool(values.get("is_embedding_model") or values.get("use_bidirectional_attention")),
        )
        return super().config_from_keras(values)

    def max_positions(self, config: Mapping[str, Any]) -> int:
        return 131_072 if config["global_rope_scaling_factor"] > 1 else 32_768

    def block_kinds(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        if not config["use_sliding_window_attention"]:
            return super().block_kinds(config)
        return tuple("local" if i % 6 < 5 else "global" for i in range(config["num_layers"]))

    def inverse_frequencies(self, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
        width = config["head_dim"]
        return {
            "local": inverse_frequencies(width, LOCAL_THETA, config["local_rope_scaling_factor"]),
            "global": inverse_frequencies(
                width, GLOBAL_THETA, config["global_rope_scaling_factor"]
            ),
        }

    def config_from_hf(self, hf: Mapping[str, Any]) -> dict[str, Any]:
        multimodal = hf.get("model_type") == "gemma3"
        text = hf.get("text_config") if multimodal else hf
        if not isinstance(text, Mapping):
            raise ModelError("This gemma3 config.json has no text_config; expected an object.")
        reader = ConfigReader(_with_defaults(text) if multimodal else text, "This Gemma 3 config")
        config = self.read_common(reader)
        if multimodal:
            # The embedding rows past the text vocabulary belong to image tokens.
            config["vocabulary_size"] = min(config["vocabulary_size"], TEXT_VOCABULARY)
        all_global = all(
            kind == "full_attention" for kind in reader.sequence("layer_types") or [None]
        )
        config |= self._constant() | {
            "query_head_dim_normalize": self.scales_by_head(reader, config),
            "attention_logit_soft_cap": soft_cap(reader, "attn_logit_softcapping", None),
            "final_logit_soft_cap": soft_cap(reader, "final_logit_softcapping", None),
            "use_sliding_window_attention": not all_global,
            "sliding_window_size": reader.size("sliding_window", 4096),
            **_rope_factors(reader),
        }
        pattern = reader.size("sliding_window_pattern", 6)
        reader.require(
            pattern == 6 or "layer_types" in reader.values,
            f"sliding_window_pattern: expected 6, got {pattern}",
        )
        check_layer_types(reader, self.block_kinds(config))
        reader.finish()
        return config

    def config_from_gguf(self, file: GgufFile) -> dict[str, Any]:
        reader = ConfigReader(file.metadata, "This Gemma 3 GGUF file")
        config = self.read_gguf_common(reader) | self._constant()
        config["vocabulary_size"] = min(config["vocabulary_size"], TEXT_VOCABULARY)
        theta = reader.number("gemma3.rope.freq_base", GLOBAL_THETA)
        reader.require(
            theta == GLOBAL_THETA, f"rope.freq_base: expected {GLOBAL_THETA}, got {theta}"
        )
        kind = reader.text("gemma3.rope.scaling.type", "none")
        reader.require(
            kind in ("none", "linear"), f"rope.scaling.type: expected linear, got {kind!r}"
        )
        factor = reader.number("gemma3.rope.scaling.factor", 1.0) if kind == "linear" else 1.0
        # A file without a window has only global blocks.
        window = self.keras_defaults["sliding_window_size"]
        config |= {
            "attention_logit_soft_cap": None,
            "final_logit_soft_cap": soft_cap(reader, "gemma3.final_logit_softcapping", None),
            "use_sliding_window_attention": "gemma3.attention.sliding_window" in reader.values,
            "sliding_window_size": reader.size("gemma3.attention.sliding_window", window),
            "local_rope_scaling_factor": 1.0,
            "global_rope_scaling_factor": factor,
        }
        reader.finish()
        return config

    def gguf_metadata(self, config: Mapping[str, Any]) -> dict[str, int | float | str]:
        reader = ConfigReader(config, "This Gemma 3 model")
        metadata = self.write_gguf_common(config, reader)
        metadata["rope.freq_base"] = GLOBAL_THETA
        for key in ("use_query_key_norm", "use_post_ffw_norm", "use_post_attention_norm"):
            reader.require(bool(config[key]), f"{key}: llama.cpp expects it")
        cap, local = config["attention_logit_soft_cap"], config["local_rope_scaling_factor"]
        reader.require(cap is None, f"attention_logit_soft_cap: expected none, got {cap}")
        reader.require(local == 1, f"local_rope_scaling_factor: expected 1, got {local}")
        if config["use_sliding_window_attention"]:
            metadata["attention.sliding_window"] = config["sliding_window_size"]
        if config["final_logit_soft_cap"] is not None:
            metadata["final_logit_softcapping"] = float(config["final_logit_soft_cap"])
        if config["global_rope_scaling_factor"] != 1:
            metadata["rope.scaling.type"] = "linear"
            metadata["rope.scaling.factor"] = float(config["global_rope_scaling_factor"])
        reader.finish(NOT_IN_LLAMA_CPP)
        return metadata

    def _constant(self) -> dict[str, Any]:
        return {
            "use_query_key_norm": True,
            "use_post_ffw_norm": True,
            "use_post_attention_norm": True,
            "layer_norm_epsilon": NORM_EPSILON,
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
        factor = config["global_rope_scaling_factor"]
        return {
            "architectures": ["Gemma3ForCausalLM"],
            "model_type": "gemma3_text",
            "hidden_activation": "gelu_pytorch_tanh",
            "attn_logit_softcapping": config["attention_logit_soft_cap"],
            "final_logit_softcapping": config["final_logit_soft_cap"],
            "query_pre_attn_scalar": self.pre_attention_scalar(config),
            "rope_theta": GLOBAL_THETA,
            "rope_local_base_freq": LOCAL_THETA,
            "rope_scaling": None if factor == 1 else {"rope_type": "linear", "factor": factor},
            "sliding_window": config["sliding_window_size"],
            "layer_types": layer_types(self.block_kinds(config)),
            **self.write_common(config, dtype, bos_id, eos_ids, pad_id),
        }


def _check_text_decoder(sees: bool, embeds: bool) -> None:
    if sees:
        raise ModelError(
            "This Gemma 3 preset has a vision encoder; kerasft fine-tunes text models. "
            "Use the text preset of the same size, e.g. gemma3_instruct_4b_text."
        )
    if embeds:
        raise ModelError(
            "This preset is an embedding model, not a causal language model. "
            "Use one such as gemma3_270m."
        )


def _with_defaults(text: Mapping[str, Any]) -> dict[str, Any]:
    """A nested text_config with what the first multimodal releases left to transformers."""
    return {
        "vocab_size": 262_208,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        **text,
    }


def _rope_factors(reader: ConfigReader) -> dict[str, float]:
    """Linear rope scaling of local and global blocks, from either way of writing it."""
    nested = ConfigReader(reader.mapping("rope_parameters"), reader.what)
    kinds = {
        "local": nested.mapping("sliding_attention"),
        "global": nested.mapping("full_attention") | reader.mapping("rope_scaling"),
    }
    reader.faults += nested.faults
    kinds["local"].setdefault("rope_theta", reader.number("rope_local_base_freq", LOCAL_THETA))
    kinds["global"].setdefault("rope_theta", reader.number("rope_theta", GLOBAL_THETA))
    factors = {}
    for (kind, rope), theta in zip(kinds.items(), (LOCAL_THETA, GLOBAL_THETA), strict=True):
        reader.require(
            rope["rope_theta"] == theta,
            f"{kind} rope_theta: expected {theta}, got {rope['rope_theta']!r}",
        )
        scaling = rope.get("rope_type", rope.get("type", "default"))
        reader.require(
            scaling in ("default", "linear"),
            f"{kind} rope scaling: expected linear, got {scaling!r}",
        )
        numbers = ConfigReader(rope, reader.what)
        factor = numbers.number("factor", 1.0) if scaling == "linear" else 1.0
        factors[f"{kind}_rope_scaling_factor"] = factor
        reader.faults += numbers.faults
    return factors
