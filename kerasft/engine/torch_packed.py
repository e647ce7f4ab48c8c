"""Frozen bfloat16 matrices in the layout that oneDNN multiplies by, on a CPU.

oneDNN's kernels read a matrix in blocks of interleaved rows. torch hands it plain matrices,
which it lays out anew at every product: for the 270M on two cores a quarter of their time.
Frozen matrices are laid out once here, for the product and for the one with the transposed
matrix that the backward pass needs, in copies beside the plain ones. What is summed, and
where it is rounded, stays the same.
"""

import weakref
from collections.abc import Iterable
from typing import Any

import torch

ROWS = 256
"""Rows of the products that the layout is chosen for; others are computed too."""

_Place = tuple[int, tuple[int, ...], tuple[int, ...]]

_packed: dict[_Place, torch.Tensor] = {}
"""By where a matrix lies, how large it is and how it is strided."""


def can_pack(dtype: str) -> bool:
    """Whether torch's oneDNN multiplies matrices of this type as they are on this CPU."""
    return (
        dtype == "bfloat16"
        and torch.backends.mkldnn.is_available()
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def pack(matrices: Iterable[torch.Tensor]) -> None:
    """Lay matrices out for `product`, as they are and transposed.

    Args:
        matrices: (inner, columns), plain, frozen from now on. The copies live as long as
            these tensors, which are to live as long as their memory is read.
    """
    for matrix in matrices:
        for form in (matrix, matrix.t()):
            place = _place(form)
            rows_first = form.detach().t().contiguous()
            _packed[place] = torch.ops.mkldnn._reorder_linear_weight(rows_first, ROWS)
            weakref.finalize(matrix, _packed.pop, place, None)


_library = torch.library.Library("kerasft", "FRAGMENT")
_library.define("packed_product(Tensor x, Tensor matrix) -> Tensor")


def _product(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    packed = _packed.get(_place(matrix))
    if packed is None:
        return torch.mm(x, matrix)
    return _multiply(x, packed, None, "none", [], "")


# Registered by itself: `torch.library.custom_op` costs 0.17 ms a call, a tenth of a product.
_library.impl("packed_product", _product, "CPU")
_multiply = torch.ops.mkldnn._linear_pointwise.default

product = torch.ops.kerasft.packed_product.default
"""x (rows, inner) · matrix (inner, columns), by its layout where it was laid out; the matrix is
frozen and has no gradient."""

torch.library.register_fake(
    "kerasft::packed_product", lambda x, matrix: x.new_empty(x.shape[0], matrix.shape[1])
)


def _keep_matrix(ctx: Any, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
    ctx.save_for_backward(inputs[1])


def _gradients(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
    (matrix,) = ctx.saved_tensors
    return product(gradient, matrix.t()), None


torch.library.register_autograd("kerasft::packed_product", _gradients, setup_context=_keep_matrix)


def _place(matrix: torch.Tensor) -> _Place:
    return matrix.data_ptr(), tuple(matrix.shape), matrix.stride()
