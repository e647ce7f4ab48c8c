"""Gradients' products with frozen matrices in int8, on torch on a CPU.

The forward pass stays as it is, and every loss with it. In the backward pass dy · Wᵀ has both
factors rounded to int8, each row of dy and each row of W with a scale of its own, amax / 127;
the scales stand outside of the sums, which are exact in int32. CPUs with VNNI multiply int8 at
twice the rate of bfloat16 and more.
"""

from typing import Any, NamedTuple

import torch

from kerasft.engine.device import cpu_flags, torch_kind

LARGEST = 127.0
VNNI = frozenset({"avx512_vnni", "avx_vnni"})
"""Flags of CPUs that sum products of int8 in one instruction."""


class Int8Matrix(NamedTuple):
    """A frozen matrix (inputs, outputs) as it is, and rounded for its gradient's product.

    Attributes:
        matrix: (inputs, outputs) in the type of the model.
        backward: (outputs, inputs) int8, a scale for each input.
        backward_scales: (1, inputs) float32.
    """

    matrix: torch.Tensor
    backward: torch.Tensor
    backward_scales: torch.Tensor


def int8_matrix(matrix: torch.Tensor) -> Int8Matrix:
    """Round a matrix (inputs, outputs) for its gradient's product, beside itself."""
    rounded, scales = quantised(matrix)
    return Int8Matrix(matrix, rounded.t().contiguous(), scales.t().contiguous())


def quantised(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x (rows, columns) in int8, and the scale of each row, (rows, 1) float32.

    A row of zeros stays one. A row that is not finite everywhere has a scale that is not, so
    that the gradient shows it.
    """
    wide = x.float()
    scale = (wide.abs().amax(1, keepdim=True) / LARGEST).clamp(min=torch.finfo(torch.float32).tiny)
    return (wide * scale.reciprocal()).round().to(torch.int8), scale


def forward_product(x: torch.Tensor, matrix: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
    """x (rows, inputs) · an `Int8Matrix`; its gradient is a product in int8."""
    return torch.mm(x, matrix)


# An operator, because rematerialisation computes operators again; the compiler sees what it is
# made of (`torch_decompositions`). What was compiled is kept between runs under its name.
@torch.library.custom_op("kerasft::int8_backward_product", mutates_args=())
def int8_backward_product(
    x: torch.Tensor, matrix: torch.Tensor, backward: torch.Tensor, backward_scales: torch.Tensor
) -> torch.Tensor:
    """As `forward_product`."""
    return forward_product(x, matrix)


@int8_backward_product.register_fake
def _shape(x: torch.Tensor, matrix: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
    return x.new_empty(len(x), matrix.shape[1])


def _keep_rounded(ctx: Any, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[2:])


def _gradients(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    backward, backward_scales = ctx.saved_tensors
    rounded, scale = quantised(gradient)
    sums = torch._int_mm(rounded, backward).float()
    return (sums * scale * backward_scales).to(gradient.dtype), None, None, None


int8_backward_product.register_autograd(_gradients, setup_context=_keep_rounded)


def obstacle() -> str | None:
    """Why torch's device has no such products, or none that are faster; None where it has."""
    kind = torch_kind()
    if kind != "cpu":
        return f"it is for training on a CPU, and torch runs on {kind} here"
    if VNNI.isdisjoint(cpu_flags()):
        return "it needs a CPU with AVX-512 VNNI or AVX VNNI"
    return None
