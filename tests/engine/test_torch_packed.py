"""Products with matrices laid out for oneDNN are torch's own, forward and backward."""

from __future__ import annotations

import gc

import pytest
import torch

from kerasft.engine import torch_packed

pytestmark = [
    pytest.mark.skipif(
        not torch_packed.can_pack("bfloat16"), reason="oneDNN has no bfloat16 on this CPU"
    )
]


def test_a_packed_product_and_its_gradient_are_those_of_the_plain_matrix():
    x = torch.randn(24, 64, dtype=torch.bfloat16, requires_grad=True)
    matrix = torch.randn(64, 96, dtype=torch.bfloat16)
    plain = torch.mm(x, matrix)
    (expected,) = torch.autograd.grad(plain.sum(), x)
    held = len(torch_packed._packed)
    torch_packed.pack([matrix])
    assert len(torch_packed._packed) == held + 2
    for run in (torch_packed.product, torch.compile(torch_packed.product, fullgraph=True)):
        packed = run(x, matrix)
        (gradient,) = torch.autograd.grad(packed.sum(), x)
        torch.testing.assert_close(packed, plain, rtol=2**-7, atol=2**-4)
        torch.testing.assert_close(gradient, expected, rtol=2**-7, atol=2**-4)


def test_the_copies_go_with_the_matrix():
    held = len(torch_packed._packed)
    matrix = torch.randn(32, 48, dtype=torch.bfloat16)
    torch_packed.pack([matrix])
    assert len(torch_packed._packed) == held + 2
    del matrix
    gc.collect()
    assert len(torch_packed._packed) == held


def test_a_matrix_that_was_not_laid_out_is_multiplied_as_it_is():
    x, matrix = torch.randn(3, 5), torch.randn(5, 7)
    torch.testing.assert_close(torch_packed.product(x, matrix), x @ matrix)
