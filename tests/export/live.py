"""Trained weights for the export's tests, tiny and random: in memory, live, and as a run."""

from __future__ import annotations

import importlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasft.data.prompts import Template, template_for
from kerasft.data.tokens import SentencePieceTokenizer, Tokenizer, TokenizerJson
from kerasft.export.formats import Format
from kerasft.models.deltas import adapter_shapes, delta_of
from kerasft.models.families import FAMILIES, Family, TensorSpec
from kerasft.models.gguf import numpy_dtype
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


@dataclass(frozen=True)
class TinyWeights:
    """Trained weights in memory: a `WeightsView` that needs no Keras."""

    family: Family
    config: dict[str, Any]
    arrays: dict[str, np.ndarray]
    tensors: dict[str, np.ndarray]
    lora_settings: LoraSettings
    tokenizer: Tokenizer
    template: Template
    base_dtype: str
    base_id: str
    preset: str
    fingerprint: str = "0" * 64
    wrapped: bool = False

    def base_array(self, spec: TensorSpec) -> np.ndarray:
        return self.arrays[spec.name].astype(numpy_dtype(self.base_dtype))

    def adapter_tensors(self) -> dict[str, np.ndarray]:
        return dict(self.tensors)

    def delta(self, name: str) -> np.ndarray | None:
        (spec,) = (spec for spec in self.family.tensors(self.config) if spec.name == name)
        return delta_of(spec, self.tensors, self.lora_settings)


def tiny_weights(
    family: str,
    *,
    layout: str = "keras",
    rank: int = 2,
    alpha: float | None = 4,
    targets: Sequence[str] | None = None,
    base_dtype: str = "float32",
    size: float = 0.3,
    tied: bool | None = None,
    seed: int = 0,
    template: str | None = None,
    preset: str | None = None,
    **backbone: Any,
) -> TinyWeights:
    """A tiny random base with an adapter.

    Args:
        layout, rank, alpha: of the adapter.
        targets: layers that have one; all linear layers if None.
        base_dtype: to which the base's weights are rounded.
        size: of the entries of B; 0 leaves the adapter without effect.
        tied: of Llama 3's embeddings.
        template: of the prompt; the family's turns if None.
        preset: by which the base would be opened; a folder of somebody's if None.
        backbone: arguments of the backbone in place of the tiny config's.
    """
    table = FAMILIES[family]
    config = tiny_config(family) | {"vocabulary_size": VOCABULARY} | backbone
    if tied is not None:
        config["tie_word_embeddings"] = tied
    settings = LoraSettings(
        layout=layout, rank=rank, alpha=alpha, target_layers=list(targets or table.targets)
    )
    turns = "llama3" if family == "llama3" else "gemma"
    return TinyWeights(
        family=table,
        config=config,
        arrays=random_arrays(family, config, seed),
        tensors=random_adapter(table.tensors(config), settings, size, seed + 1),
        lora_settings=settings,
        tokenizer=tiny_tokenizer(family),
        template=template_for(PromptSettings(template=template or turns), "text_to_sql"),
        base_dtype=base_dtype,
        base_id=f"tiny-{family}",
        preset=preset or f"/home/someone/tiny-{family}",
    )


def random_adapter(
    specs: Sequence[TensorSpec], settings: LoraSettings, size: float, seed: int
) -> dict[str, np.ndarray]:
    """A and B of every target: A as it is drawn before training, B random of a size."""
    random = np.random.default_rng(seed)
    tensors = {}
    for spec in specs:
        if spec.target not in settings.target_layers:
            continue
        a, b = adapter_shapes(spec, settings)
        limit = math.sqrt((6 if settings.layout == "keras" else 1) / math.prod(a[:-1]))
        path = spec.name.removesuffix("/kernel")
        tensors[f"{path}/a"] = random.uniform(-limit, limit, a).astype(np.float32)
        tensors[f"{path}/b"] = (size * random.standard_normal(b)).astype(np.float32)
    return tensors


def live_model(family: str, *, dtype: str = "float32", **options: Any) -> LoadedModel:
    """The live model of `tiny_weights`.

    Args:
        family: its name.
        dtype: in which it computes.
        options: of `tiny_weights`.
    """
    return live_of(tiny_weights(family, **options), dtype=dtype)


def live_of(weights: TinyWeights, *, dtype: str = "float32", adapted: bool = True) -> LoadedModel:
    """The live model of weights in memory, with their adapter or without one."""
    from kerasft.engine.loaded import LoadedModel
    from kerasft.models.lora import attach
    from kerasft.models.weights import fill

    causal_lm = weights.family.build(weights.config, dtype)
    specs = weights.family.tensors(weights.config)
    fill(causal_lm.backbone, specs, lambda spec: weights.base_array(spec).astype(np.float32))
    lora = None
    if adapted:
        lora = attach(causal_lm, weights.family, weights.lora_settings, seed=0)
        lora.assign(weights.tensors)
    return LoadedModel(
        causal_lm=causal_lm,
        family=weights.family,
        config=weights.config,
        tokenizer=weights.tokenizer,
        template=weights.template,
        lora=lora,
        adapter=None,
        base_dtype=weights.base_dtype,
        base_id=weights.base_id,
        fingerprint=weights.fingerprint,
        preset=weights.preset,
        task="text_to_sql",
    )


def ask_here(form: Format, folder: Path, scratch: Path) -> str | None:
    """A format's reader in this process: a fresh one takes seconds to import its libraries."""
    try:
        importlib.import_module(form.reader).main(folder, scratch)
    except Exception as error:  # a program would end with it
        return f"{type(error).__name__}: {error}"
    return None


def make_run(
    path: Path, preset: str, *, dtype: str, size: float = 0.3, layout: str = "keras"
) -> Path:
    """A finished run's folder over a real preset, with a random adapter; needs no Keras."""
    from kerasft.models import adapter as adapters
    from kerasft.models.sources import open_base
    from kerasft.recipe import load
    from kerasft.runs import RunFolder

    opened, base_id = open_base(preset)
    recipe = load(
        "sql",
        {
            "model.preset": preset,
            "lora.rank": 2,
            "lora.layout": layout,
            "data.source": f"{path}.jsonl",
            "prompt.template": "llama3" if opened.family.name == "llama3" else "gemma",
        },
    )
    run = RunFolder.create(path, recipe, "sql")
    template = template_for(recipe.prompt, recipe.task)
    info = adapters.AdapterInfo(
        preset=preset,
        base_id=base_id,
        fingerprint=opened.fingerprint(dtype),
        family=opened.family.name,
        dtype=dtype,
        task=recipe.task,
        template=template.to_dict(),
        lora=recipe.lora,
    )
    adapters.save(run.adapter, random_adapter(opened.specs, recipe.lora, size, seed=1), info)
    run.end("finished", steps=3, first_loss=4.25, last_loss=1.5, device={"name": "a test"})
    return path
