"""What an engine refuses before anything is loaded: a rounded base."""

from __future__ import annotations

import pytest

from kerasft import engines
from kerasft.engine.quantization import check_device
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


def test_int8_is_for_torch_on_a_cpu_that_has_it(monkeypatch):
    from kerasft.engine import torch_int8

    def check() -> None:
        engines.check("keras", "torch", load("sql", {"model.quantization": "int8-backward"}))

    monkeypatch.setattr(torch_int8, "torch_kind", lambda: "cpu")
    for flags in ({"avx2", "avx_vnni"}, {"avx512_vnni"}):
        monkeypatch.setattr(torch_int8, "cpu_flags", lambda flags=flags: flags)
        check()
    monkeypatch.setattr(torch_int8, "cpu_flags", lambda: {"avx2", "avx512f"})
    with pytest.raises(
        KerasftError, match=r"int8-backward cannot be had here: it needs a CPU with"
    ):
        check()
    monkeypatch.setattr(torch_int8, "torch_kind", lambda: "cuda")
    with pytest.raises(KerasftError, match=r"training on a CPU, and torch runs on cuda here"):
        check()
    with pytest.raises(KerasftError, match=r"it is for torch, and the backend is JAX"):
        check_device("jax", "int8-backward")


def test_a_base_as_it_is_is_no_matter_of_the_device():
    for backend in ("torch", "jax"):
        engines.check("keras", backend, load("sql", {"model.quantization": "none"}))
