"""Two small tokenizers: Gemma's kind (the tiny model's) and Llama 3's (made here)."""

from pathlib import Path

import pytest

from kerasft.data.tokens import Tokenizer, TokenizerJson, from_folder

LLAMA_SPECIAL = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
]


@pytest.fixture(scope="session")
def gemma(tiny_gemma3: Path) -> Tokenizer:
    return from_folder(tiny_gemma3)


def llama_json() -> bytes:
    """A byte-level BPE without merges: one token a byte, then the special ones."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    model = tokenizers.Tokenizer(
        models.BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[])
    )
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    model.add_special_tokens(LLAMA_SPECIAL)
    return model.to_str().encode()


@pytest.fixture(scope="session")
def llama() -> Tokenizer:
    return TokenizerJson(llama_json(), "<|begin_of_text|>", "<|end_of_text|>")


@pytest.fixture(params=["gemma", "llama"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return request.getfixturevalue(request.param)
