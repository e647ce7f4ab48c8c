"""What an engine refuses before anything is loaded: a base in float8."""

from __future__ import annotations

import pytest

from kerasft import engines
from kerasft.errors import KerasftError
from kerasft.recipe import load

FLOAT8 = {"model.quantization": "float8"}


@pytest.mark.parametrize(
    ("engine", "backend", "settings", "why"),
    [
        ("keras", "torch", {"model.dtype": "float32"}, r"base in bfloat16, and model.dtype is fl"),
        ("keras", "jax", {"model.dtype": "float16"}, r"base in bfloat16, and model.dtype is fl"),
        ("keras", "torch", {}, r"it needs an NVIDIA GPU, and torch runs on cpu here"),
        ("hf", "torch", {"lora.layout": "peft"}, r"float8, which the engine keras alone does"),
        ("trl", "torch", {"lora.layout": "peft"}, r"float8, which the engine keras alone does"),
    ],
)
def test_float8_is_refused_where_it_cannot_be_had(engine, backend, settings, why, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(KerasftError, match=why):
        engines.check(engine, backend, load("sql", FLOAT8 | settings))


def test_a_base_as_it_is_is_no_matter_of_the_device():
    for backend in ("torch", "jax"):
        engines.check("keras", backend, load("sql", {"model.quantization": "none"}))
