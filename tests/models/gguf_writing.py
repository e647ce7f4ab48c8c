"""Tiny GGUF files, written with the `gguf` package by the rules of llama.cpp's converter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

from kerasft.models.families import FAMILIES
from tests.models.conftest import hf_state
from tests.tiny import tiny_config

PIECES = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>", "\n"]
"""The first pieces of the tiny Gemma vocabulary; letters and bytes follow."""


def gemma_vocabulary() -> tuple[list[str], list[float], list[int]]:
    """Pieces, scores and types; control pieces as the converter marks them."""
    kinds = gguf.TokenType
    letters = [*"▁abcdefghijklmnopqrstuvwxyz", "th", "he", "the", "▁the"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    types = [kinds.CONTROL] * 6 + [kinds.USER_DEFINED]
    types += [kinds.NORMAL] * len(letters) + [kinds.BYTE] * len(bytes_)
    scores = [-1000.0] * len(PIECES) + [-float(i) for i in range(len(letters))] + [0.0] * 256
    # Longer pieces merge first.
    for piece, score in (("th", -0.1), ("he", -0.2), ("the", -0.3), ("▁the", -0.4)):
        scores[len(PIECES) + letters.index(piece)] = score
    return [*PIECES, *letters, *bytes_], scores, [int(kind) for kind in types]


def gemma3_config() -> dict[str, Any]:
    """The tiny Gemma 3 with room for that vocabulary."""
    return tiny_config("gemma3") | {"vocabulary_size": len(gemma_vocabulary()[0])}


def llama_vocabulary(size: int) -> tuple[list[str], list[int], list[str]]:
    """Byte-level tokens, types and merges, special tokens last."""
    tokens = [chr(c) for c in range(33, 33 + size - 4)]
    left, right = "l", "o"
    tokens += [left + right, "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
    types = [int(gguf.TokenType.NORMAL)] * (size - 3) + [int(gguf.TokenType.CONTROL)] * 3
    return tokens, types, [f"{left} {right}"]


def write_gemma3(path: Path, config: dict[str, Any], seed: int = 0) -> None:
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_block_count(config["num_layers"])
    writer.add_embedding_length(config["hidden_dim"])
    writer.add_feed_forward_length(config["intermediate_dim"])
    writer.add_head_count(config["num_query_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_sliding_window(config["sliding_window_size"])
    if config["global_rope_scaling_factor"] != 1:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(config["global_rope_scaling_factor"])
    pieces, scores, types = gemma_vocabulary()
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    for add, index in (
        (writer.add_pad_token_id, 0),
        (writer.add_eos_token_id, 1),
        (writer.add_bos_token_id, 2),
        (writer.add_unk_token_id, 3),
    ):
        add(index)
    for name, array in _renamed("gemma3", config, seed).items():
        writer.add_tensor(name, array + 1 if name.endswith("norm.weight") else array)
    _finish(writer)


def write_llama(path: Path, config: dict[str, Any], seed: int = 0) -> None:
    n, k = config["num_query_heads"], config["num_key_value_heads"]
    head = config["hidden_dim"] // n
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config["num_layers"])
    writer.add_embedding_length(config["hidden_dim"])
    writer.add_feed_forward_length(config["intermediate_dim"])
    writer.add_head_count(n)
    writer.add_head_count_kv(k)
    writer.add_layer_norm_rms_eps(config["layer_norm_epsilon"])
    writer.add_rope_freq_base(config["rope_max_wavelength"])
    writer.add_rope_dimension_count(head)
    tokens, types, merges = llama_vocabulary(config["vocabulary_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(len(tokens) - 3)
    writer.add_eos_token_id(len(tokens) - 2)
    if config["rope_frequency_adjustment_factor"]:
        writer.add_tensor("rope_freqs.weight", _frequency_divisors(config, head))
    for name, array in _renamed("llama3", config, seed).items():
        if name.endswith("attn_q.weight"):
            array = _permuted(array, n)
        elif name.endswith("attn_k.weight"):
            array = _permuted(array, k)
        writer.add_tensor(name, array)
    _finish(writer)


def _renamed(family: str, config: dict[str, Any], seed: int) -> dict[str, np.ndarray]:
    state = hf_state(family, config, seed)
    return {spec.gguf: state[spec.hf] for spec in FAMILIES[family].tensors(config)}


def _permuted(array: np.ndarray, heads: int) -> np.ndarray:
    """Rows (half, i) of each head become (i, half), the order of the first Llama release."""
    rows, columns = array.shape
    halves = array.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows, columns))


def _frequency_divisors(config: dict[str, Any], head: int) -> np.ndarray:
    """Written out with branches, as in the release, unlike the closed form that we read with."""
    divisors = []
    for i in range(0, head, 2):
        wavelength = 2 * np.pi * config["rope_max_wavelength"] ** (i / head)
        factor = config["rope_frequency_adjustment_factor"]
        low, high = config["rope_low_freq_factor"], config["rope_high_freq_factor"]
        length = config["rope_pretraining_sequence_length"]
        if wavelength < length / high:
            divisors.append(1.0)
        elif wavelength > length / low:
            divisors.append(factor)
        else:
            smooth = (length / wavelength - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(divisors, "float32")


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
