"""`train.deterministic`: what is set, and that a step has no operation that it forbids."""

import os

import pytest

import kerasft
from kerasft.determinism import make_deterministic, xla_is_deterministic
from tests.small import say_rows, small_recipe, write_rows


def test_xla_is_told_once_beside_the_users_own_flags(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    make_deterministic("jax")
    make_deterministic("jax")

    assert os.environ["XLA_FLAGS"] == "--xla_dump_to=x --xla_gpu_deterministic_ops=true"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("", False),
        ("--xla_dump_to=x", False),
        ("--xla_gpu_deterministic_ops=true", True),
        ("--xla_gpu_deterministic_ops=false", False),
        ("--xla_dump_to=x --xla_gpu_exclude_nondeterministic_ops", True),
    ],
)
def test_the_users_own_flags_count(monkeypatch, flags, expected):
    monkeypatch.setenv("XLA_FLAGS", flags)
    assert xla_is_deterministic() is expected


@pytest.mark.keras
def test_a_run_trains_so(tmp_path, backend, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    recipe = small_recipe(
        write_rows(tmp_path / "rows.jsonl", say_rows(8)),
        lora__dropout=0.1,
        data__validation=2,
        train__packing=True,
        train__sequence_length=128,
        train__max_steps=2,
        train__deterministic=True,
        eval__samples=0,
    )
    try:
        result = kerasft.train(recipe, backend=backend, out=tmp_path / "run")
        if backend == "torch":
            import torch

            assert torch.are_deterministic_algorithms_enabled()
    finally:
        if backend == "torch":
            torch.use_deterministic_algorithms(False)
    assert result.status == "finished"
