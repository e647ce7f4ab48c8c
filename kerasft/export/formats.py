"""The formats of an export: who writes, reads and checks each, found by name.

Functions are named as `module:function` and imported when they are called, so that
asking which formats there are imports none of them.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasft.errors import ExportError


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: what `--to` takes.
        title: what people call it.
        writer: `(weights, out, *, dtype, **options) -> Written`.
        reader: module of the program that loads a folder as its users do and answers
            the probes; see `kerasft.export.readers`.
        stored: `(folder, weights) -> Stored`.
        packages: what the reader imports and may be missing.
        dtypes: that the weights can have.
        default_dtype: where none is named; None for the one that the base was trained
            on.
        promise: `(folder, weights) -> Promise`, where a folder may hold something else
            than the trained model on purpose.
        options: names of what else the writer takes.
        needs_base: whether the reader needs the untouched base beside the folder.
        chat: whether a folder can hold a chat template.
    """

    name: str
    title: str
    writer: str
    reader: str
    stored: str
    packages: tuple[str, ...]
    dtypes: tuple[str, ...]
    default_dtype: str | None = None
    promise: str | None = None
    options: tuple[str, ...] = ()
    needs_base: bool = False
    chat: bool = True

    def load(self, role: str) -> Callable[..., Any]:
        """The function of a role: `writer`, `stored` or `promise`."""
        module, _, name = getattr(self, role).partition(":")
        return getattr(importlib.import_module(module), name)

    def check_dtype(self, dtype: str) -> None:
        """Raises ExportError for a type that this format does not hold."""
        if dtype not in self.dtypes:
            raise ExportError(
                f"{self.title} cannot be written in {dtype!r}. Give --dtype "
                f"{', '.join(self.dtypes)}."
            )


_FLOATS = ("bfloat16", "float32", "float16")

FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        Format(
            name="hf",
            title="a Hugging Face model",
            writer="kerasft.export.hf:write_hf",
            reader="kerasft.export.readers.hf",
            stored="kerasft.export.hf:stored_hf",
            packages=("torch", "transformers"),
            dtypes=_FLOATS,
        ),
        Format(
            name="peft",
            title="a PEFT adapter",
            writer="kerasft.export.peft:write_peft",
            reader="kerasft.export.readers.peft",
            stored="kerasft.export.peft_proof:stored_peft",
            packages=("torch", "transformers", "peft"),
            dtypes=("float32", "bfloat16", "float16"),
            default_dtype="float32",
            promise="kerasft.export.peft_proof:promised_peft",
            options=("share_rank", "with_base"),
            needs_base=True,
        ),
        Format(
            name="gguf",
            title="a GGUF file",
            writer="kerasft.export.gguf:write_gguf",
            reader="kerasft.export.readers.gguf",
            stored="kerasft.export.gguf:stored_gguf",
            packages=("torch", "transformers", "gguf"),
            dtypes=("bfloat16", "float16", "float32", "q8_0"),
        ),
        Format(
            name="keras",
            title="a KerasHub preset",
            writer="kerasft.export.keras:write_keras",
            reader="kerasft.export.readers.keras",
            stored="kerasft.export.keras:stored_keras",
            promise="kerasft.export.keras:promised_keras",
            packages=("keras_hub",),
            dtypes=_FLOATS,
            chat=False,
        ),
    )
}
"""By name, in the order in which people are told of them."""


def format_of(folder: Path) -> Format:
    """What a folder is.

    Raises:
        ExportError: it is of no format that kerasft writes, or of two.
    """
    if not folder.is_dir():
        raise ExportError(f"{folder} is not a folder; expected one that an export made.")
    if (folder / "adapter_config.json").is_file():
        return FORMATS["peft"]
    if any(folder.glob("*.gguf")):
        return FORMATS["gguf"]
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        config = None
    if isinstance(config, dict):
        for key, name in (("model_type", "hf"), ("class_name", "keras")):
            if key in config:
                return FORMATS[name]
    raise ExportError(
        f"{folder} is no export that can be verified: expected a Hugging Face or KerasHub folder "
        "with config.json, a PEFT adapter with adapter_config.json, or a .gguf file."
    )
