"""From one preset string to a loaded base model, or to a description of it.

A preset is `gemma3-270m` (embedded), a .gguf file, a local Hugging Face or Keras
preset folder, `hf://org/name`, a KerasHub preset name, or `kaggle://…`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasft.errors import ModelError
from kerasft.models import downloads, embedded
from kerasft.models.families import FAMILIES, Family
from kerasft.models.opened import Opened, family_and_config, open_gguf, open_path, read_config
from kerasft.models.presets import EMBEDDED, EMBEDDED_CONFIG, KNOWN
from kerasft.out_of_memory import explained

if TYPE_CHECKING:
    from kerasft.data.tokens import Tokenizer

DTYPES = ("bfloat16", "float32", "float16")


@dataclass(frozen=True)
class BaseModel:
    """A loaded base model.

    Attributes:
        causal_lm: KerasHub causal LM, without preprocessor.
        family, config: its table and its KerasHub backbone arguments.
        tokenizer: text to ids.
        preset: the string that it was asked for by.
        base_id: what it is called in adapters and cards; no path of this machine.
        dtype: type of the weights in memory.
        fingerprint: see `kerasft.models.fingerprint`.
        licence, licence_page: the terms and where they are.
        files: the files that it came from.
    """

    causal_lm: Any
    family: Family
    config: dict[str, Any]
    tokenizer: Tokenizer
    preset: str
    base_id: str
    dtype: str
    fingerprint: str
    licence: str
    licence_page: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class BaseDescription:
    """What can be said of a base model without loading or downloading it.

    Attributes:
        source: `embedded`, `gguf`, `folder`, `hugging_face` or `kaggle`.
        family, config, parameters: None where only a download would tell.
        download_bytes: bytes still to fetch; 0 for local files, None if unknown.
        licence, licence_page: the terms and where they are accepted.
        login: the command that logs in, or None if no login is needed.
    """

    preset: str
    source: str
    family: str | None
    config: Mapping[str, Any] | None
    parameters: int | None
    download_bytes: int | None
    licence: str | None
    licence_page: str | None
    login: str | None


def load_base(preset: str, *, dtype: str, tokenizer: Tokenizer | None = None) -> BaseModel:
    """Loads a base model; downloads it first if it must.

    Args:
        preset: see the module.
        dtype: `bfloat16`, `float32` or `float16`: type of weights and arithmetic.
        tokenizer: its own, where `load_tokenizer` has read it before.

    Raises:
        ModelError: there is no such model, it cannot be downloaded, or its files are
            damaged, unsafe or of another family.
        OutOfMemory: the weights do not fit the device.
    """
    opened, base_id = open_base(preset)
    check_dtype(dtype, opened.family)
    from kerasft.models.fingerprint import fingerprint, keras_reader

    tokenizer = tokenizer or opened.load_tokenizer()
    with enough_memory(preset, dtype):
        causal_lm = opened.family.build(opened.config, dtype)
        opened.load_weights(causal_lm, dtype)
    specs = opened.family.tensors(opened.config)
    return BaseModel(
        causal_lm=causal_lm,
        family=opened.family,
        config=opened.config,
        tokenizer=tokenizer,
        preset=preset,
        base_id=base_id,
        dtype=dtype,
        fingerprint=fingerprint(specs, keras_reader(causal_lm.backbone)),
        licence=opened.family.licence,
        licence_page=opened.family.licence_page,
        files=opened.files,
    )


def check_dtype(dtype: str, family: Family) -> None:
    """Refuse a type that a base cannot be computed in.

    Raises:
        ModelError: it is none of `DTYPES`, or the family's numbers do not fit it.
    """
    if dtype not in DTYPES:
        raise ModelError(f"dtype {dtype!r}: expected one of {', '.join(DTYPES)}.")
    if dtype == "float16" and family.name == "gemma3":
        raise ModelError(
            "Gemma 3 overflows in float16 (its activations pass 65,504). Use bfloat16, or "
            "float32 where the GPU has no bfloat16."
        )


def enough_memory(preset: str, dtype: str) -> AbstractContextManager[None]:
    """Around loading: a shortage of memory is told with what to change."""
    halved = ["set model.dtype = bfloat16, which takes half"] if dtype == "float32" else []
    remedies = [*halved, "choose a smaller preset", "end other programs that use the device"]
    return explained(f"loading {preset} in {dtype}", lambda: remedies)


def check_access(preset: str) -> None:
    """Fetch the config of a remote base, so that a missing login is known before the rest.

    Raises:
        ModelError: it cannot be had; names the licence page and the command to log in.
    """
    source = describe_base(preset).source
    if source == "kaggle":
        downloads.kaggle_folder(preset, file="config.json")
    elif source == "hugging_face":
        downloads.hugging_face_folder(preset, ("config.json",))


def load_tokenizer(preset: str) -> Tokenizer:
    """The tokenizer of a base model, without its weights.

    Raises:
        ModelError: as `load_base`.
    """
    return open_base(preset)[0].load_tokenizer()


def describe_base(preset: str) -> BaseDescription:
    """What is known of a base model without its weights; never uses the network.

    Raises:
        ModelError: a local file is damaged, or the string names nothing that is known.
    """
    if preset == EMBEDDED:
        family = FAMILIES["gemma3"]
        missing = 0 if embedded.installed() else embedded.BYTES
        return _description(preset, "embedded", family, EMBEDDED_CONFIG, missing)
    if preset.startswith(downloads.HUGGING_FACE):
        page, login = downloads.hugging_face_page(preset), downloads.HUGGING_FACE_LOGIN
        cached = downloads.cached_hub_config(preset)
        if cached is None:
            return BaseDescription(
                preset, "hugging_face", None, None, None, None, None, page, login
            )
        family, config = family_and_config(read_config(cached.parent))
        return _description(preset, "hugging_face", family, config, None, page, login)
    if preset in KNOWN:
        known = KNOWN[preset]
        return _kaggle_description(preset, known.handle, FAMILIES[known.family], known.config)
    if preset.startswith(downloads.KAGGLE):
        handle = downloads.kaggle_handle(preset)
        for known in KNOWN.values():
            if known.handle.split("/")[:4] == handle.split("/")[:4]:
                return _kaggle_description(preset, handle, FAMILIES[known.family], known.config)
        return _kaggle_description(preset, handle, None, None)
    path = Path(preset).expanduser()
    if path.is_file():
        opened = open_path(path)
        return _description(preset, "gguf", opened.family, opened.config, 0)
    if path.is_dir():
        family, config = family_and_config(read_config(path))
        return _description(preset, "folder", family, config, 0)
    return _kaggle_description(preset, downloads.kaggle_handle(preset), None, None)


def open_base(preset: str) -> tuple[Opened, str]:
    """A base model whose weights have not been read yet, and its base id.

    Raises:
        ModelError: as `load_base`.
    """
    if preset == EMBEDDED:
        return open_gguf(embedded.embedded_file()), EMBEDDED
    if preset.startswith(downloads.HUGGING_FACE):
        folder, commit = downloads.hugging_face_folder(preset)
        opened = open_path(folder)
        return opened, opened.named(f"{preset.partition('@')[0]}@{commit}")
    if preset not in KNOWN and not preset.startswith(downloads.KAGGLE):
        path = Path(preset).expanduser()
        if path.exists():
            opened = open_path(path.resolve())
            return opened, opened.named(opened.name)
        if path.suffix == ".gguf" or "/" in preset or "\\" in preset:
            raise ModelError(downloads.unknown_preset(preset))
    opened = open_path(downloads.kaggle_folder(preset))
    return opened, opened.named(preset)


def _description(
    preset: str,
    source: str,
    family: Family,
    config: Mapping[str, Any],
    download_bytes: int | None,
    page: str | None = None,
    login: str | None = None,
) -> BaseDescription:
    return BaseDescription(
        preset=preset,
        source=source,
        family=family.name,
        config=config,
        parameters=family.parameters(config),
        download_bytes=download_bytes,
        licence=family.licence,
        licence_page=page or family.licence_page,
        login=login,
    )


def _kaggle_description(
    preset: str, handle: str, family: Family | None, config: Mapping[str, Any] | None
) -> BaseDescription:
    page, login = downloads.kaggle_page(handle), downloads.KAGGLE_LOGIN
    if family is None or config is None:
        return BaseDescription(preset, "kaggle", None, None, None, None, None, page, login)
    # The presets are published in bfloat16.
    size = 0 if downloads.kaggle_cached(handle) else 2 * family.parameters(config)
    return _description(preset, "kaggle", family, config, size, page, login)
