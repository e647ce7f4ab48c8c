"""The gated activation of a feed-forward layer on torch, and what it keeps in float8.

With `float8-backward` gate and up are kept for the backward pass in e5m2: they enter
gradients alone, which are rounded anyway, and take half the memory so. That makes room for
the rounded copies of the matrices. e5m2 reaches from 1.5e-5 to 57,344 and needs no scale.
"""

from importlib.util import find_spec
from typing import Any

import torch
from torch.nn import functional as F

KEPT = torch.float8_e5m2


def gated(gate: torch.Tensor, up: torch.Tensor, activation: str) -> torch.Tensor:
    """activation(gate) · up, of one shape; `activation` is `gelu` (its tanh form) or `silu`."""
    active = F.gelu(gate, approximate="tanh") if activation == "gelu" else F.silu(gate)
    return active * up


# An operator that the compiler does not look into: from its parts it would take that gate
# and up in float8 belong to the backward pass, and keep them as they are until then.
@torch.library.custom_op("kerasft::gated_kept_in_float8", mutates_args=())
def gated_kept_in_float8(
    gate: torch.Tensor, up: torch.Tensor, activation: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`gated`, with gradients of gate and up in e5m2, which are the second and third result."""
    if gate.is_cuda and find_spec("triton") is not None:
        from kerasft.engine.torch_fused import gated_and_kept

        return gated_and_kept(gate, up, activation, KEPT)
    return gated(gate, up, activation), gate.to(KEPT), up.to(KEPT)


@gated_kept_in_float8.register_fake
def _shapes(gate: torch.Tensor, up: torch.Tensor, activation: str) -> tuple[torch.Tensor, ...]:
    kept = [gate.new_empty(gate.shape, dtype=KEPT) for _ in range(2)]
    return gate.new_empty(gate.shape), *kept


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    ctx.activation = inputs[2]
    ctx.save_for_backward(*output[1:])
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, slope: torch.Tensor, *_: None) -> tuple[torch.Tensor, torch.Tensor, None]:
    gate, up = (each.float() for each in ctx.saved_tensors)
    wide = slope.float()
    if ctx.activation == "gelu":
        of_gate = torch.ops.aten.gelu_backward(wide * up, gate, approximate="tanh")
    else:
        of_gate = torch.ops.aten.silu_backward(wide * up, gate)
    of_up = gated(gate, wide, ctx.activation)
    return of_gate.to(slope.dtype), of_up.to(slope.dtype), None


gated_kept_in_float8.register_autograd(_gradients, setup_context=_keep)
