"""The kernel of the loss's softmax against the plain form."""

from __future__ import annotations

import keras
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("the step of the other backend", allow_module_level=True)

import torch

from kerasft.engine.torch_loss import softmax_sums

pytestmark = [pytest.mark.keras, pytest.mark.gpu]


@pytest.mark.parametrize("keep_gradient", [False, True])
@pytest.mark.parametrize("soft_cap", [None, 3.0])
@pytest.mark.parametrize("words", [100, 8192, 20_001])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_is_the_plain_softmax(dtype, words, soft_cap, keep_gradient):
    """More rows than run at once; rows without weight; the target the largest, or not."""
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    pytest.importorskip("triton")
    from kerasft.engine import torch_softmax

    random = torch.Generator("cuda").manual_seed(0)
    rows = 700
    logits = torch.randn(rows, words, generator=random, device="cuda").mul_(4).to(dtype)
    targets = torch.randint(0, words, (rows,), generator=random, device="cuda")
    targets[::3] = logits[::3].argmax(-1)
    weights = torch.ones(rows, device="cuda")
    weights[::7] = 0
    given = (targets, weights, soft_cap, keep_gradient)
    loss, right, slope = softmax_sums(logits.clone(), *given)
    found_loss, found_right, found = torch_softmax.softmax_sums(logits, *given)
    torch.testing.assert_close(found_loss, loss, rtol=1e-5, atol=1e-3)
    assert found_right == right and right > rows / 5
    assert (found is None) == (slope is None) == (not keep_gradient)
    if keep_gradient:
        assert found.data_ptr() == logits.data_ptr()
        torch.testing.assert_close(
            found, slope, rtol=1e-4 if dtype is torch.float32 else 1e-2, atol=1e-6
        )
