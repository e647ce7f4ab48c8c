"""Makes weights/tiny-gemma3: a random Gemma 3 with a small tokenizer, for the tests.

    python weights/make_tiny.py [FOLDER]

Everything is drawn from fixed seeds, so a second run writes the same bytes. Nothing
in it comes from a pretrained model or from text that others wrote.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import sentencepiece
from safetensors.numpy import save_file

from kerasft.models.families import FAMILIES

SEED = 20
VOCABULARY = 1000
CONFIG: dict[str, Any] = {
    "vocabulary_size": VOCABULARY,
    "num_layers": 6,  # five local blocks and a global one
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": 64,
    "intermediate_dim": 128,
    "head_dim": 16,
    "query_head_dim_normalize": True,
    "use_query_key_norm": True,
    "use_post_ffw_norm": True,
    "use_post_attention_norm": True,
    "attention_logit_soft_cap": None,
    "final_logit_soft_cap": None,
    "use_sliding_window_attention": True,
    "sliding_window_size": 16,
    "local_rope_scaling_factor": 1.0,
    "global_rope_scaling_factor": 1.0,
    "layer_norm_epsilon": 1e-6,
}
TURNS = ["<start_of_turn>", "<end_of_turn>"]
BREAKS = ["\n", "\n\n"]

WORDS = {
    "noun": "customer order product invoice employee department student course teacher book author "
    "library city country river flight airport passenger doctor patient hospital song album "
    "artist team player match season recipe ingredient garden plant machine part supplier",
    "column": "id name price total year month date age salary quantity score rating status",
    "verb": "has sells buys keeps counts writes reads makes finds lists sorts joins",
    "adjective": "new old cheap large small first last average highest lowest busy quiet",
    "filler": "the of to and in for with each every which many how what show give by from than "
    "more less between before after during where when is are was were not only all no at least",
}


def sentences(generator: np.random.Generator, count: int) -> Iterator[str]:
    """Questions, statements and SQL, put together from word lists."""

    def one(kind: str) -> str:
        words = WORDS[kind].split()
        return words[generator.integers(len(words))]

    for index in range(count):
        a, b, c, d = one("noun"), one("noun"), one("column"), one("column")
        number = int(generator.integers(2, 3000))
        yield (
            f"How many {a}s are there for each {b} with a {c} of more than {number}?",
            f"Show the {c} and the {d} of the {one('adjective')} {a}s, sorted by {d}.",
            f"SELECT {c}, {d} FROM {a}s WHERE {c} > {number} ORDER BY {d} DESC LIMIT 5;",
            f"SELECT COUNT(*), AVG({c}) FROM {a}s JOIN {b}s ON {a}s.id = {b}s.{a}_id "
            f"GROUP BY {b}s.{d} HAVING COUNT(*) >= {number};",
            f"CREATE TABLE {a}s (id INTEGER PRIMARY KEY, {c} TEXT, {d} REAL, {b}_id INTEGER);",
            f"INSERT INTO {a}s VALUES ({number}, '{one('adjective')} {b}', {number / 100:.2f});",
            f"Every {one('adjective')} {a} {one('verb')} {one('filler')} {one('filler')} {b}s.",
        )[index % 7]


def tokenizer_model(generator: np.random.Generator) -> bytes:
    """A SentencePiece model with Gemma's special ids, byte fallback and turn markers."""
    model = io.BytesIO()  # a path would end up in the model's own settings
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=sentences(generator, 6000),
        model_writer=model,
        vocab_size=VOCABULARY,
        model_type="bpe",
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        unk_piece="<unk>",
        user_defined_symbols=TURNS + BREAKS,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_digits=True,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def tensors(generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Random bfloat16 tensors under Hugging Face names; no norm is constant."""
    state = {}
    for spec in FAMILIES["gemma3"].tensors(CONFIG):
        values = generator.standard_normal(spec.hf_shape)
        scale = 0.2 if spec.name.endswith("/scale") else spec.hf_shape[-1] ** -0.5
        state[spec.hf] = (scale * values).astype(ml_dtypes.bfloat16)
    return state


def make(folder: Path) -> None:
    """Writes the folder in Hugging Face format."""
    generator = np.random.default_rng(SEED)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(tokenizer_model(generator))
    turn_end = 5  # the second of TURNS; user-defined pieces follow the four special ids
    config = FAMILIES["gemma3"].hf_config(
        CONFIG, dtype="bfloat16", bos_id=2, eos_ids=[1, turn_end], pad_id=0
    )
    tokenizer = {
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
    }
    for name, contents in (("config.json", config), ("tokenizer_config.json", tokenizer)):
        (folder / name).write_text(json.dumps(contents, indent=2, sort_keys=True) + "\n")
    save_file(tensors(generator), folder / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "tiny-gemma3")
