"""Rounding to float8 in numpy, for what the engine rounds."""

import numpy as np


def e4m3(values: np.ndarray) -> np.ndarray:
    """Numbers of at most 448 rounded to the nearest of e4m3, ties to an even mantissa."""
    return _nearest(values, bias=7, mantissa=3)


def e5m2(values: np.ndarray) -> np.ndarray:
    """Numbers of at most 57,344 rounded to the nearest of e5m2, ties to an even mantissa."""
    return _nearest(values, bias=15, mantissa=2)


def _nearest(values: np.ndarray, bias: int, mantissa: int) -> np.ndarray:
    """The smallest normal number is 2 to the power of 1 − bias."""
    _, exponent = np.frexp(values)
    spacing = np.exp2(np.maximum(exponent - 1, 1 - bias) - mantissa)
    return np.round(values / spacing) * spacing


def rounded(x: np.ndarray) -> np.ndarray:
    """Rows rounded to e4m3 by the scale that takes the largest of each to 448."""
    scale = np.abs(x).max(axis=1, keepdims=True).astype(np.float32) / np.float32(448)
    scale = np.maximum(scale, np.finfo(np.float32).tiny)
    return e4m3((x.astype(np.float32) * (1 / scale)).astype(np.float64)) * scale
