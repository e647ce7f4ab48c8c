"""`dry_run`: what a recipe would do, without loading weights or using the network for them."""

from collections.abc import Mapping
from math import prod
from typing import Any

from kerasft import backend as backends
from kerasft.console import SilentReporter
from kerasft.data.sources import is_remote, load_rows, split_rows
from kerasft.errors import DataError
from kerasft.models.families import FAMILIES, Family
from kerasft.models.sources import BaseDescription, describe_base
from kerasft.preparation import Prepared, prepare
from kerasft.recipe import LoraSettings, Recipe, load, override, to_toml

LOCAL = ("embedded", "gguf", "folder")
"""Sources of a base whose tokenizer is read without a download."""

DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
LIBRARIES_BYTES = {"torch": 700 << 20, "jax": 900 << 20}
"""Resident memory of Python with the backend and Keras, before a model: Linux, CPU builds."""


def dry_run(recipe: str | Recipe, *, backend: str = backends.DEFAULT, **settings: Any) -> dict:
    """Resolve a recipe, read and count its rows, and size the run.

    Args:
        recipe: a shipped recipe's name, a TOML file, or a `Recipe`.
        backend: torch or jax.
        settings: overrides by dotted name.

    Returns:
        JSON values. What cannot be known here (rows of a data set that is not reachable,
        tokens without the model's tokenizer) is None, and `unknown` says why.

    Raises:
        KerasftError: the recipe or local rows are wrong.
    """
    resolved = load(recipe, settings) if isinstance(recipe, str) else override(recipe, settings)
    backends.select(backend)
    from kerasft.engine.device import chunk_bytes, resolve_dtype

    base = describe_base(resolved.model.preset)
    family = FAMILIES[base.family] if base.family else None
    dtype = resolve_dtype(resolved.model.dtype)
    plan: dict[str, Any] = {
        "recipe": to_toml(resolved),
        "backend": backend,
        "dtype": dtype,
        "base_parameters": base.parameters,
        "trainable_parameters": None,
        "memory_bytes": None,
        "download_bytes": base.download_bytes,
        "licence": base.licence,
        "licence_page": base.licence_page,
        "login": base.login,
        **_counts(resolved, base),
    }
    if family is not None and base.config is not None:
        plan["trainable_parameters"] = trainable_parameters(family, base.config, resolved.lora)
        plan["memory_bytes"] = memory_bytes(
            family,
            base.config,
            resolved,
            dtype=dtype,
            backend=backend,
            length=plan["_longest"] or resolved.train.sequence_length,
            supervised=plan["_most_supervised"],
            chunk=chunk_bytes(),
        )
    return {key: value for key, value in plan.items() if not key.startswith("_")}


def trainable_parameters(family: Family, config: Mapping[str, Any], settings: LoraSettings) -> int:
    """Size of the adapter.

    `keras`: A has the kernel's shape with its last axis replaced by the rank r, B is
    (r, last axis). `peft`: r · (in + out) a matrix.
    """
    total = 0
    for spec in family.tensors(config):
        if spec.target not in settings.target_layers:
            continue
        if settings.layout == "keras":
            total += settings.rank * (prod(spec.shape[:-1]) + spec.shape[-1])
        else:
            total += settings.rank * sum(spec.hf_shape)
    return total


def memory_bytes(
    family: Family,
    config: Mapping[str, Any],
    recipe: Recipe,
    *,
    dtype: str,
    backend: str,
    length: int,
    supervised: int | None,
    chunk: int,
) -> int:
    """Roughly how much memory a step takes, weights and libraries included.

    14 % above what torch allocated on an H100 for the 270M at 8 × 512; resident memory
    on a CPU was up to 1.4 times this.

    The sum of the base, sixteen bytes an adapter parameter (A or B, its gradient and
    AdamW's two moments in float32), one chunk of logits with its temporaries, and what a
    block keeps for its backward pass: attention weights, the four feed-forward tensors,
    the projections, and the residual stream with its float32 norms.

    Args:
        length: padded tokens a row.
        supervised: gathered positions of a micro-batch; a quarter of the tokens if None.
        chunk: memory of one chunk of float32 logits.
    """
    size = DTYPE_BYTES[dtype]
    heads, width = config["num_query_heads"], config["hidden_dim"]
    head_width = config.get("head_dim") or width // heads
    rows = recipe.train.batch_size
    attention = heads * length * 8
    # KerasHub counts Gemma 1's and 2's gate and up together in `intermediate_dim`.
    inner = config["intermediate_dim"] // (2 if family.name in ("gemma", "gemma2") else 1)
    projections = 2 * (heads + 2 * config["num_key_value_heads"]) * head_width * size
    block = attention + 4 * inner * size + width * (6 * size + 8) + projections
    activations = rows * length * config["num_layers"] * block
    vocabulary = config["vocabulary_size"]
    positions = supervised or rows * length // 4
    logits = min(positions, max(16, chunk // (4 * vocabulary))) * vocabulary * (2 * size + 8)
    adapter = 16 * trainable_parameters(family, config, recipe.lora)
    return (
        family.parameters(config) * size + adapter + activations + logits + LIBRARIES_BYTES[backend]
    )


def _counts(recipe: Recipe, base: BaseDescription) -> dict[str, Any]:
    """Rows, tokens and steps, as far as they can be known here."""
    names = ("rows", "validation_rows", "dropped_rows", "tokens", "supervised_tokens", "steps")
    unknown = dict.fromkeys((*names, "window_shapes", "_longest", "_most_supervised"))
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
    shapes = prepared.windows.shapes(0)
    return {
        "rows": len(prepared.train.examples),
        "validation_rows": len(prepared.validation.examples) if prepared.validation else 0,
        "dropped_rows": sum(prepared.train.reasons.values()),
        "tokens": prepared.train.tokens,
        "supervised_tokens": prepared.train.supervised_tokens,
        "steps": prepared.total_steps,
        "window_shapes": len(shapes),
        "unknown": None,
        "_longest": max(shape[2] for shape in shapes),
        "_most_supervised": max(shape[3] for shape in shapes),
    }
