"""The fused linear cross-entropy of `loss.py`, on torch."""

from collections.abc import Callable

import torch

from kerasft.engine.loss import chunk_count
from kerasft.engine.torch_product import Product

Chunk = Callable[..., tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]


def softmax_sums(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, soft_cap: float | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Loss, right tokens and the logarithms of the softmax's sums (tokens,) of one chunk.

    A pure function, so that it can be compiled: the float32 softmax is then computed from the
    logits as they are read.

    Args:
        logits: (tokens, vocabulary), before the soft-cap.
        targets, weights, soft_cap: as for `fused_linear_cross_entropy`.
    """
    values = logits.float()
    # Before the cap, which changes no order: capped values that are looked up would have to
    # be written down.
    largest = values.amax(dim=-1)
    at_target = values.gather(1, targets[:, None]).squeeze(1)
    correct = ((at_target == largest) * weights).sum()
    largest, at_target = _capped(largest, soft_cap), _capped(at_target, soft_cap)
    exponential = (_capped(values, soft_cap) - largest[:, None]).exp_()
    sums = exponential.sum(dim=-1).log() + largest
    return (weights * (sums - at_target)).sum(), correct, sums


def softmax_gradient_(
    logits: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    sums: torch.Tensor,
    soft_cap: float | None,
) -> None:
    """Write the loss's gradient with respect to the logits of a chunk over them.

    Apart from `softmax_sums`, so that it is one pass in place however it is compiled: a second
    tensor of their size would be the most that a rematerialised step ever holds.

    Args:
        sums: as `softmax_sums` gives them.
    """
    values = _capped(logits.float(), soft_cap)
    words = torch.arange(logits.shape[1], device=logits.device)
    hit = words[None, :] == targets[:, None]
    slope = (values - sums[:, None]).exp_().sub_(hit.float()).mul_(weights[:, None])
    if soft_cap:
        slope = slope.mul_(1 - (values / soft_cap).square_())
    logits.copy_(slope)


def _capped(values: torch.Tensor, soft_cap: float | None) -> torch.Tensor:
    return torch.tanh(values / soft_cap).mul_(soft_cap) if soft_cap else values


def chunk_sums(
    hidden: torch.Tensor,
    embedding: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    soft_cap: float | None,
    keep_gradient: bool,
    product: Product = torch.mm,
    sums_of: Callable[..., tuple[torch.Tensor, ...]] = softmax_sums,
    to_gradient: Callable[..., None] = softmax_gradient_,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Loss, right tokens and the gradient with respect to `hidden` of one chunk.

    Args:
        sums_of, to_gradient: `softmax_sums` and `softmax_gradient_`, or their compiled forms.
    """
    logits = product(hidden, embedding.t())
    loss, correct, sums = sums_of(logits, targets, weights, soft_cap)
    if not keep_gradient:
        return loss, correct, None
    to_gradient(logits, targets, weights, sums, soft_cap)
    return loss, correct, product(logits, embedding)


class _FusedLinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, embedding, targets, weights, soft_cap, largest, chunk):
        keep_gradient = hidden.requires_grad
        gradient = torch.empty_like(hidden) if keep_gradient else None
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        correct = torch.zeros((), dtype=torch.float32, device=hidden.device)
        states = hidden.detach()
        size = hidden.shape[0] // chunk_count(hidden.shape[0], largest)
        for start in range(0, hidden.shape[0], size):
            rows = slice(start, start + size)
            part, right, slope = chunk(
                states[rows], embedding, targets[rows], weights[rows], soft_cap, keep_gradient
            )
            loss += part
            correct += right
            if keep_gradient:
                gradient[rows] = slope
        if keep_gradient:
            ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(correct)
        return loss, correct

    @staticmethod
    def backward(ctx, loss_gradient, _):
        (gradient,) = ctx.saved_tensors
        return gradient * loss_gradient.to(gradient.dtype), None, None, None, None, None, None


def fused_linear_cross_entropy(
    hidden: torch.Tensor,
    embedding: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    *,
    soft_cap: float | None,
    largest_chunk: int,
    chunk: Chunk = chunk_sums,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted sum of the token losses, and of the tokens that were right.

    Args:
        hidden: (tokens, width), in the type of the model.
        embedding: (vocabulary, width), frozen.
        targets: (tokens,) int64.
        weights: (tokens,) float32; 0 for padding.
        soft_cap: of the final logits, or None.
        largest_chunk: tokens whose logits are alive at once.
        chunk: `chunk_sums` with the products and the softmax of the device.

    Returns:
        Two float32 scalars: the loss, differentiable in `hidden`, and the weight of
        the tokens whose target had the largest logit.
    """
    return _FusedLinearCrossEntropy.apply(
        hidden, embedding, targets, weights, soft_cap, largest_chunk, chunk
    )
