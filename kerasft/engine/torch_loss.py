"""The fused linear cross-entropy of `loss.py`, on torch."""

import torch

from kerasft.engine.loss import chunk_count


class _FusedLinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, embedding, targets, weights, soft_cap, largest):
        keep_gradient = hidden.requires_grad
        gradient = torch.empty_like(hidden) if keep_gradient else None
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        correct = torch.zeros((), dtype=torch.float32, device=hidden.device)
        size = hidden.shape[0] // chunk_count(hidden.shape[0], largest)
        for start in range(0, hidden.shape[0], size):
            rows = slice(start, start + size)
            target, weight = targets[rows], weights[rows]
            logits = torch.mm(hidden[rows], embedding.t()).float()
            if soft_cap:
                logits = torch.tanh(logits.div_(soft_cap)).mul_(soft_cap)
            slope = 1 - (logits / soft_cap).square_() if soft_cap and keep_gradient else None
            largest_logit, winner = logits.max(dim=-1)
            at_target = logits.gather(1, target[:, None]).squeeze(1)
            # One exponential serves the norm and the gradient: every pass over a chunk
            # reads hundreds of megabytes.
            exponential = logits.sub_(largest_logit[:, None]).exp_()
            total = exponential.sum(dim=-1)
            loss += (weight * (total.log() + largest_logit - at_target)).sum()
            correct += ((winner == target) * weight).sum()
            if not keep_gradient:
                continue
            probability = exponential.mul_((weight / total)[:, None])
            probability.scatter_add_(1, target[:, None], -weight[:, None])
            if slope is not None:
                probability.mul_(slope)
            gradient[rows] = torch.mm(probability.to(embedding.dtype), embedding)
        if keep_gradient:
            ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(correct)
        return loss, correct

    @staticmethod
    def backward(ctx, loss_gradient, _):
        (gradient,) = ctx.saved_tensors
        return gradient * loss_gradient.to(gradient.dtype), None, None, None, None, None


def fused_linear_cross_entropy(
    hidden: torch.Tensor,
    embedding: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    *,
    soft_cap: float | None,
    largest_chunk: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted sum of the token losses, and of the tokens that were right.

    Args:
        hidden: (tokens, width), in the type of the model.
        embedding: (vocabulary, width), frozen.
        targets: (tokens,) int64.
        weights: (tokens,) float32; 0 for padding.
        soft_cap: of the final logits, or None.
        largest_chunk: tokens whose logits are alive at once.

    Returns:
        Two float32 scalars: the loss, differentiable in `hidden`, and the weight of
        the tokens whose target had the largest logit.
    """
    return _FusedLinearCrossEntropy.apply(
        hidden, embedding, targets, weights, soft_cap, largest_chunk
    )
