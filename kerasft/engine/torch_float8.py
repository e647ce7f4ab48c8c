"""Products with frozen matrices in float8, on torch.

Both factors of x · W are rounded to e4m3 (Micikevicius et al. 2022, arXiv:2209.05433), each
row of x and each column of W with a scale of its own, amax / 448. The scales stand outside of
the sums, so W is kept twice: the gradient's product dy · Wᵀ sums over the columns of W, and
wants one scale a row. Gradients are e4m3 too: with a scale for each row they need the mantissa's
third bit more than the range of e5m2.

With `float8-backward` the forward product stays in bfloat16, and the matrix as it is with it;
only dy · Wᵀ is a product in float8.

torch's product of such factors, `_scaled_mm` with row-wise scales, accumulates in the short
registers of the tensor cores (`use_fast_accum`) and gives bfloat16.
"""

from typing import Any, NamedTuple

import torch

from kerasft.engine.float8 import ALIGNMENT, LARGEST, device_obstacle
from kerasft.engine.torch_product import product

FLOAT8 = torch.float8_e4m3fn


class Float8Matrix(NamedTuple):
    """A frozen matrix (inputs, outputs), rounded for both of its products.

    Attributes:
        forward: (outputs, inputs) e4m3, a scale for each output.
        forward_scales: (1, outputs) float32.
        backward: (inputs, outputs) e4m3, a scale for each input.
        backward_scales: (1, inputs) float32.
    """

    forward: torch.Tensor
    forward_scales: torch.Tensor
    backward: torch.Tensor
    backward_scales: torch.Tensor


class BackwardMatrix(NamedTuple):
    """A frozen matrix (inputs, outputs) as it is, and rounded for its gradient's product.

    Attributes:
        matrix: (inputs, outputs) bfloat16.
        backward: (inputs, outputs) e4m3, a scale for each input.
        backward_scales: (1, inputs) float32.
    """

    matrix: torch.Tensor
    backward: torch.Tensor
    backward_scales: torch.Tensor


def float8_matrix(matrix: torch.Tensor) -> Float8Matrix:
    """Round a matrix (inputs, outputs)."""
    forward, forward_scales = quantised(matrix.t().contiguous())
    _, *backward = backward_matrix(matrix)
    return Float8Matrix(forward, forward_scales.t().contiguous(), *backward)


def backward_matrix(matrix: torch.Tensor) -> BackwardMatrix:
    """Round a matrix (inputs, outputs) for its gradient's product, beside itself."""
    backward, scales = quantised(matrix)
    return BackwardMatrix(matrix, backward, scales.t().contiguous())


def quantised(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x (rows, columns) in e4m3, and the scale of each row, (rows, 1) float32.

    A row of zeros stays one; a row that is not finite everywhere gives no number, so that
    the loss and the gradient show it.
    """
    largest = x.abs().amax(1, keepdim=True).float()
    scale = (largest / LARGEST).clamp(min=torch.finfo(torch.float32).tiny)
    return (x.float() * scale.reciprocal()).to(FLOAT8), scale


@torch.library.custom_op("kerasft::scaled_product", mutates_args=())
def scaled_product(
    x: torch.Tensor, x_scale: torch.Tensor, matrix: torch.Tensor, matrix_scale: torch.Tensor
) -> torch.Tensor:
    """Bfloat16 (rows, columns) of e4m3 x (rows, inner) and matrix (columns, inner).

    Args:
        x_scale: (rows, 1) float32.
        matrix_scale: (1, columns) float32.
    """
    return torch._scaled_mm(
        x.contiguous(),  # by rows, also where it is the gradient of something turned
        matrix.t(),
        scale_a=x_scale,
        scale_b=matrix_scale,
        out_dtype=torch.bfloat16,
        use_fast_accum=True,
    )


@scaled_product.register_fake
def _scaled_shape(
    x: torch.Tensor, x_scale: torch.Tensor, matrix: torch.Tensor, matrix_scale: torch.Tensor
) -> torch.Tensor:
    return x.new_empty(len(x), len(matrix), dtype=torch.bfloat16)


def rounded_product(
    x: torch.Tensor,
    forward: torch.Tensor,
    forward_scales: torch.Tensor,
    backward: torch.Tensor,
    backward_scales: torch.Tensor,
) -> torch.Tensor:
    """x (rows, inputs) · a `Float8Matrix`, in bfloat16; its gradient is one too."""
    return scaled_product(*quantised(x), forward, forward_scales)


# An operator, as those of `torch_product` are, because rematerialisation computes operators
# again; the compiler sees what it is made of (`torch_decompositions`). What was compiled is
# kept between runs under the operator's name: with other arithmetic it needs another one.
float8_product = torch.library.custom_op(
    "kerasft::float8_product", rounded_product, mutates_args=()
)


@float8_product.register_fake
def _product_shape(x: torch.Tensor, forward: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
    return x.new_empty(len(x), len(forward), dtype=torch.bfloat16)


def _keep_matrix(ctx: Any, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[1:])


def _gradients(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    forward, forward_scales, backward, backward_scales = ctx.saved_tensors
    turned = (backward, backward_scales, forward, forward_scales)
    return torch.ops.kerasft.float8_product.default(gradient, *turned), None, None, None, None


float8_product.register_autograd(_gradients, setup_context=_keep_matrix)


@torch.library.custom_op("kerasft::float8_backward_product", mutates_args=())
def float8_backward_product(
    x: torch.Tensor, matrix: torch.Tensor, backward: torch.Tensor, backward_scales: torch.Tensor
) -> torch.Tensor:
    """x (rows, inputs) · a `BackwardMatrix` in bfloat16; its gradient is a product in float8."""
    return product(x, matrix)


@float8_backward_product.register_fake
def _backward_product_shape(
    x: torch.Tensor, matrix: torch.Tensor, *_: torch.Tensor
) -> torch.Tensor:
    return x.new_empty(len(x), matrix.shape[1])


def _keep_rounded(ctx: Any, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[2:])


def _rounded_gradients(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    rounded = ctx.saved_tensors
    # What the product's own gradient would read is not read.
    return torch.ops.kerasft.float8_product.default(gradient, *rounded, *rounded), None, None, None


float8_backward_product.register_autograd(_rounded_gradients, setup_context=_keep_rounded)


def obstacle() -> str | None:
    """Why torch's device has no products in float8, in words; None where it has."""
    if not torch.cuda.is_available() or torch.version.cuda is None:
        return device_obstacle("torch", "ROCm" if torch.version.hip else "cpu", "", 0.0)
    major, minor = torch.cuda.get_device_capability()
    name = torch.cuda.get_device_name()
    return device_obstacle("torch", "cuda", name, major + minor / 10) or _missing("cuda")


def _missing(kind: str) -> str | None:
    """Why this torch has no such product on a kind of device that should have it."""
    ones = torch.ones(ALIGNMENT, ALIGNMENT, device=kind)
    try:
        scaled_product(*quantised(ones), ones.to(FLOAT8), ones[:1])
    except (RuntimeError, ValueError) as error:
        why = str(error).strip().partition("\n")[0]
        return (
            f"torch {torch.__version__} does not multiply float8 with row-wise scales on {kind} "
            f"({why})"
        )
    return None
