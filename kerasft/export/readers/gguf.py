"""Loads a GGUF file in transformers: `python -m kerasft.export.readers.gguf`.

transformers unpacks the tensors and gives them back their places by itself. What its
loader leaves out of the metadata, and llama.cpp does not, is put in here: the scale of
queries, soft caps, and the scaling of rotary frequencies. Gemma 1, which it does not
read from GGUF, is put together by the `gguf` package's own table of names.

Of a SentencePiece model its tokenizer makes merges alone, so that pieces such as runs
of spaces are cut otherwise than by llama.cpp; those ids come from the SentencePiece
library, with the pieces of the file. Where llama-cpp-python is installed, llama.cpp
itself goes on from the prompts, and `extra` says how often with the same tokens.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasft.export.gguf_metadata import found_stop_ids
from kerasft.export.readers.answering import (
    Asked,
    answer_rows,
    leave,
    loading_of,
    run,
    surroundings,
    words,
)
from kerasft.models.gguf import GgufFile

_QUERY_SCALE_BY_HIDDEN = {("gemma2", 46), ("gemma3", 62)}
"""Architecture and blocks of the sizes whose queries llama.cpp scales by hidden / heads."""


def main(folder: Path, scratch: Path) -> None:
    """Answers every probe in the compute dtype that is asked for."""
    asked = Asked.read(scratch)
    (path,) = folder.glob("*.gguf")
    file = GgufFile(path)
    stops = found_stop_ids(file.metadata)
    loading: dict[str, list[str]] = {}
    continuations: list[list[int]] = []
    extra: dict[str, Any] = {}
    architecture = str(file.metadata["general.architecture"])
    if asked.logits:
        model, loading = _load(file, asked.compute_dtype)
        model.generation_config.eos_token_id = stops
        model.generation_config.pad_token_id = file.metadata["tokenizer.ggml.padding_token_id"]
        continuations, architecture = answer_rows(model, asked), type(model).__name__
        if importlib.util.find_spec("llama_cpp") is not None:
            extra["runs_in"] = _run_in_llama_cpp(path, asked, stops, continuations)
    leave(
        scratch,
        {
            "loading": loading,
            "architecture": architecture,
            "eos_token_ids": stops,
            "continuations": continuations,
            "extra": extra,
            **words(_tokenizer(file, scratch), asked),
            **surroundings("transformers", "tokenizers", "torch", "gguf"),
        },
    )


def _load(file: GgufFile, compute_dtype: str) -> tuple[Any, dict[str, list[str]]]:
    """The model in transformers, and the names that did not fit."""
    import torch
    import transformers

    dtype = getattr(torch, compute_dtype)
    if file.metadata["general.architecture"] == "gemma":
        return _assembled_gemma(file, dtype)
    place = {"gguf_file": file.path.name, "local_files_only": True}
    config = transformers.AutoConfig.from_pretrained(file.path.parent, **place)
    for key, value in _left_out(file.metadata, config).items():
        setattr(config, key, value)
    model, found = transformers.AutoModelForCausalLM.from_pretrained(
        file.path.parent,
        config=config,
        dtype=dtype,
        attn_implementation="eager",
        output_loading_info=True,
        **place,
    )
    if "rope_freqs.weight" in file.tensors:
        divisors = torch.from_numpy(file.read("rope_freqs.weight"))
        model.model.rotary_emb.inv_freq /= divisors
    return model, loading_of(found)


def _left_out(metadata: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """The settings of a Gemma 2 or 3 that transformers does not take from the file."""
    kind = metadata["general.architecture"]
    if kind not in ("gemma2", "gemma3"):
        return {}
    by_hidden = (kind, config.num_hidden_layers) in _QUERY_SCALE_BY_HIDDEN
    settings = {
        "query_pre_attn_scalar": config.hidden_size // config.num_attention_heads
        if by_hidden
        else config.head_dim,
        "final_logit_softcapping": metadata.get(f"{kind}.final_logit_softcapping"),
        "attn_logit_softcapping": metadata.get(f"{kind}.attn_logit_softcapping"),
    }
    factor = metadata.get(f"{kind}.rope.scaling.factor", 1.0)
    if factor != 1:
        linear = {"rope_type": "linear", "factor": factor}
        scaled = config.rope_parameters["full_attention"] | linear
        settings["rope_parameters"] = config.rope_parameters | {"full_attention": scaled}
    if f"{kind}.attention.sliding_window" not in metadata:
        settings["layer_types"] = ["full_attention"] * config.num_hidden_layers
    return settings


def _assembled_gemma(file: GgufFile, dtype: Any) -> tuple[Any, dict[str, list[str]]]:
    """A Gemma 1 from the file's numbers, by the `gguf` package's table of names."""
    import torch
    import transformers
    from gguf import MODEL_ARCH, get_tensor_name_map

    def number(key: str) -> Any:
        return file.metadata[f"gemma.{key}"]

    config = transformers.GemmaConfig(
        vocab_size=len(file.metadata["tokenizer.ggml.tokens"]),
        hidden_size=number("embedding_length"),
        intermediate_size=number("feed_forward_length"),
        num_hidden_layers=number("block_count"),
        num_attention_heads=number("attention.head_count"),
        num_key_value_heads=number("attention.head_count_kv"),
        head_dim=number("attention.key_length"),
        rms_norm_eps=number("attention.layer_norm_rms_epsilon"),
        max_position_embeddings=number("context_length"),
        attn_implementation="eager",
    )
    model = transformers.AutoModelForCausalLM.from_config(config).to(dtype)
    names = get_tensor_name_map(MODEL_ARCH.GEMMA, config.num_hidden_layers)
    state = {}
    for name in model.state_dict():
        stored = f"{names.get_name(name.removesuffix('.weight'))}.weight"
        if name != "lm_head.weight" and stored in file.tensors:
            values = torch.from_numpy(file.read(stored))
            state[name] = (values - 1 if name.endswith("norm.weight") else values).to(dtype)
    missing, unexpected = model.load_state_dict(state, strict=False)
    model.tie_weights()
    return model, {
        "missing_keys": [name for name in missing if name != "lm_head.weight"],
        "unexpected_keys": list(unexpected),
        "mismatched_keys": [],
    }


def _tokenizer(file: GgufFile, scratch: Path) -> Any:
    """What transformers cuts text with: its own reading, or the file's SentencePiece pieces."""
    import transformers

    metadata = file.metadata
    if metadata["tokenizer.ggml.model"] != "llama":
        return transformers.AutoTokenizer.from_pretrained(
            file.path.parent, gguf_file=file.path.name, local_files_only=True
        )
    from kerasft.export.fast_tokenizer import tokenizer_files
    from kerasft.models.opened import gguf_tokenizer

    read = gguf_tokenizer(metadata)
    folder = scratch / "tokenizer"
    folder.mkdir()
    files = tokenizer_files(
        read.files(),
        bos_id=read.bos_id if metadata.get("tokenizer.ggml.add_bos_token") else None,
        eos_id=read.eos_id,
        pad_id=read.pad_id,
        special=read.special_ids,
        chat_template=metadata.get("tokenizer.chat_template"),
        max_length=int(1e9),
    )
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _run_in_llama_cpp(
    path: Path, asked: Asked, stops: list[int], expected: list[list[int]]
) -> dict[str, Any]:
    """How often llama.cpp's greedy continuations are those of transformers."""
    import llama_cpp

    longest = max(map(len, asked.prompts)) + asked.max_new_tokens
    model = llama_cpp.Llama(
        str(path), n_ctx=longest + 8, n_gpu_layers=0, seed=0, verbose=False, logits_all=False
    )
    equal = 0
    for prompt, theirs in zip(asked.prompts, expected, strict=True):
        found: list[int] = []
        for token in model.generate(prompt, temp=0.0, repeat_penalty=1.0, reset=True):
            found.append(token)
            if token in stops or len(found) == asked.max_new_tokens:
                break
        equal += found == theirs
    return {"llama_cpp": llama_cpp.__version__, "equal": equal, "of": len(asked.prompts)}


if __name__ == "__main__":
    run(main)
