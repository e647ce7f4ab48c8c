"""What Gemma, Gemma 2 and Gemma 3 share: kernels, norms, configuration entries."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from kerasft.models.architecture import Architecture
from kerasft.models.families.base import ConfigReader, Family, TensorSpec, heads_fit

NORM_EPSILON = 1e-6
"""KerasHub's decoder blocks keep this epsilon whatever the backbone is told."""
_GELU = ("gelu_pytorch_tanh", "gelu")
"""Both mean the tanh approximation: the first releases wrote "gelu" for it."""


class GemmaLike(Family):
    """The common part of the three Gemma tables."""

    licence = "Gemma Terms of Use"
    licence_page = "https://ai.google.dev/gemma/terms"
    targets: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "query": ("attention", "query_dense"),
        "key": ("attention", "key_dense"),
        "value": ("attention", "value_dense"),
        "output": ("attention", "output_dense"),
        "gate": ("gating_ffw",),
        "up": ("gating_ffw_2",),
        "down": ("ffw_linear",),
    }
    norms: ClassVar[tuple[tuple[str, str, str, str], ...]]
    """For each norm of a block: canonical name, Keras attribute, Hugging Face, GGUF."""
    gguf_27b_layers: ClassVar[int | None] = None
    """Number of blocks by which llama.cpp knows the size whose queries are divided by
    sqrt(hidden / heads)."""

    def feed_forward(self, config: Mapping[str, Any]) -> int:
        """Width of gate, up and down."""
        return config["intermediate_dim"]

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
            self._norm("final_norm/scale", ("layer_norm", "scale"), "model.norm", "output_norm", d)
        )
        return tuple(specs)

    def _block(self, config: Mapping[str, Any], index: int) -> list[TensorSpec]:
        d, h, f = config["hidden_dim"], config["head_dim"], self.feed_forward(config)
        n, k = config["num_query_heads"], config["num_key_value_heads"]
        kernels = (
            # target, canonical, shape, axes, Hugging Face, its shape, GGUF
            ("query", "attention", (n, d, h), (0, 2, 1), "self_attn.q_proj", (n * h, d), "attn_q"),
            ("key", "attention", (k, d, h), (0, 2, 1), "self_attn.k_proj", (k * h, d), "attn_k"),
            ("value", "attention", (k, d, h), (0, 2, 1), "self_attn.v_proj", (k * h, d), "attn_v"),
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
            )
            for target, part, shape, axes, hf, hf_shape, gguf in kernels
        ]
        for canonical, attribute, hf, gguf in self.norms:
            width = h if canonical in ("query_norm", "key_norm") else d
            specs.append(
                self._norm(
                    f"decoder_block_{index}/{canonical}/scale",
                    ("transformer_layers", str(index), *attribute.split("."), "scale"),
                    f"model.layers.{index}.{hf}",
                    f"blk.{index}.{gguf}",
                    width,
                    layer=index,
                )
            )
        return specs

    def _norm(
        self,
        name: str,
        keras: tuple[str, ...],
        hf: str,
        gguf: str,
        width: int,
        layer: int | None = None,
    ) -> TensorSpec:
        return TensorSpec(
            name=name,
            keras=keras,
            shape=(width,),
            hf=f"{hf}.weight",
            hf_shape=(width,),
            gguf=f"{gguf}.weight",
            axes=(0,),
            layer=layer,
            gguf_offset=1.0,  # the layer multiplies by 1 + scale; GGUF stores the sum
        )

    def architecture(self, config: Mapping[str, Any]) -> Architecture:
        return Architecture(
            kinds=self.block_kinds(config),
            width=config["hidden_dim"],
            query_heads=config["num_query_heads"],
            key_value_heads=config["num_key_value_heads"],
            head_width=config["head_dim"],
            query_scale=self.pre_attention_scalar(config) ** -0.5,
            window=config["sliding_window_size"],
            attention_soft_cap=config["attention_logit_soft_cap"],
            query_key_norm=config.get("use_query_key_norm", False),
            post_attention_norm=config["use_post_attention_norm"],
            post_ffw_norm=config["use_post_ffw_norm"],
            activation="gelu",
            norm_epsilon=NORM_EPSILON,
            norm_offset=1.0,
            embedding_scale=config["hidden_dim"] ** 0.5,
            inverse_frequencies=self.inverse_frequencies(config),
        )

    @abstractmethod
    def inverse_frequencies(self, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Of the rotary embedding, by kind of block."""

    def settle(self, backbone: Any) -> None:
        # KerasHub's decoder block always tells its attention to scale by the head
        # width; the 27B models scale by hidden / heads instead.
        for block in self.blocks(backbone):
            block.attention.query_head_dim_normalize = backbone.query_head_dim_normalize

    def read_common(self, reader: ConfigReader) -> dict[str, Any]:
        """The backbone arguments that all Gemmas share, from Hugging Face keys."""
        values = reader.values
        config: dict[str, Any] = {
            "vocabulary_size": reader.size("vocab_size"),
            "num_layers": reader.layers("num_hidden_layers"),
            "num_query_heads": reader.size("num_attention_heads"),
            "num_key_value_heads": reader.size("num_key_value_heads"),
            "hidden_dim": reader.size("hidden_size"),
            "intermediate_dim": reader.size("intermediate_size"),
            "head_dim": reader.size("head_dim", 256),
            "layer_norm_epsilon": reader.number("rms_norm_eps", NORM_EPSILON),
        }
        heads_fit(reader, config["num_query_heads"], config["num_key_value_heads"])
        reader.require(
            config["layer_norm_epsilon"] == NORM_EPSILON,
            f"rms_norm_eps: expected {NORM_EPSILON}, got {config['layer_norm_epsilon']}",
        )
        activation = values.get("hidden_activation") or values.get("hidden_act") or _GELU[0]
        reader.require(
            activation in _GELU, f"hidden_activation: expected {_GELU[0]}, got {activation!r}"
        )
        for key in ("attention_bias", "use_bidirectional_attention"):
            reader.require(not values.get(key), f"{key}: expected false, got {values.get(key)!r}")
        reader.require(
            values.get("tie_word_embeddings", True) is True,
            "tie_word_embeddings: expected true, Gemma's embeddings are tied",
        )
        return config

    def read_gguf_common(self, reader: ConfigReader) -> dict[str, Any]:
        """The backbone arguments that all Gemmas share, from a GGUF file's metadata."""
        arch = self.gguf_architecture
        d, n = reader.size(f"{arch}.embedding_length"), reader.size(f"{arch}.attention.head_count")
        k = reader.size(f"{arch}.attention.head_count_kv", n)
        layers = reader.layers(f"{arch}.block_count")
        heads_fit(reader, n, k)
        epsilon = reader.number(f"{arch}.attention.layer_norm_rms_epsilon", NORM_EPSILON)
        # Stored as float32, so 1e-6 comes back as the nearest float32.
        reader.require(
            abs(epsilon - NORM_EPSILON) < 1e-12,
            f"layer_norm_rms_epsilon: expected {NORM_EPSILON}, got {epsilon}",
        )
        return {
            "vocabulary_size": len(reader.sequence("tokenizer.ggml.tokens")),
            "num_layers": layers,
            "num_query_heads": n,
            "num_key_value_heads": k,
            "hidden_dim": d,
            "intermediate_dim": reader.size(f"{arch}.feed_forward_length"),
            "head_dim": reader.size(f"{arch}.attention.key_length", 256),
            # The scale of queries is not stored: llama.cpp knows it by the number of blocks.
            "query_head_dim_normalize": layers != self.gguf_27b_layers,
            "layer_norm_epsilon": NORM_EPSILON,
        }

    def write_gguf_common(self, config: Mapping[str, Any], reader: ConfigReader) -> dict[str, Any]:
        """The metadata that all Gemmas share; notes what llama.cpp would run otherwise."""
        by_head = config["num_layers"] != self.gguf_27b_layers
        expected = (
            config["head_dim"] if by_head else config["hidden_dim"] // config["num_query_heads"]
        )
        found = self.pre_attention_scalar(config)
        reader.require(
            found == expected,
            f"query scale: llama.cpp divides the queries of {config['num_layers']} blocks by the "
            f"root of {expected}, this model by that of {found}",
        )
        return {
            "context_length": self.max_positions(config),
            "embedding_length": config["hidden_dim"],
            "block_count": config["num_layers"],
            "feed_forward_length": self.feed_forward(config),
            "attention.head_count": config["num_query_heads"],
            "attention.head_count_kv": config["num_key_value_heads"],
            "attention.layer_norm_rms_epsilon": float(config["layer_norm_epsilon"]),
            "attention.key_length": config["head_dim"],
            "attention.value_length": config["head_dim"],
        }

    def scales_by_head(self, reader: ConfigReader, config: Mapping[str, Any]) -> bool:
        """Whether queries are divided by sqrt(head width) or by sqrt(hidden / heads)."""
        scalar = reader.number("query_pre_attn_scalar", 256)
        alternative = config["hidden_dim"] // config["num_query_heads"]
        reader.require(
            scalar in (config["head_dim"], alternative),
            f"query_pre_attn_scalar: expected head_dim {config['head_dim']} or "
            f"hidden_size / heads {alternative}, got {scalar}",
        )
        return scalar == config["head_dim"]

    def write_common(
        self,
        config: Mapping[str, Any],
        dtype: str,
        bos_id: int,
        eos_ids: Sequence[int],
        pad_id: int,
    ) -> dict[str, Any]:
        """The config.json entries that all Gemmas share."""
        return {
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": bos_id,
            "dtype": dtype,
            "eos_token_id": list(eos_ids) if len(eos_ids) > 1 else eos_ids[0],
            "head_dim": config["head_dim"],
            "hidden_size": config["hidden_dim"],
            "initializer_range": 0.02,
            "intermediate_size": self.feed_forward(config),
            "max_position_embeddings": self.max_positions(config),
            "num_attention_heads": config["num_query_heads"],
            "num_hidden_layers": config["num_layers"],
            "num_key_value_heads": config["num_key_value_heads"],
            "pad_token_id": pad_id,
            "rms_norm_eps": config["layer_norm_epsilon"],
            "tie_word_embeddings": True,
            "use_cache": True,
            "vocab_size": config["vocabulary_size"],
        }

    def pre_attention_scalar(self, config: Mapping[str, Any]) -> int:
        """What transformers calls `query_pre_attn_scalar`."""
        if config["query_head_dim_normalize"]:
            return config["head_dim"]
        return config["hidden_dim"] // config["num_query_heads"]


def soft_cap(reader: ConfigReader, key: str, default: float | None) -> float | None:
    """A soft cap: c·tanh(x/c); an explicit null in the config switches it off."""
    if reader.values.get(key, default) is None:
        return None
    return reader.number(key, default)


def layer_types(kinds: Sequence[str]) -> list[str]:
    """The words of transformers for local and global attention."""
    words = {"local": "sliding_attention", "global": "full_attention"}
    return [words[kind] for kind in kinds]


def check_layer_types(reader: ConfigReader, kinds: Sequence[str]) -> None:
    """Notes a fault when the config alternates its blocks otherwise than KerasHub."""
    found = reader.sequence("layer_types")
    reader.require(
        not found or found == layer_types(kinds),
        "layer_types: local and global blocks alternate otherwise than in KerasHub",
    )
