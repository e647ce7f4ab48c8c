"""The values that an adapter starts from, whoever trains it: NumPy alone.

A depends on the seed, the layer's path and its shape and on nothing else, so that every
backend and engine begins with the same numbers. B is zero.
"""

import math
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kerasft.errors import AdapterError
from kerasft.models import adapter as adapters
from kerasft.models import peft_files
from kerasft.models.families import Family, TensorSpec
from kerasft.recipe import LoraSettings


def starting_tensors(
    family: Family, config: Mapping[str, Any], settings: LoraSettings, seed: int
) -> dict[str, np.ndarray]:
    """A and B of every target before the first step.

    Args:
        family, config: of the base.
        settings: layout, rank and targets.
        seed: of A, `train.seed`.

    Returns:
        `PATH/a` and `PATH/b`, float32, in the order of the layers: for a kernel (in, out) in
        the `peft` layout (in, rank) and (rank, out); in the `keras` layout the kernel's shape
        with the rank in the place of its last axis, and (rank, last axis).
    """
    tensors = {}
    for spec in targeted(family, config, settings.target_layers):
        path = path_of(spec)
        a_shape, b_shape = shapes(spec, settings)
        tensors[f"{path}/a"] = starting_a(path, a_shape, settings.layout, seed)
        tensors[f"{path}/b"] = np.zeros(b_shape, np.float32)
    return tensors


def targeted(family: Family, config: Mapping[str, Any], targets: Iterable[str]) -> list[TensorSpec]:
    """The kernels of canonical targets, block by block, in the family's order of targets."""
    wanted = set(targets)
    order = [target for target in family.targets if target in wanted]
    found = [spec for spec in family.tensors(config) if spec.target in order]
    return sorted(found, key=lambda spec: (spec.layer, order.index(spec.target)))


def path_of(spec: TensorSpec) -> str:
    """The path that A and B of a kernel go by, such as `decoder_block_0/attention/query`."""
    return spec.name.removesuffix("/kernel")


def shapes(spec: TensorSpec, settings: LoraSettings) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of A and B of a kernel."""
    if settings.layout == "keras":
        return (*spec.shape[:-1], settings.rank), (settings.rank, spec.shape[-1])
    outputs, inputs = spec.hf_shape
    return (inputs, settings.rank), (settings.rank, outputs)


def path_seed(path: str) -> int:
    """A number of a layer's own: one A a layer, whatever other layers are targeted."""
    return zlib.crc32(path.encode())


def starting_a(path: str, shape: tuple[int, ...], layout: str, seed: int) -> np.ndarray:
    """Uniform A as the layout's own library draws it, float32.

    Keras: He uniform over the fan-in that Keras computes for the shape, limit
    √(6 / fan_in). PEFT: Kaiming uniform with a = √5, limit 1 / √in.
    """
    fan_in = math.prod(shape[:-1])
    limit = math.sqrt(6 / fan_in) if layout == "keras" else 1 / math.sqrt(fan_in)
    random = np.random.default_rng([seed, path_seed(path)])
    return random.uniform(-limit, limit, shape).astype(np.float32)


def adapter_to_start_from(
    source: str,
    family: Family,
    config: Mapping[str, Any],
    settings: LoraSettings,
    *,
    fingerprint: str,
    preset: str,
) -> dict[str, np.ndarray]:
    """A and B of an adapter that was trained before: ours (run or folder), or PEFT's.

    Args:
        source: `lora.init_from`.
        family, config, fingerprint, preset: of the base.
        settings: what the recipe asks for.

    Raises:
        AdapterError: another base, other LoRA settings, or it cannot be read.
    """
    folder = Path(source)
    if (folder / "adapter").is_dir():
        folder = folder / "adapter"
    if peft_files.is_peft(folder):
        found, tensors = peft_files.read_peft(folder, family, config)
    else:
        info = adapters.read_info(folder)
        adapters.check_base(info, family=family.name, fingerprint=fingerprint, preset=preset)
        found, tensors = info.lora, adapters.read_tensors(folder)
    if found.layout != settings.layout or found.scale != settings.scale:
        raise AdapterError(
            f"lora.init_from = {source!r} has layout {found.layout} and scale "
            f"{found.scale:g}, the recipe has {settings.layout} and {settings.scale:g}; set "
            "lora.layout, lora.rank and lora.alpha to the adapter's"
        )
    return tensors
