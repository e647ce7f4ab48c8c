"""The element-wise parts of a decoder block as Triton kernels.

A decoding step of the 270M is some 1,900 kernels when each operation is one, nearly all of
them shorter than their own launch. These four put a norm, the addition before it, the
rotation and the gate into one kernel each, without the start-up time of torch.compile.
None has a gradient; `torch_gate` gives one to the gate's.

All arithmetic is in float32; what is written has the type of the model. Norms are
x / √(mean x² + ε) · (offset + scale), as in `torch_block.rms_norm`.
"""

import torch
import triton
import triton.language as tl

from kerasft.models.architecture import Architecture

_GATED_BLOCK = 1024


@triton.jit
def _normalised(x, scale_ptr, columns, mask, width, epsilon, offset):
    scale = tl.load(scale_ptr + columns, mask=mask, other=0.0).to(tl.float32)
    return x * tl.rsqrt(tl.sum(x * x, axis=0) / width + epsilon) * (scale + offset)


@triton.jit
def _added_norm_kernel(
    hidden_ptr,
    x_ptr,
    post_ptr,
    scale_ptr,
    out_ptr,
    width,
    epsilon,
    offset,
    ADDS: tl.constexpr,
    POST: tl.constexpr,
    BLOCK: tl.constexpr,
):
    first = tl.program_id(0).to(tl.int64) * width
    columns = tl.arange(0, BLOCK)
    mask = columns < width
    hidden = tl.load(hidden_ptr + first + columns, mask=mask, other=0.0)
    kept = hidden.dtype
    wide = hidden.to(tl.float32)
    if ADDS:
        x = tl.load(x_ptr + first + columns, mask=mask, other=0.0).to(tl.float32)
        if POST:
            x = _normalised(x, post_ptr, columns, mask, width, epsilon, offset)
            x = x.to(kept).to(tl.float32)
        wide = (wide + x).to(kept)
        tl.store(hidden_ptr + first + columns, wide, mask=mask)
        wide = wide.to(tl.float32)
    found = _normalised(wide, scale_ptr, columns, mask, width, epsilon, offset)
    tl.store(out_ptr + first + columns, found.to(kept), mask=mask)


def added_norm(
    hidden: torch.Tensor,
    x: torch.Tensor | None,
    post: torch.Tensor | None,
    scale: torch.Tensor,
    arch: Architecture,
) -> torch.Tensor:
    """Add x, normalised by `post` where that is given, to `hidden` in place; its norm.

    Args:
        hidden: (T, width), the residual stream, contiguous; it is written.
        x: (T, width), contiguous, or None to add nothing.
        post, scale: (width,) scales of norms.

    Returns:
        (T, width): the sum, normalised by `scale`.
    """
    rows, width = hidden.shape
    out = torch.empty_like(hidden)
    block = triton.next_power_of_2(width)
    _added_norm_kernel[(rows,)](
        hidden,
        hidden if x is None else x,
        scale if post is None else post,
        scale,
        out,
        width,
        arch.norm_epsilon,
        arch.norm_offset,
        ADDS=x is not None,
        POST=post is not None,
        BLOCK=block,
        num_warps=min(16, max(1, block // 256)),
    )
    return out


@triton.jit
def _turned_kernel(
    x_ptr,
    row_stride,
    cosine_ptr,
    sine_ptr,
    query_scale_ptr,
    key_scale_ptr,
    query_ptr,
    key_ptr,
    epsilon,
    offset,
    HEADS: tl.constexpr,
    GROUPS: tl.constexpr,
    WIDTH: tl.constexpr,
    NORM: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    half: tl.constexpr = WIDTH // 2
    columns = tl.arange(0, BLOCK)
    mask = columns < half
    at = x_ptr + row * row_stride + head * WIDTH + columns
    first = tl.load(at, mask=mask, other=0.0)
    kept = first.dtype
    first = first.to(tl.float32)
    second = tl.load(at + half, mask=mask, other=0.0).to(tl.float32)
    if NORM:
        squares = tl.sum(first * first + second * second, axis=0)
        factor = tl.rsqrt(squares / WIDTH + epsilon)
        scale_ptr = query_scale_ptr
        if head >= HEADS:
            scale_ptr = key_scale_ptr
        scale = tl.load(scale_ptr + columns, mask=mask, other=0.0).to(tl.float32)
        first = (first * factor * (scale + offset)).to(kept).to(tl.float32)
        scale = tl.load(scale_ptr + half + columns, mask=mask, other=0.0).to(tl.float32)
        second = (second * factor * (scale + offset)).to(kept).to(tl.float32)
    cosine = tl.load(cosine_ptr + row * half + columns, mask=mask, other=0.0).to(tl.float32)
    sine = tl.load(sine_ptr + row * half + columns, mask=mask, other=0.0).to(tl.float32)
    out = query_ptr + (row * HEADS + head) * WIDTH + columns
    if head >= HEADS:
        out = key_ptr + (row * GROUPS + head - HEADS) * WIDTH + columns
    tl.store(out, (first * cosine - second * sine).to(kept), mask=mask)
    tl.store(out + half, (second * cosine + first * sine).to(kept), mask=mask)


def turned(
    x: torch.Tensor,
    rotary: tuple[torch.Tensor, torch.Tensor],
    scales: tuple[torch.Tensor, torch.Tensor] | None,
    arch: Architecture,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries and keys out of a joined projection, normalised head by head and rotated.

    Args:
        x: (T, ≥ (heads + groups) · h), queries before keys, its rows contiguous.
        rotary: cosine and sine, (T, h / 2) each, contiguous.
        scales: (h,) of the norms of queries and keys; None for no norms.

    Returns:
        (T, heads, h) and (T, groups, h).
    """
    heads, groups, width = arch.query_heads, arch.key_value_heads, arch.head_width
    query = x.new_empty(len(x), heads, width)
    key = x.new_empty(len(x), groups, width)
    cosine, sine = rotary
    query_scale, key_scale = scales or (cosine, cosine)
    _turned_kernel[(len(x), heads + groups)](
        x,
        x.stride(0),
        cosine,
        sine,
        query_scale,
        key_scale,
        query,
        key,
        arch.norm_epsilon,
        arch.norm_offset,
        HEADS=heads,
        GROUPS=groups,
        WIDTH=width,
        NORM=scales is not None,
        BLOCK=triton.next_power_of_2(width // 2),
        num_warps=1,
    )
    return query, key


@triton.jit
def _gated_kernel(
    gate_ptr,
    up_ptr,
    out_ptr,
    gate_kept_ptr,
    up_kept_ptr,
    count,
    GELU: tl.constexpr,
    KEEPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < count
    gate = tl.load(gate_ptr + at, mask=mask, other=0.0)
    kept = gate.dtype
    x = gate.to(tl.float32)
    if GELU:
        # x/2 · (1 + tanh u) = x · sigmoid(2u), u = √(2/π) · (x + 0.044715 x³).
        x = x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))
    else:
        x = x * tl.sigmoid(x)
    up = tl.load(up_ptr + at, mask=mask, other=0.0)
    product = x.to(kept).to(tl.float32) * up.to(tl.float32)
    tl.store(out_ptr + at, product.to(kept), mask=mask)
    if KEEPS:
        small = gate_kept_ptr.dtype.element_ty
        tl.store(gate_kept_ptr + at, gate.to(tl.float32).to(small), mask=mask)
        tl.store(up_kept_ptr + at, up.to(tl.float32).to(small), mask=mask)


def gated(gate: torch.Tensor, up: torch.Tensor, arch: Architecture) -> torch.Tensor:
    """The activation of `gate`, times `up`: both contiguous and of one shape."""
    return _gated(gate, up, arch.activation, None)[0]


def gated_and_kept(
    gate: torch.Tensor, up: torch.Tensor, activation: str, kept: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`gated`, and gate and up in the type `kept`."""
    return _gated(gate, up, activation, kept)


def _gated(
    gate: torch.Tensor, up: torch.Tensor, activation: str, kept: torch.dtype | None
) -> tuple[torch.Tensor, ...]:
    out = torch.empty_like(gate)
    small = [] if kept is None else [torch.empty_like(gate, dtype=kept) for _ in range(2)]
    _gated_kernel[(triton.cdiv(gate.numel(), _GATED_BLOCK),)](
        gate,
        up,
        out,
        *(small or (gate, up)),
        gate.numel(),
        GELU=activation == "gelu",
        KEEPS=kept is not None,
        BLOCK=_GATED_BLOCK,
    )
    return out, *small
