"""A live model for the export's tests: tiny, random, with a LoRA adapter that moved."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kerasft.data.prompts import template_for
from kerasft.data.tokens import SentencePieceTokenizer, Tokenizer, TokenizerJson
from kerasft.models.families import FAMILIES
from kerasft.models.tokenizer_files import LLAMA3_SPLIT
from kerasft.recipe import LoraSettings, PromptSettings
from tests.tiny import random_arrays, tiny_config

if TYPE_CHECKING:
    from kerasft.engine.loaded import LoadedModel

VOCABULARY = 512

_TEXT = """
SELECT name, COUNT(*) FROM orders WHERE total >= 12.50 GROUP BY name ORDER BY name;
The capital of France is Paris, and the river that runs through it is the Seine.
Où est l'école ? Elle est à côté de la gare, naturellement.
def add(left, right): return left + right
Every order has a customer, a date and a total; the total is a number.
"""


@cache
def sentencepiece_proto() -> bytes:
    """A small BPE model with Gemma's ids, byte fallback and runs of white space."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_TEXT.splitlines() * 20),
        model_writer=model,
        model_type="bpe",
        vocab_size=VOCABULARY,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        user_defined_symbols=[
            "<start_of_turn>",
            "<end_of_turn>",
            "\n",
            "\n\n",
            "\u2581\u2581",
            "\u2581\u2581\u2581",
            "<table>",
        ],
        minloglevel=2,
    )
    return model.getvalue()


@cache
def llama_tokenizer_json() -> bytes:
    """A small byte-level BPE in the manner of Llama 3."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers

    tokenizer = tokenizers.Tokenizer(models.BPE(ignore_merges=True))
    split = pre_tokenizers.Split(tokenizers.Regex(LLAMA3_SPLIT), "isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|pad|>"]
    special += ["<|start_header_id|>", "<|end_header_id|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXT.splitlines(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{special[0]} $A",
        special_tokens=[(special[0], tokenizer.token_to_id(special[0]))],
    )
    return tokenizer.to_str().encode()


def tiny_tokenizer(family: str) -> Tokenizer:
    """The tokenizer that goes with a tiny model of a family."""
    if family == "llama3":
        return TokenizerJson(
            llama_tokenizer_json(), "<|begin_of_text|>", "<|end_of_text|>", "<|pad|>"
        )
    return SentencePieceTokenizer(sentencepiece_proto())


def live_model(
    family: str,
    *,
    layout: str = "keras",
    dtype: str = "float32",
    base_dtype: str = "float32",
    size: float = 0.3,
    tied: bool | None = None,
    seed: int = 0,
    template: str | None = None,
) -> LoadedModel:
    """A tiny random model with an adapter on all linear layers.

    Args:
        dtype: in which it computes.
        base_dtype: to which the base's weights are rounded.
        size: of the entries of B; 0 leaves the adapter without effect.
        tied: of Llama 3's embeddings.
        template: of the prompt; the family's turns if None.
    """
    from kerasft.engine.loaded import LoadedModel
    from kerasft.models.lora import attach

    table = FAMILIES[family]
    config = tiny_config(family) | {"vocabulary_size": VOCABULARY}
    if tied is not None:
        config["tie_word_embeddings"] = tied
    causal_lm = table.build(config, dtype)
    arrays = random_arrays(family, config, seed)
    for spec in table.tensors(config):
        spec.variable(causal_lm.backbone).assign(_rounded(arrays[spec.name], base_dtype))
    settings = LoraSettings(layout=layout, rank=2, alpha=4, target_layers=list(table.targets))
    adapter = attach(causal_lm, table, settings, seed=seed)
    adapter.assign(moved(adapter.tensors(), size, seed + 1))
    turns = "llama3" if family == "llama3" else "gemma"
    return LoadedModel(
        causal_lm=causal_lm,
        family=table,
        config=config,
        tokenizer=tiny_tokenizer(family),
        template=template_for(PromptSettings(template=template or turns), "text_to_sql"),
        lora=adapter,
        adapter=None,
        base_dtype=base_dtype,
        base_id=f"tiny-{family}",
        fingerprint="0" * 64,
        preset=f"/home/someone/tiny-{family}",
        task="text_to_sql",
    )


def _rounded(array: np.ndarray, dtype: str) -> np.ndarray:
    from kerasft.export.safetensors_writer import numpy_dtype

    return array.astype(numpy_dtype(dtype)).astype(np.float32)


def make_run(path: Path, preset: str, *, dtype: str, size: float = 0.3) -> Path:
    """A finished run's folder over a real preset, with an adapter of random B."""
    from kerasft.models import adapter as adapters
    from kerasft.models.lora import attach
    from kerasft.models.sources import load_base
    from kerasft.recipe import load
    from kerasft.runs import RunFolder

    recipe = load("sql", {"model.preset": preset, "lora.rank": 2, "data.source": f"{path}.jsonl"})
    run = RunFolder.create(path, recipe, "sql")
    template = template_for(recipe.prompt, recipe.task)
    base = load_base(preset, dtype=dtype)
    lora = attach(base.causal_lm, base.family, recipe.lora, seed=0)
    lora.assign(moved(lora.tensors(), size, seed=1))
    info = adapters.AdapterInfo(
        preset=preset,
        base_id=base.base_id,
        fingerprint=base.fingerprint,
        family=base.family.name,
        dtype=dtype,
        task=recipe.task,
        template=template.to_dict(),
        lora=recipe.lora,
    )
    adapters.save(run.adapter, lora.tensors(), info)
    run.end("finished", steps=3, first_loss=4.25, last_loss=1.5, device={"name": "a test"})
    return path


def moved(tensors: dict[str, np.ndarray], size: float, seed: int) -> dict[str, np.ndarray]:
    """An adapter's tensors with random entries in place of the zeros that B starts with."""
    random = np.random.default_rng(seed)
    return {
        name: array
        if array.any()
        else (size * random.standard_normal(array.shape)).astype(np.float32)
        for name, array in tensors.items()
    }
