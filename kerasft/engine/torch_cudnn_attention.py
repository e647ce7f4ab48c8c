"""Causal attention of whole rows by cuDNN, as operators of our own.

On an H100 its kernels take less time than FlashAttention 2's for heads of 256, and it adds
up the gradients of a key that several heads share inside of the kernel. torch calls it
through `_scaled_dot_product_cudnn_attention`; as operators with shapes and strides that are
fixed here, forward and backward pass are the same calls whether they are compiled,
computed again under rematerialisation, or recorded.
"""

from typing import Any

import torch

_HOPPER = (9, 0)
_CUDNN = 91000
"""From this version on cuDNN differentiates heads of up to 256 on Hopper."""


def runs_on(device: torch.device) -> bool:
    """Whether cuDNN attends here for heads of up to 256, forward and backward."""
    return (
        torch.cuda.get_device_capability(device) == _HOPPER
        and (torch.backends.cudnn.version() or 0) >= _CUDNN
    )


def _by_rows(x: torch.Tensor, length: int) -> torch.Tensor:
    """(T, heads, h) as (B, heads, L, h), which is how torch names cuDNN's axes."""
    return x.view(-1, length, *x.shape[1:]).transpose(1, 2)


def _by_tokens(x: torch.Tensor) -> torch.Tensor:
    """(B, heads, L, h) as (T, heads, h), contiguous."""
    return x.transpose(1, 2).contiguous().flatten(0, 1)


@torch.library.custom_op("kerasft::causal_attention", mutates_args=())
def causal_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, length: int, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Causal attention of rows of `length` tokens, one after the other.

    Args:
        query: (T, heads, h), in a type of 16 bits.
        key, value: (T, groups, h).
        length: L, of which T is a multiple.
        scale: of the queries.

    Returns:
        (T, heads, h), and the logarithms of the softmax's sums (B, heads, L, 1), float32.
    """
    seen, sums, *_ = torch.ops.aten._scaled_dot_product_cudnn_attention(
        *(_by_rows(x, length) for x in (query, key, value)),
        *(None, True, 0.0, True, False),
        scale=scale,
    )
    return _by_tokens(seen), sums.view(len(query) // length, query.shape[1], length, 1)


@torch.library.custom_op("kerasft::causal_attention_backward", mutates_args=())
def causal_attention_backward(
    slope: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    seen: torch.Tensor,
    sums: torch.Tensor,
    length: int,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of `query`, `key` and `value`, of their shapes, from that of `seen`."""
    # Dropout's state: read by nothing, but it must be there.
    state = query.new_empty((), dtype=torch.int64)
    parts = torch.ops.aten._scaled_dot_product_cudnn_attention_backward(
        *(_by_rows(x, length) for x in (slope, query, key, value, seen)),
        *(sums, state, state, None, None, None, length, length, 0.0, True),
        scale=scale,
    )
    query_part, key_part, value_part = (_by_tokens(part) for part in parts)
    return query_part, key_part, value_part


@causal_attention.register_fake
def _(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, length: int, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (len(query) // length, query.shape[1], length, 1)
    return query.new_empty(query.shape), query.new_empty(shape, dtype=torch.float32)


@causal_attention_backward.register_fake
def _(
    slope: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *_: Any,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    query_part, key_part, value_part = (x.new_empty(x.shape) for x in (query, key, value))
    return query_part, key_part, value_part


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, torch.Tensor]) -> None:
    *tensors, ctx.length, ctx.scale = inputs
    ctx.save_for_backward(*tensors, *output)


def _gradients(ctx: Any, slope: torch.Tensor, _: Any) -> tuple[torch.Tensor | None, ...]:
    kept = ctx.saved_tensors
    return *causal_attention_backward(slope, *kept, ctx.length, ctx.scale), None, None


causal_attention.register_autograd(_gradients, setup_context=_keep)
