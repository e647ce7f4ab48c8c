"""Adapters in PEFT's own files: understood as PEFT does, and read as ours.

PEFT keeps A as (rank, in) and B as (out, rank) under the module's name in the base,
`base_model.model.MODULE.lora_A.weight`. One rank and one alpha are the config's;
`rank_pattern` and `alpha_pattern` change them for the modules that they match.
Source: the config classes and `get_pattern_key` of github.com/huggingface/peft, 0.21.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasft.errors import AdapterError, collected
from kerasft.models import adapter
from kerasft.models.families.base import Family, TensorSpec
from kerasft.recipe import LoraSettings

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."

_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<part>[AB])\.weight")
_KEEPS_BASE = (True, False, "gaussian", "orthogonal", "eva", "mica")
"""PEFT's ways to draw A and B that leave the base as it is; PiSSA and others subtract."""
_NOT_READ = (
    "use_dora",
    "use_rslora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "modules_to_save",
    "exclude_modules",
    "layers_to_transform",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
)
"""Settings under which a module is more, or other modules are adapted, than B·A says."""


@dataclass(frozen=True)
class PeftModule:
    """The adapter of one linear layer: it adds scale · B·A to the weight (out, in).

    Attributes:
        a: (rank, in), as stored.
        b: (out, rank), as stored.
        scale: alpha / rank of this module.
    """

    a: np.ndarray
    b: np.ndarray
    scale: float

    @property
    def rank(self) -> int:
        return len(self.a)

    def delta(self, spec: TensorSpec) -> np.ndarray:
        """What it adds to a kernel, float32 in the KerasHub shape.

        Raises:
            ModelError: A and B are of another kernel.
        """
        product = self.b.astype(np.float32) @ self.a.astype(np.float32)
        product *= np.float32(self.scale)
        return spec.from_hf(product)


@dataclass(frozen=True)
class PeftAdapter:
    """A PEFT adapter's files.

    Attributes:
        config: adapter_config.json.
        modules: module name in the base, such as `model.layers.0.mlp.up_proj`, → A and B.
        faults: in what the files disagree with each other, so that PEFT would load less
            or something else than the tensors say.
    """

    config: Mapping[str, Any]
    modules: dict[str, PeftModule]
    faults: list[str]


def is_peft(folder: Path) -> bool:
    return (folder / CONFIG).is_file()


def read_peft_files(folder: Path) -> PeftAdapter:
    """A PEFT adapter, module by module.

    Args:
        folder: with adapter_config.json and adapter_model.safetensors.

    Raises:
        AdapterError: a file is missing or damaged, or it is not a plain LoRA; all
            faults at once.
    """
    path = folder / CONFIG
    config = adapter.read_description(path, f"{folder} is not a PEFT adapter: it has no {CONFIG}")
    faults = _kind_faults(config)
    weights = folder / WEIGHTS
    if not weights.is_file():
        faults.append(f"{WEIGHTS} is missing (pickled .bin adapters are not read)")
    if faults:
        raise AdapterError(collected(f"{folder} cannot be used as a LoRA adapter", faults))
    _check_numbers(path, config)
    return _understood(config, adapter.read_stored(weights))


def read_peft(
    folder: Path, family: Family, config: Mapping[str, Any]
) -> tuple[LoraSettings, dict[str, np.ndarray]]:
    """A PEFT adapter in our names, for the `peft` layout.

    The layout has one rank and one scale. Where modules have several ranks, the smaller
    ones are filled up: new entries of A are drawn as PEFT draws A and those of B are
    zero, so that the product is the same and training can use the room. Where they have
    several scales, the differences go into B.

    Args:
        folder: with adapter_config.json and adapter_model.safetensors.
        family: of the base.
        config: the base's KerasHub backbone config.

    Raises:
        AdapterError: it is not a plain LoRA on the decoder's linear layers, or tensors
            and description disagree; all faults at once.
    """
    found = read_peft_files(folder)
    modules = dict(found.modules)
    rank = max((module.rank for module in modules.values()), default=1)
    scale = _common_scale(found)
    tensors: dict[str, np.ndarray] = {}
    targets: list[str] = []
    faults = list(found.faults)
    for spec in family.tensors(config):
        module = modules.pop(module_name(spec), None) if spec.target else None
        if module is None:
            continue
        outputs, inputs = spec.hf_shape
        if (module.a.shape[1], module.b.shape[0]) != (inputs, outputs):
            faults.append(
                f"{module_name(spec)} has A of shape {module.a.shape} and B of shape "
                f"{module.b.shape}; the base's layer is ({outputs}, {inputs})"
            )
            continue
        path = spec.name.removesuffix("/kernel")
        tensors[f"{path}/a"], tensors[f"{path}/b"] = _filled(module, rank, scale, path)
        if spec.target not in targets:
            targets.append(spec.target)
    faults += [f"{PREFIX}{name}.lora_A and lora_B have no layer in the base" for name in modules]
    if not tensors and not faults:
        faults.append("no LoRA tensor was found")
    if faults:
        raise AdapterError(
            collected(f"{folder} is not a LoRA on {family.name}'s linear layers", faults)
        )
    values = {
        "layout": "peft",
        "rank": rank,
        "alpha": found.config["lora_alpha"] if rank == found.config["r"] else scale * rank,
        "dropout": found.config.get("lora_dropout") or 0.0,
        "target_layers": targets,
    }
    settings = adapter.lora_settings(values, faults)
    if settings is None:
        raise AdapterError(collected(f"{folder / CONFIG} cannot be used", faults))
    return settings, tensors


def module_name(spec: TensorSpec) -> str:
    """The Hugging Face module that a kernel belongs to."""
    return spec.hf.removesuffix(".weight")


def is_named(target_modules: str | Iterable[str], module: str) -> bool:
    """Whether PEFT adapts a module: a pattern for the whole name, or the ends of names."""
    if target_modules == "all-linear":
        return not module.endswith("lm_head")
    if isinstance(target_modules, str):
        return re.fullmatch(target_modules, module) is not None
    return any(module == name or module.endswith(f".{name}") for name in target_modules)


def _kind_faults(config: Mapping[str, Any]) -> list[str]:
    """Whether it is LoRA as Hu et al. have it."""
    faults = [
        f"{key} is {config[key]!r}, which kerasft does not read"
        for key in _NOT_READ
        if config.get(key)
    ]
    if config.get("peft_type") != "LORA":
        faults.append(f"peft_type is {config.get('peft_type')!r}, expected 'LORA'")
    if config.get("init_lora_weights", True) not in _KEEPS_BASE:
        faults.append(
            f"init_lora_weights is {config['init_lora_weights']!r}, which changes the base"
        )
    if config.get("bias", "none") != "none":
        faults.append(f"bias is {config['bias']!r}, expected 'none'")
    return faults


def _check_numbers(path: Path, config: Mapping[str, Any]) -> None:
    """Ranks, alphas and patterns are what their names say."""
    faults: list[str] = []
    given = {"rank": config.get("r"), "alpha": config.get("lora_alpha"), "layout": "peft"}
    if given["alpha"] is None:
        faults.append("lora_alpha is missing")
    adapter.lora_settings(given, faults)
    for key, of in (("rank_pattern", "rank"), ("alpha_pattern", "alpha")):
        pattern = config.get(key) or {}
        if not isinstance(pattern, Mapping):
            faults.append(f"{key} is {pattern!r}, expected an object")
            continue
        for name, value in pattern.items():
            if not _is_pattern(name):
                faults.append(f"{key}: {name!r} is not a regular expression")
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
                faults.append(f"{key}: {of} {value!r} of {name} is not a number above 0")
    target = config.get("target_modules")
    named = isinstance(target, list) and all(isinstance(name, str) for name in target)
    if not (named or (isinstance(target, str) and _is_pattern(target))):
        faults.append(f"target_modules is {target!r}, expected the names of modules")
    if faults:
        raise AdapterError(collected(f"{path} cannot be used", faults))


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True


def _understood(config: Mapping[str, Any], stored: dict[str, np.ndarray]) -> PeftAdapter:
    """Pairs A with B and gives each its scale, noting what does not fit."""
    faults: list[str] = []
    modules: dict[str, PeftModule] = {}
    pairs: dict[str, dict[str, np.ndarray]] = {}
    for name, array in stored.items():
        parts = _TENSOR.fullmatch(name)
        if parts is None:
            faults.append(f"{name} is not a LoRA tensor of a linear layer")
        else:
            pairs.setdefault(parts["module"], {})[parts["part"]] = array
    for name, pair in pairs.items():
        if len(pair) < 2:
            part = next(iter(pair))
            faults.append(f"{PREFIX}{name}.lora_{part}.weight has no counterpart")
            continue
        a, b = pair["A"], pair["B"]
        if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
            faults.append(f"{name} has A of shape {a.shape} and B of shape {b.shape}")
            continue
        rank = _by_pattern(config.get("rank_pattern"), name, config["r"])
        alpha = _by_pattern(config.get("alpha_pattern"), name, config["lora_alpha"])
        if len(a) != rank:
            faults.append(f"{name} has rank {len(a)}, {CONFIG} says {rank}")
        if not is_named(config["target_modules"], name):
            faults.append(f"{name} is not among target_modules: PEFT leaves it out")
        modules[name] = PeftModule(a, b, alpha / rank)
    return PeftAdapter(config, modules, faults)


def _by_pattern(pattern: Mapping[str, Any] | None, module: str, otherwise: Any) -> Any:
    """What the first pattern gives that matches the end of a module's name."""
    for key, value in (pattern or {}).items():
        if re.match(rf"(.*\.)?({key})$", module):
            return value
    return otherwise


def _common_scale(found: PeftAdapter) -> float:
    scales = {module.scale for module in found.modules.values()}
    return scales.pop() if len(scales) == 1 else found.config["lora_alpha"] / found.config["r"]


def _filled(
    module: PeftModule, rank: int, scale: float, path: str
) -> tuple[np.ndarray, np.ndarray]:
    """A (in, rank) and B (rank, out) of our `peft` layout."""
    a, b = module.a.T.astype(np.float32), module.b.T.astype(np.float32)
    if module.scale != scale:
        b *= np.float32(module.scale / scale)
    missing = rank - module.rank
    if missing:
        # PEFT's own draw of A: uniform within 1 / √in. The path seeds it, so that each
        # layer has its own and the same one every time.
        random = np.random.default_rng(zlib.crc32(path.encode()))
        limit = 1 / np.sqrt(len(a))
        drawn = random.uniform(-limit, limit, (len(a), missing)).astype(np.float32)
        a = np.concatenate([a, drawn], axis=1)
        b = np.concatenate([b, np.zeros((missing, b.shape[1]), np.float32)])
    return a, b
