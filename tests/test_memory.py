"""What a step takes, and when blocks are computed twice for it."""

from __future__ import annotations

from typing import Any

import pytest

from kerasft.memory import (
    StepMemory,
    available_bytes,
    choose_remat,
    shortage,
    step_memory,
    trainable_parameters,
)
from kerasft.memory_use import ram_bytes
from kerasft.models.families import FAMILIES
from kerasft.models.presets import KNOWN
from kerasft.recipe import LoraSettings

GIB = 2**30
ALL_TARGETS = ("query", "key", "value", "output", "gate", "up", "down")


def memory(preset: str = "gemma_2b_en", rows: int = 8, **changes: Any) -> StepMemory:
    known = KNOWN[preset]
    length = changes.pop("length", 512)
    settings = {
        "dtype": "bfloat16",
        "backend": "torch",
        "on_cpu": False,
        "chunk_bytes": lambda remat: 2**30,
        "shape": (1, rows, length, rows * length),
        "lora": LoraSettings(rank=4),
    } | changes
    return step_memory(FAMILIES[known.family], known.config, **settings)


def test_the_adapter_of_gemma_2b_has_keras_hubs_and_pefts_sizes():
    known = KNOWN["gemma_2b_en"]
    sizes = {
        layout: trainable_parameters(
            FAMILIES[known.family], known.config, LoraSettings(layout=layout, rank=4)
        )
        for layout in ("keras", "peft")
    }
    assert sizes == {"keras": 1_363_968, "peft": 460_800}


def test_gemma_2b_takes_its_weights_and_what_blocks_keep():
    step = memory()
    # 4.67 GiB of weights; 41,472 kept values of two bytes a token and block, 5.7 GiB.
    assert 4.67 + 5.7 < step.without_remat / GIB < 4.67 + 5.7 + 2
    assert 4.67 < step.with_remat / GIB < 4.67 + 2.2


def test_a_base_in_float8_is_there_twice_with_its_scales():
    """Two bytes a weight, as in bfloat16, and four for each row and column of a matrix."""
    plain, float8 = memory(), memory(quantization="float8")
    # A block of Gemma-2B: query and output 2048 × 2048, key and value 2048 × 256, and
    # gate, up and down 2048 × 16384.
    scales = 4 * 18 * (2 * 4096 + 2 * 2304 + 3 * 18432)
    for remat in (False, True):
        assert float8.of(remat) - plain.of(remat) == scales


def test_rounded_copies_for_the_backward_pass_take_what_gate_and_up_leave():
    """A byte a weight more, and a byte less for each number of gate and up that is kept."""
    plain, backward = memory(), memory(quantization="float8-backward")
    weights = 2 * 2048 * 2048 + 2 * 2048 * 256 + 3 * 2048 * 16384
    inputs = 4 * 2048 + 16384 + 2 * 2048
    more = 18 * (weights + 4 * inputs)
    kept = 2 * 16384 * 8 * 512
    assert backward.without_remat - plain.without_remat == more - 18 * kept
    # There the loss is the widest.
    assert backward.with_remat - plain.with_remat == more
    in_int8 = memory(quantization="int8-backward")
    assert in_int8.without_remat - plain.without_remat == more


@pytest.mark.parametrize("preset", ["gemma_2b_en", "gemma2_instruct_2b_en", "llama3.1_8b"])
def test_more_tokens_take_more_and_remat_takes_less(preset: str):
    small, large = memory(preset, rows=2), memory(preset, rows=4)
    long = memory(preset, rows=2, length=1024)
    for step in (large, long):
        assert step.without_remat > small.without_remat
        assert step.with_remat > small.with_remat
    for step in (small, large, long):
        assert step.with_remat < step.without_remat
        assert (step.of(True), step.of(False)) == (step.with_remat, step.without_remat)


def test_masks_and_attention_weights_count_where_there_are_any():
    gpu = memory(rows=1, length=2048).with_remat
    cpu = memory(rows=1, length=2048, on_cpu=True).with_remat
    assert cpu > gpu + 2048 * 2048
    # A soft-cap has no flash attention: its weights are as many as tokens times tokens.
    steps = [memory("gemma2_instruct_2b_en", rows=1, length=n) for n in (1024, 2048, 4096)]
    first, second, third = (step.without_remat for step in steps)
    assert third - second > 2.3 * (second - first)


def test_gemma_2b_fits_a_card_of_16_gb_in_float32_only_with_remat():
    """A T4 computes in no bfloat16; batch 4 × 512 is what its users ask for."""
    step = memory(rows=4, dtype="float32")
    available = int(0.9 * 15 * GIB)
    assert step.with_remat < available < step.without_remat
    assert choose_remat("auto", step.without_remat, step.with_remat, available)


MEASURED = [
    # What processes with random weights took at their peak: see docs/memory.md.
    ("gemma3_270m", "torch", True, False, (1, 4, 256, 256), "bfloat16", 1.82),
    ("gemma3_270m", "torch", False, False, (1, 1, 256, 64), "bfloat16", 1.56),
    ("gemma3_270m", "torch", False, False, (1, 4, 256, 256), "bfloat16", 2.27),
    ("gemma3_270m", "torch", False, True, (1, 4, 256, 256), "bfloat16", 1.56),
    ("gemma3_270m", "jax", True, False, (1, 1, 256, 64), "float32", 2.38),
    ("gemma3_270m", "jax", True, False, (1, 4, 256, 256), "float32", 3.44),
    ("gemma3_270m", "jax", True, True, (1, 4, 256, 256), "float32", 3.46),
]
"""Preset, backend, compiled, remat, shape, dtype, GiB resident on two cores of a CPU."""

ON_H100 = [
    ("gemma_2b_en", "torch", False, (1, 8, 512, 4096), 12212459520),
    ("gemma_2b_en", "jax", False, (1, 8, 512, 4096), 11810490624),
    ("gemma_2b_en", "torch", True, (1, 8, 512, 4096), 5897031680),
    ("gemma_2b_en", "jax", True, (1, 8, 512, 4096), 6520944640),
    ("gemma_2b_en", "torch", False, (1, 16, 512, 2048), 18623322112),
    ("gemma_2b_en", "jax", False, (1, 16, 512, 2048), 18197708288),
    ("gemma3_270m", "torch", False, (1, 8, 1024, 2048), 4428819968),
    ("gemma3_270m", "jax", False, (1, 8, 1024, 2048), 3652248320),
    ("gemma3_270m", "torch", True, (1, 32, 512, 4096), 1617347584),
    ("gemma3_270m", "jax", True, (1, 32, 512, 4096), 1681803776),
]
"""Preset, backend, remat, shape, bytes allocated at the peak: bfloat16, rank 4."""


@pytest.mark.parametrize("case", MEASURED, ids=str)
def test_a_cpu_s_resident_memory_is_predicted_within_15_percent(case):
    preset, backend, compiled, remat, shape, dtype, gib = case
    known = KNOWN[preset]
    step = step_memory(
        FAMILIES[known.family],
        known.config,
        LoraSettings(rank=8),
        shape,
        dtype=dtype,
        backend=backend,
        on_cpu=True,
        chunk_bytes=lambda remat: 2**26,
        compiled=compiled,
    )
    assert step.of(remat) / GIB == pytest.approx(gib, rel=0.15)


@pytest.mark.parametrize(("preset", "backend", "remat", "shape", "measured"), ON_H100)
def test_an_h100_s_peak_is_predicted_within_15_percent(preset, backend, remat, shape, measured):
    step = memory(
        preset, backend=backend, shape=shape, chunk_bytes=lambda remat: 2**28 if remat else 2**29
    )
    assert step.of(remat) == pytest.approx(measured, rel=0.15)


@pytest.mark.parametrize(("backend", "measured"), [("torch", 8857471488), ("jax", 6239584256)])
def test_a_run_of_the_270m_on_an_h100_is_predicted_within_15_percent(backend, measured):
    """Spider's rows, packed, rank 8 on all seven layers: down keeps its input on torch."""
    step = memory(
        "gemma3_270m",
        backend=backend,
        shape=(1, 16, 1024, 1920),
        lora=LoraSettings(layout="peft", rank=8, target_layers=list(ALL_TARGETS)),
        chunk_bytes=lambda remat: 2**28 if remat else 2**29,
    )
    assert step.of(False) == pytest.approx(measured, rel=0.15)


def test_xla_on_a_cpu_saves_nothing_by_computing_twice():
    step = memory("gemma3_270m", backend="jax", on_cpu=True, dtype="float32")
    assert step.with_remat == step.without_remat
    assert not choose_remat("auto", step.without_remat, step.with_remat, 1)


@pytest.mark.parametrize(
    ("setting", "available", "expected"),
    [
        ("none", 1, False),
        ("block", 1000, True),
        ("auto", 100, False),
        ("auto", 99, True),
        ("auto", 10, True),
        ("auto", None, False),
    ],
)
def test_remat_is_chosen_by_what_there_is(setting: str, available: int | None, expected: bool):
    assert choose_remat(setting, 100, 40, available) is expected


def test_remat_that_saves_nothing_is_not_chosen():
    assert not choose_remat("auto", 100, 110, 50)


def test_a_shortage_says_what_to_change():
    assert shortage(GIB, 2 * GIB, remat=False) is None
    assert shortage(GIB, None, remat=False) is None
    words = shortage(20 * GIB, 14 * GIB, remat=True)
    assert "20.0 GiB as it is" in words and "14.0 GiB" in words
    assert "train.batch_size" in words and 'remat = "block"' not in words
    assert 'train.remat = "block"' in shortage(20 * GIB, 14 * GIB, remat=False)


class _Device:
    def __init__(self, kind: str, memory_bytes: int | None) -> None:
        self.kind, self.memory_bytes = kind, memory_bytes


def test_an_accelerator_keeps_a_tenth_and_a_cpu_has_its_ram():
    assert available_bytes(_Device("cuda", 1000)) == 900
    assert available_bytes(_Device("mps", None)) is None
    assert available_bytes(_Device("cpu", None)) == ram_bytes()
