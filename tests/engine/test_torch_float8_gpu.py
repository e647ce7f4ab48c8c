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
from kerasft.engine.torch_float8 import (
    backward_matrix,
    float8_backward_product,
    float8_matrix,
    float8_product,
    obstacle,
)
from kerasft.engine.torch_gate import gated_kept_in_float8
from kerasft.recipe import TrainSettings
from tests.engine.rounding import rounded
from tests.engine.tuning import fit, small_model, tuner_on, uneven_examples, windows_of

pytestmark = [pytest.mark.keras, pytest.mark.gpu]

STEPS = 20


@pytest.fixture(autouse=True)
def hopper() -> None:
    if (why := obstacle()) is not None:
        pytest.skip(why)


WIDTH, INNER = 1024, 8192
ROUNDED = 3 * 3 * WIDTH * INNER
"""Weights in the feed-forward layers of three blocks."""


def wide_tuner(**settings: Any) -> FineTuner:
    """Over a Gemma whose matrices and activations outweigh the rest."""
    model = small_model("gemma", dtype="bfloat16", hidden_dim=WIDTH, intermediate_dim=2 * INNER)
    tuner = tuner_on(model, "gemma", moved=False, **settings)
    tuner.prepare(TrainSettings(learning_rate=1e-2, schedule="constant"), total_steps=STEPS)
    return tuner


def test_a_product_is_that_of_rounded_factors():
    generator = torch.Generator("cuda").manual_seed(0)
    x, matrix, slope = (
        torch.randn(size, generator=generator, device="cuda").bfloat16()
        for size in ((100, 256), (256, 48), (100, 48))
    )
    x.requires_grad_()
    of_x, of_matrix, of_slope = (
        each.detach().double().cpu().numpy() for each in (x, matrix, slope)
    )
    forward = rounded(of_x) @ rounded(of_matrix.T).T
    backward = rounded(of_slope) @ rounded(of_matrix).T
    products = (
        (float8_product(x, *float8_matrix(matrix)), forward),
        (float8_backward_product(x, *backward_matrix(matrix)), of_x @ of_matrix),
    )
    for y, exact in products:
        (gradient,) = torch.autograd.grad(y, x, slope)
        for found, expected in ((y, exact), (gradient, backward)):
            found = found.detach().double().cpu().numpy()
            # The tensor cores' short sums, the last bit of bfloat16, and ties that a scale's
            # last bit moves; rounding itself is 0.03 to 0.04.
            assert np.linalg.norm(found - expected) < 0.01 * np.linalg.norm(expected)


@pytest.mark.parametrize("activation", ["gelu", "silu"])
def test_the_gate_is_that_of_the_cpu(activation):
    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(70, 130, generator=generator).bfloat16() * 4 for _ in range(2)]
    expected = gated_kept_in_float8(*given, activation)
    found = gated_kept_in_float8(*(each.cuda() for each in given), activation)
    for mine, wanted in zip(found, expected, strict=True):
        assert mine.dtype == wanted.dtype
        mine, wanted = mine.cpu().float(), wanted.float()
        torch.testing.assert_close(mine, wanted, rtol=2.0**-7, atol=1e-5)
    for mine, wanted in zip(found[1:], expected[1:], strict=True):
        assert torch.equal(mine.cpu().view(torch.uint8), wanted.view(torch.uint8))


@pytest.mark.parametrize("remat", [False, True])
def test_twenty_steps_fall_as_in_bfloat16_in_little_more_memory(remat):
    """Beside the base in bfloat16: as much for float8, a byte a weight for its gradients."""
    if (obstacle := compiler.obstacle()) is not None:
        pytest.skip(f"nothing can be compiled here: {obstacle}")
    windows = windows_of(uneven_examples(300), 8, 1, packing=True, sequence_length=256)
    windows = [windows[step % 2] for step in range(STEPS)]
    losses, peaks = {}, {}
    more = {"none": 0, "float8": 0, "float8-backward": ROUNDED}
    for quantization in more:
        tuner = wide_tuner(quantization=quantization, remat=remat, compiled=True)
        fit(tuner, windows[:1])
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        losses[quantization] = np.array([line["loss"] for line in fit(tuner, windows)])
        peaks[quantization] = torch.cuda.max_memory_allocated()
        assert tuner.notes == ["the step is compiled"] and len(tuner._recorded) == 1
        tuner.restore_base()
        del tuner
        torch.cuda.empty_cache()
    plain = losses.pop("none")
    fall = plain[0] - plain[-1]
    assert fall > 0.3
    for quantization, mine in losses.items():
        assert np.abs(mine - plain).max() < 0.02 * fall
        assert not np.array_equal(mine, plain)
        # Originals that stayed would take 151 MB more; a peak with float8's products has been
        # 106 MB higher than without.
        assert peaks[quantization] < peaks["none"] + more[quantization] + 2**27
