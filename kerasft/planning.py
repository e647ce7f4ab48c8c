"""`dry_run`: what a recipe would do, without loading weights or using the network for them."""

from typing import Any

from kerasft import backend as backends
from kerasft import engines
from kerasft.console import SilentReporter
from kerasft.data.batching import LENGTH_STEP
from kerasft.data.sources import is_remote, load_rows, split_rows
from kerasft.disk import run_bytes
from kerasft.errors import DataError
from kerasft.memory import available_bytes, plan_step, trainable_parameters
from kerasft.models.families import FAMILIES
from kerasft.models.sources import BaseDescription, describe_base
from kerasft.preparation import Prepared, prepare
from kerasft.recipe import Recipe, TrainSettings, load, override, to_toml

LOCAL = ("embedded", "gguf", "folder")
"""Sources of a base whose tokenizer is read without a download."""


def dry_run(recipe: str | Recipe, *, backend: str = backends.DEFAULT, **settings: Any) -> dict:
    """Resolve a recipe, read and count its rows, and size the run.

    Args:
        recipe: a shipped recipe's name, a TOML file, or a `Recipe`.
        backend: torch or jax.
        settings: overrides by dotted name.

    Returns:
        JSON values. What cannot be known here (rows of a data set that is not reachable,
        tokens without the model's tokenizer) is None, and `unknown` says why. `remat` and
        `memory_bytes` are of the step as it would be done on this device, which has
        `available_bytes`; `shortage` is what to change where it is likely not to fit.
        `disk_bytes` is what the run folder takes.

    Raises:
        KerasftError: the recipe or local rows are wrong, or it cannot be trained here.
    """
    resolved = load(recipe, settings) if isinstance(recipe, str) else override(recipe, settings)
    engines.check(engines.DEFAULT, backend, resolved)
    backends.select(backend)
    from kerasft.engine.device import current, resolve_dtype
    from kerasft.engine.quantization import check_device

    if backend == "jax" and resolved.model.quantization != "none":
        # torch's was asked about above.
        check_device(backend, resolved.model.quantization)

    base = describe_base(resolved.model.preset)
    family = FAMILIES[base.family] if base.family else None
    dtype = resolve_dtype(resolved.model.dtype)
    plan: dict[str, Any] = {
        "recipe": to_toml(resolved),
        "backend": backend,
        "preset": base.preset,
        "source": base.source,
        "family": base.family,
        "dtype": dtype,
        "base_parameters": base.parameters,
        "trainable_parameters": None,
        "remat": None,
        "memory_bytes": None,
        "available_bytes": available_bytes(current()),
        "shortage": None,
        "disk_bytes": None,
        "download_bytes": base.download_bytes,
        "licence": base.licence,
        "licence_page": base.licence_page,
        "login": base.login,
        **_counts(resolved, base),
    }
    if family is not None and base.config is not None:
        plan["trainable_parameters"] = trainable_parameters(family, base.config, resolved.lora)
        step = plan_step(
            family,
            base.config,
            resolved,
            plan["_shape"] or _likely_shape(resolved.train),
            dtype=dtype,
            backend=backend,
        )
        plan["remat"] = "block" if step.remat else "none"
        plan["memory_bytes"] = step.memory_bytes
        plan["shortage"] = step.shortage
    plan["disk_bytes"] = run_bytes(resolved, plan["steps"] or 0)
    return {key: value for key, value in plan.items() if not key.startswith("_")}


def _likely_shape(settings: TrainSettings) -> tuple[int, int, int, int]:
    """Of a window whose rows are not known: full, a quarter of it supervised."""
    length = -(-settings.sequence_length // LENGTH_STEP) * LENGTH_STEP
    rows = settings.batch_size
    return settings.gradient_accumulation, rows, length, rows * length // 4


_COUNTS = (
    "rows",
    "validation_rows",
    "dropped_rows",
    "tokens",
    "supervised_tokens",
    "packed_rows",
    "padding_share",
    "steps",
    "window_shapes",
    "_shape",
)


def _counts(recipe: Recipe, base: BaseDescription) -> dict[str, Any]:
    """Rows, tokens and steps, as far as they can be known here."""
    unknown = dict.fromkeys(_COUNTS)
    if base.source in LOCAL and not base.download_bytes:
        try:
            return _prepared_counts(prepare(recipe, SilentReporter()))
        except DataError as error:
            if not is_remote(recipe.data):
                raise
            return {**unknown, "unknown": str(error)}
    # The tokenizer would come with a download of gigabytes: rows alone are counted.
    why = f"tokens are counted once {recipe.model.preset} is on this machine"
    try:
        train, held = split_rows(load_rows(recipe.data, recipe.task), recipe.data)
    except DataError as error:
        if not is_remote(recipe.data):
            raise
        return {**unknown, "unknown": f"{error}; {why}"}
    return {**unknown, "rows": len(train), "validation_rows": len(held), "unknown": why}


def _prepared_counts(prepared: Prepared) -> dict[str, Any]:
    windows = prepared.windows
    return {
        "rows": len(prepared.train.examples),
        "validation_rows": len(prepared.validation.examples) if prepared.validation else 0,
        "dropped_rows": sum(prepared.train.reasons.values()),
        "tokens": prepared.train.tokens,
        "supervised_tokens": prepared.train.supervised_tokens,
        "packed_rows": windows.rows if prepared.recipe.train.packing else None,
        "padding_share": windows.padding_share,
        "steps": prepared.total_steps,
        "window_shapes": len(windows.shapes(0)),
        "unknown": None,
        "_shape": windows.largest_shape,
    }
