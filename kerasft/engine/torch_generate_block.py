"""Blocks of a pass without gradients, with their element-wise parts fused."""

from collections.abc import Sequence

import torch

from kerasft.engine.torch_block import Attention, Tensors
from kerasft.engine.torch_fused import added_norm, gated, turned
from kerasft.models.architecture import Architecture


def fused_blocks(
    arch: Architecture,
    hidden: torch.Tensor,
    frozen: Sequence[Tensors],
    adapters: Sequence[Tensors],
    last_norm: torch.Tensor,
    attentions: Sequence[Attention],
    rotary: Sequence[tuple[torch.Tensor, torch.Tensor]],
    rows: Sequence[tuple[torch.Tensor, ...]],
) -> torch.Tensor:
    """All blocks, as `torch_block.decoder_block` one after the other, and the final norm.

    Args:
        arch: of the decoder.
        hidden: (T, width), the residual stream; it is written.
        frozen: of each block, as `lay_out` gives them.
        adapters: of each block, `GROUP/a` and `GROUP/b` of the groups that have one.
        last_norm: scale of the final norm.
        attentions, rotary, rows: of each block.

    Returns:
        (T, width), normalised.
    """
    heads, groups, width = arch.query_heads, arch.key_value_heads, arch.head_width
    # The norm before a block is computed with the addition that ends the one before it.
    nexts = [*(tensors["pre_attention_norm"] for tensors in frozen[1:]), last_norm]
    x = added_norm(hidden, None, None, frozen[0]["pre_attention_norm"], arch)
    for index, tensors in enumerate(frozen):
        adapter = adapters[index]
        joined = _linear(x, "attention", tensors, adapter)
        scales = (tensors["query_norm"], tensors["key_norm"]) if arch.query_key_norm else None
        query, key = turned(joined, rotary[index], scales, arch)
        value = joined[:, (heads + groups) * width :].unflatten(1, (groups, width))
        seen = attentions[index](query, key, value, rows[index])
        x = _linear(seen.flatten(1), "output", tensors, adapter)
        post = tensors["post_attention_norm"] if arch.post_attention_norm else None
        x = added_norm(hidden, x, post, tensors["pre_ffw_norm"], arch)
        up = _linear(x, "up", tensors, adapter)
        x = gated(_linear(x, "gate", tensors, adapter), up, arch)
        x = _linear(x, "down", tensors, adapter)
        post = tensors["post_ffw_norm"] if arch.post_ffw_norm else None
        x = added_norm(hidden, x, post, nexts[index], arch)
    return x


def _linear(x: torch.Tensor, group: str, tensors: Tensors, adapter: Tensors) -> torch.Tensor:
    """x · W, and (x · A) · B added to it in place."""
    y = torch.mm(x, tensors[group])
    if f"{group}/a" in adapter:
        y.addmm_(torch.mm(x, adapter[f"{group}/a"]), adapter[f"{group}/b"])
    return y
