"""How tokens of a row see each other on torch: the attention chosen for the device.

- `flash`: PyTorch's own FlashAttention over sequences of different lengths (Dao 2023,
  arXiv:2307.08691). Rows are cut at their segments, so nothing outside of a segment is
  even computed. NVIDIA GPUs from Ampere on, 16-bit types, no soft-cap.
- `products`: products and softmax written out, with one boolean mask a row. For Gemma 2's
  soft-cap, and for short rows on a CPU.
- `masked`: scaled_dot_product_attention with such a mask; anywhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from kerasft.engine.attention import SHORT_ROWS
from kerasft.models.architecture import Architecture

_AMPERE = (8, 0)


@dataclass(frozen=True)
class Attention:
    """Attention of the blocks of one kind; a pure function of tensors when called.

    Attributes:
        method: `flash`, `masked` or `products`.
        scale: of the queries.
        window: tokens that a query sees, itself included; None for all before it.
        soft_cap: of the logits, or None.
        length: L, tokens a row.
    """

    method: str
    scale: float
    window: int | None
    soft_cap: float | None
    length: int

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        rows: tuple[torch.Tensor, ...],
    ) -> torch.Tensor:
        """(T, heads, h) from queries of that shape and keys and values (T, groups, h).

        Args:
            rows: as `rows_for` gives them.
        """
        if self.method == "flash":
            (starts,) = rows
            return torch.ops.aten._flash_attention_forward(
                query,
                key,
                value,
                starts,
                starts,
                self.length,
                self.length,
                0.0,
                True,
                False,
                scale=self.scale,
                window_size_left=None if self.window is None else self.window - 1,
                window_size_right=0,
            )[0]
        (mask,) = rows
        query, key, value = (
            x.view(-1, self.length, *x.shape[1:]).transpose(1, 2) for x in (query, key, value)
        )
        if self.method == "masked":
            seen = F.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, scale=self.scale, enable_gqa=True
            )
        else:
            seen = self._products(query, key, value, mask)
        return seen.transpose(1, 2).flatten(0, 1)

    def _products(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        rows, heads, length, width = query.shape
        grouped = (query * self.scale).reshape(rows, key.shape[1], -1, width)
        logits = torch.matmul(grouped, key.transpose(2, 3)).view(rows, heads, length, length)
        if self.soft_cap:
            logits = torch.tanh(logits / self.soft_cap) * self.soft_cap
        weights = logits.float().masked_fill(~mask, float("-inf")).softmax(-1).to(value.dtype)
        seen = torch.matmul(weights.view(rows, key.shape[1], -1, length), value)
        return seen.view(rows, heads, length, width)


def choose(
    architecture: Architecture, kind: str, length: int, device: torch.device, dtype: torch.dtype
) -> Attention:
    """The attention of the blocks of a kind on a device, for rows of `length` tokens."""
    if architecture.attention_soft_cap or (device.type == "cpu" and length <= SHORT_ROWS):
        method = "products"
    elif (
        device.type == "cuda"
        and dtype in (torch.bfloat16, torch.float16)
        and torch.version.cuda is not None
        and torch.cuda.get_device_capability(device) >= _AMPERE
        and architecture.head_width <= 256
        and architecture.head_width % 8 == 0
    ):
        method = "flash"
    else:
        method = "masked"
    window = architecture.window_of(kind)
    return Attention(
        method=method,
        scale=architecture.query_scale,
        # A window that no row reaches is none: local and global blocks are then one.
        window=window if window is not None and window < length else None,
        soft_cap=architecture.attention_soft_cap,
        length=length,
    )


def rows_for(attention: Attention, micro: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """What `attention` reads of a micro-batch.

    Args:
        micro: `segment_ids` (B, L), `sequence_starts` (S,) int32.

    Returns:
        `flash`: the starts. Else the boolean mask (B, 1, L, L): same segment, not
        later, inside the window.
    """
    if attention.method == "flash":
        return (micro["sequence_starts"],)
    segments = micro["segment_ids"]
    places = torch.arange(segments.shape[1], device=segments.device)
    distance = places[:, None] - places[None, :]
    near = distance >= 0
    if attention.window is not None:
        near &= distance < attention.window
    return (((segments[:, :, None] == segments[:, None, :]) & near)[:, None],)
