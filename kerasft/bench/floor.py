"""The arithmetic that a LoRA step cannot do without, counted from its shape.

A product of (n, k) and (k, m) is 2·n·k·m operations. The base is frozen, so a kernel costs
one product forward and one backward, for the gradient of its input; the gradient of the
kernel itself is not needed. What a step recomputes is not counted: it is no part of what
the gradients need.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from kerasft.models.families import Family


def step_flops(
    family: Family,
    config: Mapping[str, Any],
    lengths: Iterable[int],
    supervised: int,
    adapter_parameters: int,
) -> float:
    """Floating-point operations of one forward and backward pass over some examples.

    Args:
        family, config: the decoder.
        lengths: of the examples, in tokens; padding is no work.
        supervised: positions at which logits are needed.
        adapter_parameters: values in A and B.
    """
    lengths = list(lengths)
    tokens = sum(lengths)
    blocks = sum(spec.size for spec in family.tensors(config) if spec.target is not None)
    head = config["vocabulary_size"] * config["hidden_dim"]
    # A and B need their own gradients too: three products each instead of two.
    return (
        4.0 * blocks * tokens
        + 4.0 * head * supervised
        + 6.0 * adapter_parameters * tokens
        + _attention_flops(family, config, lengths)
    )


def _attention_flops(family: Family, config: Mapping[str, Any], lengths: list[int]) -> float:
    """Two products forward (scores, values) and four backward, over the visible pairs."""
    architecture = family.architecture(config)
    width = architecture.query_heads * architecture.head_width
    pairs = sum(
        visible_pairs(length, architecture.window_of(kind))
        for kind in architecture.kinds
        for length in lengths
    )
    return 12.0 * width * pairs


def visible_pairs(length: int, window: int | None) -> int:
    """Pairs (query, key) of a causal sequence whose queries see `window` keys at most."""
    if window is None or window >= length:
        return length * (length + 1) // 2
    return window * (window + 1) // 2 + (length - window) * window
