"""An adapter in PEFT's files, on the base that it was trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasft.errors import ExportError, collected
from kerasft.export.card_facts import hub_base, is_dequantised, public_name
from kerasft.export.hf import tokenizer_and_generation, write_hf
from kerasft.export.peft_layout import VLLM_RANKS, Loss, factors_of, overall, vllm_rank
from kerasft.export.safetensors_writer import Slot, numpy_dtype, write_file
from kerasft.export.views import untouched
from kerasft.export.written import Written, files_of
from kerasft.models.deltas import check_adapter
from kerasft.models.peft_files import CONFIG, PREFIX, WEIGHTS, module_name
from kerasft.records import write_json

if TYPE_CHECKING:
    from kerasft.export.views import WeightsView
    from kerasft.recipe import LoraSettings

DESCRIPTION = "kerasft.json"
BASE = "base"


def write_peft(
    weights: WeightsView,
    out: Path,
    *,
    dtype: str,
    share_rank: int | None = None,
    with_base: bool = False,
) -> Written:
    """Write an adapter that PEFT and vLLM load on the base that was trained on.

    The `peft` layout is written as it is. The `keras` layout becomes one A and one B a
    projection, exactly: query, key and value get the rank times their heads. The config's
    `r` is the largest rank; `rank_pattern` and `alpha_pattern` name the smaller ones.
    Every module has the trained scale alpha / rank, so that a loader that knows only `r`
    and `lora_alpha` (vLLM) scales all of them right and keeps room enough.

    Args:
        weights: the base and its adapter.
        out: an existing empty folder.
        dtype: that A and B are stored in; "float32" holds them as they were trained.
        share_rank: one rank for every module, 0 for the adapter's own: the nearest
            adapter of that rank, whose error is in the notes. Exact where no module
            needs more.
        with_base: write the untouched base too, as a Hugging Face folder, into `base/`.

    Raises:
        ExportError: there is no adapter, the rank is none, or the dtype cannot hold A
            and B.
        AdapterError: A and B do not fit the base.
    """
    settings, tensors = weights.lora_settings, weights.adapter_tensors()
    if settings is None or not tensors:
        raise ExportError("There is no adapter to write for PEFT. Give a run that was trained.")
    rank = shared_rank(settings, share_rank)
    specs = weights.family.tensors(weights.config)
    check_adapter(specs, tensors, settings)
    slots: list[Slot] = []
    ranks: dict[str, int] = {}
    losses: dict[str, Loss] = {}
    faults: list[str] = []
    for spec in specs:
        found = factors_of(spec, tensors, settings, rank)
        if found is None:
            continue
        factors, losses[spec.name] = found
        ranks[spec.target] = factors.rank
        for part, array in (("A", factors.a), ("B", factors.b)):
            name = f"{PREFIX}{module_name(spec)}.lora_{part}.weight"
            slots.append(_slot(name, array, dtype, faults))
    if faults:
        raise ExportError(collected(f"The adapter does not fit {dtype}", faults))
    write_file(out / WEIGHTS, slots, dtype)
    config = _config(weights, settings, ranks)
    files = {CONFIG: (json.dumps(config, indent=2) + "\n").encode()}
    for name, content in (files | tokenizer_and_generation(weights)).items():
        (out / name).write_bytes(content)
    if with_base:
        (out / BASE).mkdir()
        write_hf(untouched(weights), out / BASE, dtype=weights.base_dtype)
    write_json(out / DESCRIPTION, _description(weights, settings, ranks, rank, losses, dtype))
    return Written(
        files=files_of(out),
        dtype=dtype,
        tensors=len(slots),
        merged=0,
        parameters=sum(int(np.prod(slot.shape)) for slot in slots),
        notes=tuple(_notes(weights, settings, ranks, rank, losses, with_base)),
    )


def shared_rank(settings: LoraSettings, share_rank: int | None) -> int | None:
    """The rank that `--share-rank` means: 0 is the adapter's own.

    Raises:
        ExportError: it is no rank.
    """
    if share_rank is not None and share_rank < 0:
        raise ExportError(
            f"--share-rank is {share_rank}; expected a rank, or none for {settings.rank}."
        )
    return settings.rank if share_rank == 0 else share_rank


def _slot(name: str, array: np.ndarray, dtype: str, faults: list[str]) -> Slot:
    """A tensor in the type of the file; notes what that cannot hold."""
    with np.errstate(over="ignore"):
        stored = array.astype(numpy_dtype(dtype))
    wrong = int(np.count_nonzero(~np.isfinite(stored)))
    if wrong:
        faults.append(f"{name}: {wrong} of {stored.size} values are not finite")
    return Slot(name, stored.shape, lambda: stored)


def _config(
    weights: WeightsView, settings: LoraSettings, ranks: Mapping[str, int]
) -> dict[str, Any]:
    """adapter_config.json, with the keys that PEFT has had since rank_pattern (0.6)."""
    largest = max(ranks.values())
    names = {
        spec.target: module_name(spec).rpartition(".")[2]
        for spec in weights.family.tensors(weights.config)
        if spec.target in ranks
    }
    smaller = {names[target]: rank for target, rank in ranks.items() if rank != largest}
    # A checkpoint around the text model has the layers under other names: PEFT would find
    # none of them there, or those of its vision tower.
    base = None if weights.wrapped else hub_base(weights.preset)
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "auto_mapping": None,
        "base_model_name_or_path": base,
        "revision": weights.preset.partition("@")[2] or None if base else None,
        "inference_mode": True,
        "r": largest,
        "lora_alpha": _alpha(settings, largest),
        "lora_dropout": settings.dropout,
        "target_modules": sorted(names.values()),
        "rank_pattern": smaller,
        "alpha_pattern": {name: _alpha(settings, rank) for name, rank in smaller.items()},
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "layers_pattern": None,
        "layers_to_transform": None,
        "modules_to_save": None,
    }


def _alpha(settings: LoraSettings, rank: int) -> int | float:
    """The alpha that gives a module of this rank the trained scale."""
    alpha = (settings.rank if settings.alpha is None else settings.alpha) * (rank / settings.rank)
    return int(alpha) if alpha == int(alpha) else alpha


def _description(
    weights: WeightsView,
    settings: LoraSettings,
    ranks: Mapping[str, int],
    rank: int | None,
    losses: Mapping[str, Loss],
    dtype: str,
) -> dict[str, Any]:
    """kerasft.json: what PEFT's config has no room for."""
    return {
        "base": {
            "name": hub_base(weights.preset) or public_name(weights.preset),
            "base_id": public_name(weights.base_id),
            "fingerprint": weights.fingerprint,
            "dtype": weights.base_dtype,
            "dequantised": is_dequantised(weights.preset, weights.base_id),
        },
        "trained": {
            "layout": settings.layout,
            "rank": settings.rank,
            "alpha": settings.alpha,
            "target_layers": settings.target_layers,
        },
        "dtype": dtype,
        "ranks": dict(ranks),
        "max_lora_rank": vllm_rank(max(ranks.values())),
        "share_rank": rank,
        "relative_error": overall(losses.values()),
        "relative_errors": {name: loss.relative for name, loss in losses.items() if loss.lost},
    }


def _notes(
    weights: WeightsView,
    settings: LoraSettings,
    ranks: Mapping[str, int],
    rank: int | None,
    losses: Mapping[str, Loss],
    with_base: bool,
) -> list[str]:
    """What a person should know of the folder."""
    notes = []
    largest = max(ranks.values())
    if rank is not None:
        worst = max(losses, key=lambda name: losses[name].relative)
        error = overall(losses.values())
        notes.append(
            f"Every module has rank {rank}. What training changed is off by {error:.2%} of its "
            f"size (Frobenius norm, all modules together; at most {losses[worst].relative:.2%}, "
            f"in {worst})."
            if error
            else f"Every module has rank {rank}, which holds the adapter exactly."
        )
    elif largest != settings.rank:
        wide = ", ".join(
            f"{target} {size}" for target, size in ranks.items() if size > settings.rank
        )
        notes.append(
            f"The keras layout has one A a head: rank {settings.rank} becomes {wide}, exactly. "
            "--share-rank gives every module one rank, with a loss."
        )
    bound = vllm_rank(largest)
    notes.append(
        f"vLLM needs --max-lora-rank {bound}."
        if bound
        else f"vLLM takes ranks up to {VLLM_RANKS[-1]}, this adapter has {largest}; --share-rank "
        "gives a lower one."
    )
    name = hub_base(weights.preset) or public_name(weights.preset)
    very = "the one that was trained on"
    where = (
        f"{BASE}/ holds {very}" if with_base else f"--with-base writes {very} beside the adapter"
    )
    if is_dequantised(weights.preset, weights.base_id):
        notes.append(
            "The base was dequantised from a quantised copy of the publisher's weights: on the "
            f"publisher's own model the answers differ. {where}."
        )
    elif hub_base(weights.preset) is None and not weights.wrapped:
        notes.append(f"PEFT loads it on {name} in Hugging Face format. {where}.")
    if weights.wrapped:
        notes.append(
            f"PEFT does not find the layers in {name}, which holds the text model inside another "
            f"one. {where}."
        )
    return notes
