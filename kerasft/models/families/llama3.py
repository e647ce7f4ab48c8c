"""Llama 3, 3.1 and 3.2 text models.

Source of the frequency scaling: the Llama 3.1 release (`rope_type: llama3`), which
KerasHub's LlamaRotaryEmbedding implements with the same four numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kerasft.models.architecture import Architecture, inverse_frequencies
from kerasft.models.families.base import ConfigReader, Family, TensorSpec, heads_fit

if TYPE_CHECKING:
    from kerasft.models.gguf import GgufFile

_SCALING = {
    "rope_frequency_adjustment_factor": "factor",
    "rope_low_freq_factor": "low_freq_factor",
    "rope_high_freq_factor": "high_freq_factor",
    "rope_pretraining_sequence_length": "original_max_position_embeddings",
}
"""KerasHub's names of the four numbers of `rope_type: llama3` -> those of transformers."""
_ROPE_DIVISORS = "rope_freqs.weight"
"""The tensor by which GGUF stores `rope_type: llama3`."""


class Llama3(Family):
    """Llama 3 shapes: no biases, SiLU gate, embeddings tied (3.2) or not (3, 3.1)."""

    name = "llama3"
    backbone_class = "Llama3Backbone"
    causal_lm_class = "Llama3CausalLM"
    model_types = ("llama",)
    gguf_architecture = "llama"
    licence = "Llama Community License"
    licence_page = "https://www.llama.com/llama-downloads"
    config_keys = (
        "vocabulary_size",
        "num_layers",
        "num_query_heads",
        "num_key_value_heads",
        "hidden_dim",
        "intermediate_dim",
        "rope_max_wavelength",
        "rope_position_scaling_factor",
        *_SCALING,
        "layer_norm_epsilon",
        "tie_word_embeddings",
    )
    keras_defaults: ClassVar[Mapping[str, Any]] = {
        "rope_max_wavelength": 10_000,
        "rope_position_scaling_factor": 1.0,
        **dict.fromkeys(_SCALING),
        "layer_norm_epsilon": 1e-6,
        "tie_word_embeddings": False,  # KerasHub does not write it into a preset's config
    }
    targets: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "query": ("_self_attention_layer", "_query_dense"),
        "key": ("_self_attention_layer", "_key_dense"),
        "value": ("_self_attention_layer", "_value_dense"),
        "output": ("_self_attention_layer", "_output_dense"),
        "gate": ("_feedforward_gate_dense",),
        "up": ("_feedforward_intermediate_dense",),
        "down": ("_feedforward_output_dense",),
    }
    saved_layers: ClassVar[Mapping[str, str]] = {
        "token_embedding": "reversible_embedding",
        "transformer_layers": "llama_transformer_decoder",
        "layer_norm": "llama_layer_norm",
    }

    def max_positions(self, config: Mapping[str, Any]) -> int:
        return 131_072 if config["rope_frequency_adjustment_factor"] else 8192

    def architecture(self, config: Mapping[str, Any]) -> Architecture:
        head_width = config["hidden_dim"] // config["num_query_heads"]
        return Architecture(
            kinds=self.block_kinds(config),
            width=config["hidden_dim"],
            query_heads=config["num_query_heads"],
            key_value_heads=config["num_key_value_heads"],
            head_width=head_width,
            query_scale=head_width**-0.5,
            window=None,
            attention_soft_cap=None,
            query_key_norm=False,
            post_attention_norm=False,
            post_ffw_norm=False,
            activation="silu",
            norm_epsilon=config["layer_norm_epsilon"],
            norm_offset=0.0,
            embedding_scale=None,
            inverse_frequencies={"global": _inverse_frequencies(config, head_width)},
        )

    def tensors(self, config: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
        vocabulary, d = config["vocabulary_size"], config["hidden_dim"]
        specs = [
            TensorSpec(
                name="token_embedding/embeddings",
                keras=("token_embedding", "_embeddings"),
                shape=(vocabulary, d),
                hf="model.embed_tokens.weight",
                hf_shape=(vocabulary, d),
                gguf="token_embd.weight",
                axes=(0, 1),
            )
        ]
        for index in range(config["num_layers"]):
            specs += self._block(config, index)
        specs.append(
            TensorSpec(
                name="final_norm/scale",
                keras=("layer_norm", "scale"),
                shape=(d,),
                hf="model.norm.weight",
                hf_shape=(d,),
                gguf="output_norm.weight",
                axes=(0,),
            )
        )
        if not config["tie_word_embeddings"]:
            specs.append(
                TensorSpec(
                    name="output_embedding/embeddings",
                    keras=("token_embedding", "reverse_embeddings"),
                    shape=(d, vocabulary),
                    hf="lm_head.weight",
                    hf_shape=(vocabulary, d),
                    gguf="output.weight",
                    axes=(1, 0),
                )
            )
        return tuple(specs)

    def _block(self, config: Mapping[str, Any], index: int) -> list[TensorSpec]:
        d, f = config["hidden_dim"], config["intermediate_dim"]
        n, k = config["num_query_heads"], config["num_key_value_heads"]
        h = d // n
        kernels = (
            # target, canonical, shape, axes, Hugging Face, its shape, GGUF, rotary heads
            ("query", "attention", (d, n, h), (1, 2, 0), "self_attn.q_proj", (n * h, d), "attn_q"),
            ("key", "attention", (d, k, h), (1, 2, 0), "self_attn.k_proj", (k * h, d), "attn_k"),
            ("value", "attention", (d, k, h), (1, 2, 0), "self_attn.v_proj", (k * h, d), "attn_v"),
            (
                "output",
                "attention",
                (n, h, d),
                (2, 0, 1),
                "self_attn.o_proj",
                (d, n * h),
                "attn_output",
            ),
            ("gate", "ffw", (d, f), (1, 0), "mlp.gate_proj", (f, d), "ffn_gate"),
            ("up", "ffw", (d, f), (1, 0), "mlp.up_proj", (f, d), "ffn_up"),
            ("down", "ffw", (f, d), (1, 0), "mlp.down_proj", (d, f), "ffn_down"),
        )
        rotary = {"query": n, "key": k}
        specs = [
            TensorSpec(
                name=f"decoder_block_{index}/{part}/{target}/kernel",
                keras=("transformer_layers", str(index), *self.targets[target], "_kernel"),
                shape=shape,
                hf=f"model.layers.{index}.{hf}.weight",
                hf_shape=hf_shape,
                gguf=f"blk.{index}.{gguf}.weight",
                axes=axes,
                target=target,
                layer=index,
                gguf_rotary_heads=rotary.get(target, 0),
            )
            for target, part, shape, axes, hf, hf_shape, gguf in kernels
        ]
        norms = (
            ("pre_attention_norm", "_self_attention_layernorm", "input_layernorm", "attn_norm"),
            ("pre_ffw_norm", "_feedforward_layernorm", "post_attention_layernorm", "ffn_norm"),
        )
        for canonical, attribute, hf, gguf in norms:
            specs.append(
                TensorSpec(
                    name=f"decoder_block_{index}/{canonical}/scale",
                    keras=("transformer_layers", str(index), attribute, "scale"),
                    shape=(d,),
                    hf=f"model.layers.{index}.{hf}.weight",
                    hf_shape=(d,),
                    gguf=f"blk.{index}.{gguf}.weight",
                    axes=(0,),
                    layer=index,
                )
            )
        return specs

    def config_from_hf(self, hf: Mapping[str, Any]) -> dict[str, Any]:
        reader = ConfigReader(hf, "This Llama config.json")
        n = reader.size("num_attention_heads")
        config: dict[str, Any] = {
            "vocabulary_size": reader.size("vocab_size"),
            "num_layers": reader.layers("num_hidden_layers"),
            "num_query_heads": n,
            "num_key_value_heads": reader.size("num_key_value_heads", n),
            "hidden_dim": reader.size("hidden_size"),
            "intermediate_dim": reader.size("intermediate_size"),
            "layer_norm_epsilon": reader.number("rms_norm_eps", 1e-6),
            "tie_word_embeddings": hf.get("tie_word_embeddings", False) is True,
        }
        self._check_heads(reader, config, reader.size("head_dim", config["hidden_dim"] // n or 1))
        activation = hf.get("hidden_act", "silu")
        reader.require(activation == "silu", f"hidden_act: expected silu, got {activation!r}")
        for key in ("attention_bias", "mlp_bias"):
            reader.require(not hf.get(key), f"{key}: expected false, got {hf.get(key)!r}")
        config |= _rope_from_hf(reader)
        reader.finish()
        return config

    def config_from_keras(self, values: Mapping[str, Any]) -> dict[str, Any]:
        config = super().config_from_keras(values)
        reader = ConfigReader(config, "This preset's config.json")
        _require_no_linear_scaling(reader, config["rope_position_scaling_factor"])
        reader.finish()
        return config

    def config_from_gguf(self, file: GgufFile) -> dict[str, Any]:
        reader = ConfigReader(file.metadata, "This Llama GGUF file")
        n = reader.size("llama.attention.head_count")
        config: dict[str, Any] = {
            "vocabulary_size": len(reader.sequence("tokenizer.ggml.tokens")),
            "num_layers": reader.layers("llama.block_count"),
            "num_query_heads": n,
            "num_key_value_heads": reader.size("llama.attention.head_count_kv", n),
            "hidden_dim": reader.size("llama.embedding_length"),
            "intermediate_dim": reader.size("llama.feed_forward_length"),
            # Stored as float32; seven digits give back what was meant.
            "layer_norm_epsilon": float(
                f"{reader.number('llama.attention.layer_norm_rms_epsilon'):.7g}"
            ),
            "tie_word_embeddings": "output.weight" not in file.tensors,
            "rope_max_wavelength": reader.number("llama.rope.freq_base", 10_000.0),
            "rope_position_scaling_factor": 1.0,
            **dict.fromkeys(_SCALING),
        }
        h = config["hidden_dim"] // n or 1
        self._check_heads(reader, config, reader.size("llama.rope.dimension_count", h))
        kind = reader.text("llama.rope.scaling.type", "none")
        reader.require(
            kind == "none", f"rope.scaling.type: expected none (llama3 is a tensor), got {kind!r}"
        )
        if _ROPE_DIVISORS in file.tensors and not reader.faults:
            config |= _rope_from_factors(
                reader, file.read(_ROPE_DIVISORS), config["rope_max_wavelength"], h
            )
        reader.finish()
        return config

    def gguf_metadata(self, config: Mapping[str, Any]) -> dict[str, int | float | str]:
        return {
            "context_length": self.max_positions(config),
            "embedding_length": config["hidden_dim"],
            "block_count": config["num_layers"],
            "feed_forward_length": config["intermediate_dim"],
            "attention.head_count": config["num_query_heads"],
            "attention.head_count_kv": config["num_key_value_heads"],
            "attention.layer_norm_rms_epsilon": float(config["layer_norm_epsilon"]),
            "rope.freq_base": float(config["rope_max_wavelength"]),
            "rope.dimension_count": config["hidden_dim"] // config["num_query_heads"],
            "vocab_size": config["vocabulary_size"],
        }

    def gguf_tensors(self, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
        if config["rope_low_freq_factor"] is None:
            return {}
        # llama.cpp divides the plain frequencies by these.
        width = config["hidden_dim"] // config["num_query_heads"]
        plain = inverse_frequencies(width, config["rope_max_wavelength"])
        return {_ROPE_DIVISORS: plain / _inverse_frequencies(config, width)}

    def _check_heads(self, reader: ConfigReader, config: Mapping[str, Any], head_dim: int) -> None:
        n, d = config["num_query_heads"], config["hidden_dim"]
        heads_fit(reader, n, config["num_key_value_heads"])
        reader.require(
            d == n * head_dim,
            f"head width: expected hidden size / heads = {d}/{n}, got {head_dim}",
        )

    def hf_config(
        self,
        config: Mapping[str, Any],
        *,
        dtype: str,
        bos_id: int,
        eos_ids: Sequence[int],
        pad_id: int,
    ) -> dict[str, Any]:
        scaling: dict[str, Any] | None = None
        if config["rope_frequency_adjustment_factor"]:
            scaling = {"rope_type": "llama3"}
            scaling |= {theirs: config[ours] for ours, theirs in _SCALING.items()}
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": bos_id,
            "dtype": dtype,
            "eos_token_id": list(eos_ids) if len(eos_ids) > 1 else eos_ids[0],
            "head_dim": config["hidden_dim"] // config["num_query_heads"],
            "hidden_act": "silu",
            "hidden_size": config["hidden_dim"],
            "initializer_range": 0.02,
            "intermediate_size": config["intermediate_dim"],
            "max_position_embeddings": self.max_positions(config),
            "mlp_bias": False,
            "num_attention_heads": config["num_query_heads"],
            "num_hidden_layers": config["num_layers"],
            "num_key_value_heads": config["num_key_value_heads"],
            "pad_token_id": pad_id,
            "rms_norm_eps": config["layer_norm_epsilon"],
            "rope_scaling": scaling,
            "rope_theta": float(config["rope_max_wavelength"]),
            "tie_word_embeddings": config["tie_word_embeddings"],
            "use_cache": True,
            "vocab_size": config["vocabulary_size"],
        }


def _inverse_frequencies(config: Mapping[str, Any], head_width: int) -> np.ndarray:
    """θ^(−2i/h), the low ones divided by the factor of `rope_type: llama3`."""
    plain = inverse_frequencies(head_width, config["rope_max_wavelength"])
    factor, low, high, length = (config[key] for key in _SCALING)
    if low is None:
        return plain
    turns = length * plain / (2 * np.pi)
    smooth = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return ((1 - smooth) * plain / factor + smooth * plain).astype(np.float32)


def _rope_from_hf(reader: ConfigReader) -> dict[str, Any]:
    """Rope settings, written flat (transformers 4) or as `rope_parameters` (5)."""
    rope = reader.mapping("rope_parameters") or reader.mapping("rope_scaling")
    rope.setdefault("rope_theta", reader.values.get("rope_theta", 10_000.0))
    numbers = ConfigReader(rope, reader.what)
    settings: dict[str, Any] = {
        "rope_max_wavelength": numbers.number("rope_theta"),
        "rope_position_scaling_factor": 1.0,
        **dict.fromkeys(_SCALING),
    }
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "llama3":
        settings |= {ours: numbers.number(theirs) for ours, theirs in _SCALING.items()}
    elif kind == "linear":
        _require_no_linear_scaling(numbers, numbers.number("factor"))
    else:
        reader.require(
            kind == "default", f"rope_type: expected default, linear or llama3, got {kind!r}"
        )
    reader.faults += numbers.faults
    return settings


def _require_no_linear_scaling(reader: ConfigReader, factor: float) -> None:
    """KerasHub's Llama leaves it out whatever it is told: another model would be trained."""
    reader.require(
        factor == 1, f"linear rope scaling: expected none (KerasHub ignores it), got {factor}"
    )


def _rope_from_factors(
    reader: ConfigReader, factors: np.ndarray, theta: float, head_dim: int
) -> dict[str, Any]:
    """The four numbers of `rope_type: llama3` from the divisors that GGUF stores.

    Only the largest divisor is free: every Llama 3.1 and 3.2 release has low 1,
    high 4 and a pretraining length of 8,192. The formula is checked against the
    stored divisors, so a file with other numbers is refused.
    """
    low, high, length = 1.0, 4.0, 8192
    factor, fits = 1.0, factors.shape == (head_dim // 2,)
    if fits:
        factor = float(factors.max())
        wavelength = 2 * np.pi * theta ** (np.arange(0, head_dim, 2) / head_dim)
        smooth = np.clip((length / wavelength - low) / (high - low), 0.0, 1.0)
        fits = factor > 0 and np.allclose(
            factors, 1.0 / ((1.0 - smooth) / factor + smooth), rtol=1e-4
        )
    reader.require(fits, "rope_freqs.weight: not the frequency scaling of Llama 3.1 or 3.2")
    return {
        "rope_frequency_adjustment_factor": factor,
        "rope_low_freq_factor": low,
        "rope_high_freq_factor": high,
        "rope_pretraining_sequence_length": length,
    }
