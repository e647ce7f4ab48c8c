"""The softmax of a chunk's logits, and its gradient over them in place, as a Triton kernel.

The logits of 512 tokens of Gemma are 262 MB in bfloat16, so what this costs is how often they
are read and written. The kernel reads a row once for its largest logit and the sum of its
exponentials (kept together as in Milakov and Gimelshein 2018, arXiv:1805.02867), and once
more, from its end, while part of it is still in the cache, to write the gradient over it.
"""

import torch
import triton
import triton.language as tl

_BLOCK = 8192
_WARPS = 16
_PROGRAMS = 2
"""A multiprocessor: few rows at once, so that a row is in the cache when it is read again."""

_LOWEST = tl.constexpr(-1e30)
_LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def _capped(x, cap, CAPPED: tl.constexpr):
    if CAPPED:
        # tanh u = 2 · sigmoid(2u) − 1
        x = cap * (2.0 * tl.sigmoid(2.0 * x / cap) - 1.0)
    return x


@triton.jit
def _softmax_kernel(
    logits_ptr,
    targets_ptr,
    weights_ptr,
    loss_ptr,
    right_ptr,
    rows,
    words,
    cap,
    CAPPED: tl.constexpr,
    GRADIENT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    columns = tl.arange(0, BLOCK)
    blocks = tl.cdiv(words, BLOCK)
    for row in range(tl.program_id(0), rows, tl.num_programs(0)):
        first = logits_ptr + row * words.to(tl.int64)
        target = tl.load(targets_ptr + row)
        weight = tl.load(weights_ptr + row)
        at_target = _capped(tl.load(first + target).to(tl.float32), cap, CAPPED)
        largest = tl.full((BLOCK,), _LOWEST, tl.float32)
        total = tl.zeros((BLOCK,), tl.float32)
        for block in range(blocks):
            at = block * BLOCK + columns
            inside = at < words
            x = tl.load(first + at, mask=inside, other=0.0, eviction_policy="evict_last")
            x = tl.where(inside, _capped(x.to(tl.float32), cap, CAPPED), _LOWEST)
            larger = tl.maximum(largest, x)
            total = total * tl.exp2((largest - larger) * _LOG2E)
            total += tl.exp2((x - larger) * _LOG2E)
            largest = larger
        peak = tl.max(largest, axis=0)
        whole = tl.sum(total * tl.exp2((largest - peak) * _LOG2E), axis=0)
        tl.store(loss_ptr + row, weight * (tl.log(whole) + peak - at_target))
        tl.store(right_ptr + row, tl.where(at_target == peak, weight, 0.0))
        if GRADIENT:
            factor = weight / whole
            for block in range(blocks):
                at = (blocks - 1 - block) * BLOCK + columns
                inside = at < words
                x = tl.load(first + at, mask=inside, other=0.0, eviction_policy="evict_first")
                kept = x.dtype
                x = _capped(x.to(tl.float32), cap, CAPPED)
                slope = tl.exp2((x - peak) * _LOG2E) * factor
                slope = tl.where(at == target, slope - weight, slope)
                if CAPPED:
                    slope *= 1.0 - (x / cap) * (x / cap)
                tl.store(first + at, slope.to(kept), mask=inside, eviction_policy="evict_first")


def softmax_sums(
    logits: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    soft_cap: float | None,
    keep_gradient: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """As `torch_loss.softmax_sums`, with the gradient over `logits`, which are contiguous."""
    rows, words = logits.shape
    losses, right = (weights.new_empty(rows, dtype=torch.float32) for _ in range(2))
    processors = torch.cuda.get_device_properties(logits.device).multi_processor_count
    _softmax_kernel[(min(rows, processors * _PROGRAMS),)](
        logits,
        targets,
        weights,
        losses,
        right,
        rows,
        words,
        soft_cap or 1.0,
        CAPPED=bool(soft_cap),
        GRADIENT=keep_gradient,
        BLOCK=min(_BLOCK, triton.next_power_of_2(words)),
        num_warps=_WARPS,
    )
    return losses.sum(), right.sum(), logits if keep_gradient else None
