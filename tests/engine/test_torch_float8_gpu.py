"""A frozen base in float8 on a GPU: compiled, recorded, beside the same base in bfloat16."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("the step of the other backend", allow_module_level=True)

import torch

from kerasft.engine import compiler
from kerasft.engine.finetuner import FineTuner
from kerasft.engine.torch_float8 import float8_matrix, float8_product, obstacle
from kerasft.recipe import TrainSettings
from tests.engine.tuning import fit, small_model, tuner_on, uneven_examples, windows_of

pytestmark = [pytest.mark.keras, pytest.mark.gpu]

STEPS = 20


@pytest.fixture(autouse=True)
def hopper() -> None:
    if (why := obstacle()) is not None:
        pytest.skip(why)


def wide_tuner(**settings: Any) -> FineTuner:
    """Over a Gemma whose matrices and activations outweigh the rest."""
    model = small_model("gemma", dtype="bfloat16", hidden_dim=256, intermediate_dim=8192)
    tuner = tuner_on(model, "gemma", moved=False, compiled=True, **settings)
    tuner.prepare(TrainSettings(learning_rate=1e-2, schedule="constant"), total_steps=STEPS)
    return tuner


def test_a_product_is_that_of_the_cpu():
    generator = torch.Generator().manual_seed(0)
    x, matrix, slope = (
        torch.randn(size, generator=generator).bfloat16()
        for size in ((100, 256), (256, 48), (100, 48))
    )
    found = {}
    for device in ("cpu", "cuda"):
        given = x.to(device).detach().requires_grad_()
        y = float8_product(given, *float8_matrix(matrix.to(device)))
        (gradient,) = torch.autograd.grad(y, given, slope.to(device))
        found[device] = [each.detach().float().cpu().numpy() for each in (y, gradient)]
    for mine, expected in zip(found["cuda"], found["cpu"], strict=True):
        # The tensor cores' short sums, and the last bit of bfloat16.
        np.testing.assert_allclose(mine, expected, rtol=0.01, atol=0.01 * np.abs(expected).max())


@pytest.mark.parametrize("remat", [False, True])
def test_twenty_steps_fall_as_in_bfloat16_in_no_more_memory(remat):
    if (obstacle := compiler.obstacle()) is not None:
        pytest.skip(f"nothing can be compiled here: {obstacle}")
    windows = windows_of(uneven_examples(300), 8, 1, packing=True, sequence_length=256)
    windows = [windows[step % 2] for step in range(STEPS)]
    losses, peaks = {}, {}
    for float8 in (False, True):
        tuner = wide_tuner(float8=float8, remat=remat)
        fit(tuner, windows[:1])
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        losses[float8] = [line["loss"] for line in fit(tuner, windows)]
        peaks[float8] = torch.cuda.max_memory_allocated()
        assert tuner.notes == ["the step is compiled"] and len(tuner._recorded) == 1
        tuner.restore_base()
        del tuner
        torch.cuda.empty_cache()
    plain, mine = (np.array(losses[float8]) for float8 in (False, True))
    fall = plain[0] - plain[-1]
    assert fall > 0.3
    assert np.abs(mine - plain).max() < 0.02 * fall
    assert not np.array_equal(mine, plain)
    assert peaks[True] < 1.02 * peaks[False]
