"""The fused linear cross-entropy of `loss.py`, on torch."""

from collections.abc import Callable

import torch

from kerasft.engine.loss import chunk_count
from kerasft.engine.torch_product import Product

Chunk = Callable[..., tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]


def chunk_sums(
    hidden: torch.Tensor,
    embedding: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    soft_cap: float | None,
    keep_gradient: bool,
    product: Product = torch.mm,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Loss, right tokens and the gradient with respect to `hidden` of one chunk.

    A pure function, so that it can be compiled: the logits are then written once, in the
    type of the model, and the float32 softmax is computed from them as they are read.
    """
    logits = product(hidden, embedding.t()).float()
    if soft_cap:
        logits = torch.tanh(logits.div_(soft_cap)).mul_(soft_cap)
    slope = 1 - (logits / soft_cap).square_() if soft_cap and keep_gradient else None
    largest_logit = logits.amax(dim=-1)
    at_target = logits.gather(1, targets[:, None]).squeeze(1)
    # One exponential serves the norm and the gradient: every pass over a chunk reads
    # hundreds of megabytes.
    exponential = logits.sub_(largest_logit[:, None]).exp_()
    total = exponential.sum(dim=-1)
    loss = (weights * (total.log() + largest_logit - at_target)).sum()
    correct = ((at_target == largest_logit) * weights).sum()
    if not keep_gradient:
        return loss, correct, None
    probability = exponential.mul_((weights / total)[:, None])
    words = torch.arange(embedding.shape[0], device=hidden.device)
    hit = words[None, :] == targets[:, None]
    probability = torch.where(hit, probability - weights[:, None], probability)
    if slope is not None:
        probability = probability.mul_(slope)
    return loss, correct, product(probability.to(embedding.dtype), embedding)


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
        chunk: `chunk_sums`, or its compiled form.

    Returns:
        Two float32 scalars: the loss, differentiable in `hidden`, and the weight of
        the tokens whose target had the largest logit.
    """
    return _FusedLinearCrossEntropy.apply(
        hidden, embedding, targets, weights, soft_cap, largest_chunk, chunk
    )
