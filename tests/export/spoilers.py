"""Mistakes that an export could make, put between the trained weights and a writer.

    write_hf(SPOILERS["one_lost"](weights), folder, dtype="float32")

The proof then compares the folder with `weights` themselves and must find it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kerasft.export.views import WeightsView
from kerasft.models.deltas import delta_of

Tensors = dict[str, np.ndarray]
ONE = "decoder_block_1/attention/query"
OTHER = "decoder_block_0/attention/query"


class Spoilt:
    """A view whose adapter, base or tokenizer is not the trained one.

    Args:
        weights: the trained ones.
        adapter: from A and B by layer path to other ones.
        base: from canonical name and array to another array.
        tokenizer: in the place of the real one.
    """

    def __init__(
        self,
        weights: WeightsView,
        *,
        adapter: Callable[[Tensors], Tensors] = dict,
        base: Callable[[str, np.ndarray], np.ndarray] = lambda name, array: array,
        tokenizer: Any = None,
    ) -> None:
        self._weights = weights
        self._tensors = adapter(weights.adapter_tensors())
        self._base = base
        self.tokenizer = tokenizer or weights.tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._weights, name)

    def base_array(self, spec: Any) -> np.ndarray:
        array = self._weights.base_array(spec)
        return self._base(spec.name, array).astype(array.dtype)

    def adapter_tensors(self) -> Tensors:
        return dict(self._tensors)

    def delta(self, name: str) -> np.ndarray | None:
        specs = self._weights.family.tensors(self._weights.config)
        spec = next(spec for spec in specs if spec.name == name)
        return delta_of(spec, self._tensors, self._weights.lora_settings)


class OtherEos:
    """A tokenizer that takes another token for the end of a text."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    @property
    def eos_id(self) -> int:
        return self._tokenizer.eos_id + 9


def _all_lost(tensors: Tensors) -> Tensors:
    return {name: 0 * value if name.endswith("/b") else value for name, value in tensors.items()}


def _one_lost(tensors: Tensors) -> Tensors:
    return tensors | {f"{ONE}/b": 0 * tensors[f"{ONE}/b"]}


def _one_transposed(tensors: Tensors) -> Tensors:
    """A's values read in the order of its transpose."""
    a = tensors[f"{ONE}/a"]
    return tensors | {f"{ONE}/a": np.ascontiguousarray(a.T).reshape(a.shape)}


def _of_another_layer(tensors: Tensors) -> Tensors:
    return tensors | {f"{ONE}/{part}": tensors[f"{OTHER}/{part}"] for part in "ab"}


def _gate_and_up_swapped(tensors: Tensors) -> Tensors:
    def other(name: str) -> str:
        swapped = {"gate": "up", "up": "gate"}
        return "/".join(swapped.get(part, part) for part in name.split("/"))

    return {name: tensors[other(name)] for name in tensors}


def _doubled(tensors: Tensors) -> Tensors:
    return {name: 2 * value if name.endswith("/b") else value for name, value in tensors.items()}


def _one_base_tensor_changed(name: str, array: np.ndarray) -> np.ndarray:
    return array * 1.05 if name == "decoder_block_1/ffw/down/kernel" else array


SPOILERS: dict[str, Callable[[WeightsView], Spoilt]] = {
    "all_lost": lambda weights: Spoilt(weights, adapter=_all_lost),
    "one_lost": lambda weights: Spoilt(weights, adapter=_one_lost),
    "one_transposed": lambda weights: Spoilt(weights, adapter=_one_transposed),
    "of_another_layer": lambda weights: Spoilt(weights, adapter=_of_another_layer),
    "gate_and_up_swapped": lambda weights: Spoilt(weights, adapter=_gate_and_up_swapped),
    "scale_doubled": lambda weights: Spoilt(weights, adapter=_doubled),
    "base_changed": lambda weights: Spoilt(weights, base=_one_base_tensor_changed),
    "wrong_eos": lambda weights: Spoilt(weights, tokenizer=OtherEos(weights.tokenizer)),
}
"""By name; `base_changed` means nothing to a format that holds the adapter alone."""
