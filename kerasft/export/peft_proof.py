"""What a PEFT adapter's folder holds, and what it says that it holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasft.errors import ExportError, ModelError
from kerasft.export.hf import stored_hf
from kerasft.export.peft import BASE, DESCRIPTION
from kerasft.export.peft_layout import Factors, Loss, factors_of
from kerasft.export.proof import Bound
from kerasft.export.safetensors_writer import numpy_dtype
from kerasft.export.stored import Promise, coarsest
from kerasft.export.views import untouched
from kerasft.models.deltas import delta_of
from kerasft.models.peft_files import (
    CONFIG,
    PeftModule,
    is_named,
    module_name,
    read_peft_files,
)
from kerasft.records import read_json

if TYPE_CHECKING:
    from kerasft.export.views import WeightsView
    from kerasft.models.families import TensorSpec
    from kerasft.recipe import LoraSettings


_EFFECT = 4
"""Mean logit difference of a shared rank at most, in parts of the training that it leaves out."""


class StoredPeft:
    """The base with the adapter of a folder on it, ours or one made elsewhere.

    The base is the folder's own where it has one, else the one that was trained on: a
    loader brings it. A and B are multiplied as PEFT's files say, whatever layout they
    were trained in.
    """

    def __init__(self, folder: Path, weights: WeightsView) -> None:
        self._weights = weights
        self._adapter = read_peft_files(folder)
        own = folder / BASE
        self._base = stored_hf(own, untouched(weights)) if own.is_dir() else None
        self._folder = folder
        self.dtype = stored_dtype(self._adapter.modules)

    def tensor(self, spec: TensorSpec) -> np.ndarray | None:
        """Base + stored delta in float32 and the KerasHub shape; None if either is none."""
        base = self._base.tensor(spec) if self._base else self._weights.base_array(spec)
        module = self._adapter.modules.get(module_name(spec))
        if base is None or module is None:
            return base
        try:
            delta = module.delta(spec)
        except ModelError:
            return None
        return base.astype(np.float32) + delta

    def dtype_of(self, spec: TensorSpec) -> str:
        """In which a loader adds the delta to the base; A and B are rounded in the promise."""
        module = self._adapter.modules.get(module_name(spec))
        return self._weights.base_dtype if module is None else "float32"

    def faults(self) -> list[str]:
        """Modules that match nothing, another base, and what the config and tensors dispute."""
        specs = self._weights.family.tensors(self._weights.config)
        linear = {module_name(spec) for spec in specs if spec.target}
        targets = self._adapter.config["target_modules"]
        faults = list(self._adapter.faults)
        faults += [
            f"{name} is adapted, and the base has no such layer"
            for name in self._adapter.modules
            if name not in linear
        ]
        faults += [
            f"{CONFIG} names the target module {target}, which the base has not"
            for target in (targets if isinstance(targets, list) else [])
            if not any(is_named([target], name) for name in linear)
        ]
        faults += [
            f"{CONFIG} names {name} among target_modules, and no tensor is of it"
            for name in sorted(linear - self._adapter.modules.keys())
            if is_named(targets, name)
        ]
        base = _described(self._folder).get("base")
        said = base.get("fingerprint") if isinstance(base, dict) else None
        if said not in (None, self._weights.fingerprint):
            faults.append(
                f"{DESCRIPTION} names a base with fingerprint {said}; the adapter was trained on "
                f"{self._weights.fingerprint}"
            )
        return faults + (self._base.faults() if self._base else [])


def stored_peft(folder: Path, weights: WeightsView) -> StoredPeft:
    """The weights of a PEFT adapter's folder on their base.

    Raises:
        AdapterError: a file is missing or damaged, or it is not a plain LoRA.
    """
    return StoredPeft(folder, weights)


def stored_dtype(modules: dict[str, PeftModule]) -> str:
    """The coarsest type of any A or B.

    Raises:
        ExportError: a type that no adapter is written in.
    """
    found = {str(array.dtype) for module in modules.values() for array in (module.a, module.b)}
    unknown = sorted(found - {"float32", "bfloat16", "float16"})
    if unknown or not found:
        raise ExportError(
            f"The adapter holds tensors of {', '.join(unknown) or 'no type'}; a proof needs "
            "float32, bfloat16 or float16."
        )
    return coarsest(found)


class _Promised:
    """A view whose deltas are those that the folder should hold."""

    def __init__(self, weights: WeightsView, share_rank: int | None, dtype: str) -> None:
        self._weights = weights
        self._tensors = weights.adapter_tensors()
        self._settings: LoraSettings = weights.lora_settings
        self._specs = {spec.name: spec for spec in weights.family.tensors(weights.config)}
        self._share_rank = share_rank
        self._dtype = numpy_dtype(dtype)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._weights, name)

    def delta(self, name: str) -> np.ndarray | None:
        spec = self._specs[name]
        if self._share_rank is None:
            # By the formula of the trained layout, which owes nothing to PEFT's.
            rounded = {key: self._round(array) for key, array in self._of(spec).items()}
            return delta_of(spec, rounded, self._settings)
        found = factors_of(spec, self._tensors, self._settings, self._share_rank)
        if found is None:
            return None
        factors: Factors = found[0]
        a, b = self._round(factors.a), self._round(factors.b)
        return PeftModule(a, b, self._settings.scale).delta(spec)

    def _of(self, spec: TensorSpec) -> dict[str, np.ndarray]:
        names = [f"{spec.name.removesuffix('kernel')}{part}" for part in "ab"]
        return {name: self._tensors[name] for name in names if name in self._tensors}

    def _round(self, array: np.ndarray) -> np.ndarray:
        return array.astype(self._dtype).astype(np.float32)


def promised_peft(folder: Path, weights: WeightsView) -> Promise:
    """What a folder of this kind should hold: the adapter in its type and shared rank.

    A shared rank is measured against the trained deltas, element by element and apart
    from the singular values that it was cut by. To first order the logits move with the
    weights, so that a part e of the change that is lost moves them by about e of what
    training did. Measured on tiny models of the four families with random adapters it is
    0.6 to 1.3 e for small changes and up to 2.6 e for very large ones; the bound is 4 e,
    and never more than all of what training did.

    Raises:
        AdapterError: a file is missing or damaged, or it is not a plain LoRA.
        ExportError: the description names a rank that is none.
    """
    dtype = stored_dtype(read_peft_files(folder).modules)
    share_rank = _described(folder).get("share_rank")
    if share_rank is None and dtype == "float32":
        return Promise(weights)
    if share_rank is not None and not (isinstance(share_rank, int) and share_rank > 0):
        raise ExportError(f"{DESCRIPTION}: share_rank is {share_rank!r}, expected a rank or null.")
    promised = _Promised(weights, share_rank, dtype)
    if share_rank is None:
        return Promise(promised)
    error = _measured(weights, promised)
    bound = Bound(
        largest=np.inf,
        absolute=np.inf,
        mean=np.inf,
        top1=0.0,
        effect=min(1.0, _EFFECT * error),
        reason=f"a shared rank of {share_rank} leaves out {error:.2%} of what training changed",
    )
    return Promise(
        promised,
        bound,
        f"One rank of {share_rank} for every module: what training changed is off by {error:.2%} "
        "of its size (Frobenius norm).",
    )


def _measured(weights: WeightsView, promised: _Promised) -> float:
    """‖promised − trained‖ / ‖trained‖ over all deltas, one tensor at a time."""
    lost = whole = 0.0
    for spec in weights.family.tensors(weights.config):
        trained = weights.delta(spec.name)
        if trained is not None:
            difference = promised.delta(spec.name) - trained
            lost += float(np.sum(np.square(difference), dtype=np.float64))
            whole += float(np.sum(np.square(trained), dtype=np.float64))
    return Loss(lost, whole).relative


def _described(folder: Path) -> dict[str, Any]:
    """kerasft.json, empty in a folder that was made elsewhere."""
    return read_json(folder / DESCRIPTION) if (folder / DESCRIPTION).is_file() else {}
