"""Tiny bases that both stacks load from their files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.export.live import VOCABULARY, llama_tokenizer_json
from tests.models.conftest import hf_model
from tests.tiny import tiny_config


@pytest.fixture(scope="session")
def tiny_llama3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama 3 with a tokenizer, as a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("bases") / "tiny-llama3"
    config = tiny_config("llama3") | {"vocabulary_size": VOCABULARY}
    hf_model("llama3", folder, config).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes(llama_tokenizer_json())
    special = {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(special))
    return folder


@pytest.fixture(scope="session", params=["gemma3", "llama3"])
def preset(request: pytest.FixtureRequest, tiny_gemma3: Path, tiny_llama3: Path) -> str:
    """A tiny base of each family that the twin is tried on."""
    return str(tiny_gemma3 if request.param == "gemma3" else tiny_llama3)
