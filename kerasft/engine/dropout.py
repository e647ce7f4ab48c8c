"""Dropout masks from a counter: the same on both backends and when recomputed.

Element e of an adapter's input, counted over tokens and columns, is dropped where

    h(e ⊕ h(s ⊕ p)) < rate · 2³²

for the micro-batch's seed s and the layer's seed p, with uint32 arithmetic that wraps and
h the mixer `lowbias32` of C. Wellons, "Prospecting for hash functions" (nullprogram.com,
2018): xor-shifts by 16, 15 and 16 with two multiplications between them. No generator has
a state, so a checkpoint holds none.
"""

import numpy as np

MULTIPLIERS = ((0x7FEB352D, 16), (0x846CA68B, 15), (0, 16))
"""(multiplier, shift) of each round: shift and xor, then multiply; 0 multiplies nothing."""


def threshold(rate: float) -> int:
    """Bits below this are dropped."""
    return int(rate * 2**32)


def mix(value: np.ndarray) -> np.ndarray:
    """h of uint32 values."""
    value = np.asarray(value, np.uint32)
    with np.errstate(over="ignore"):
        for multiplier, shift in MULTIPLIERS:
            value = value ^ (value >> np.uint32(shift))
            if multiplier:
                value = value * np.uint32(multiplier)
    return value


def layer_key(seed: int, path_seed: int) -> int:
    """h(s ⊕ p): what the counter of one layer in one micro-batch is mixed with."""
    return int(mix(np.uint32((int(seed) ^ path_seed) & 0xFFFFFFFF)))
