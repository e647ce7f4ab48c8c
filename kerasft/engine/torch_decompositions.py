"""How Inductor compiles functions with rounded matrices: rounding is part of its kernels."""

import functools
from typing import Any

import torch

from kerasft.engine import torch_int8
from kerasft.engine.torch_float8 import rounded_product


def compiling(remat: bool) -> dict[str, Any]:
    """Options of Inductor for functions with float8.

    The gradient of a gated activation is more than the 30 operations from which on it would
    write an intermediate result, in float32, and read it again. A row is rounded by a scale
    that is known at its end: kernels that hold a row of up to 16,384 numbers are tried beside
    those that read it twice, and the faster one is taken; the choice is kept with the compiled
    code. Under rematerialisation, with a kernel for each tile, that takes the first step of
    Gemma-2B from 29 to 36 s, and a step from 79.5 to 76.9 ms: they are not tried there.
    """
    return {"realize_opcount_threshold": 200, "triton.multi_kernel": int(not remat)}


@functools.cache
def shown_to_the_compiler() -> None:
    """Let Inductor take products apart, after their gradients have been traced.

    Then x is rounded by the kernel that computes it, is not written in bfloat16 where
    nothing else reads it, and is rounded once where two products read it.
    """
    from torch._inductor import decomposition

    operators = torch.ops.kerasft
    for operator, parts in (
        (operators.float8_product.default, rounded_product),
        (operators.int8_backward_product.default, torch_int8.forward_product),
    ):
        decomposition.register_decomposition([operator])(parts)
    # A copy of the table, which a compilation before this one has made.
    decomposition.fast_random_decomps.cache_clear()
