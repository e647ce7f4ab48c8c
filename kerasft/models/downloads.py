"""Fetching a model folder from Kaggle or the Hugging Face Hub.

A failure is told in one sentence with the licence page and the command to log in.
The library's own message is not shown: it may hold a signed address.
"""

from __future__ import annotations

from pathlib import Path

from kerasft.errors import ModelError
from kerasft.models.presets import KNOWN

KAGGLE, HUGGING_FACE = "kaggle://", "hf://"
KAGGLE_LOGIN = "python -c 'import kagglehub; kagglehub.login()'"
HUGGING_FACE_LOGIN = "hf auth login"
_HUB_FILES = (
    "*.json",
    "*.safetensors",
    "tokenizer.model",
    "*.weights.h5",
    "assets/tokenizer/*",
)
"""Weights without code, configs and tokenizers; of either library's format."""
_TIMEOUT_SECONDS = 30


def kaggle_folder(preset: str, file: str | None = None) -> Path:
    """The folder of a KerasHub preset name or a `kaggle://` handle, downloaded if needed.

    Args:
        preset: the name or handle.
        file: fetch this file alone, and give its path.

    Raises:
        ModelError: it cannot be downloaded; says where to accept the licence and log in.
    """
    import kagglehub
    from kagglehub.exceptions import KaggleApiHTTPError

    handle = kaggle_handle(preset)
    try:
        return Path(kagglehub.model_download(handle, path=file))
    except KaggleApiHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        reason = {
            401: "you are not logged in",
            403: "its licence is not accepted or you are not logged in",
            404: "Kaggle has no such model, or you are not logged in",
        }.get(status, f"Kaggle answered with status {status}")
    except ValueError:
        raise ModelError(
            f"{preset}: expected a handle such as kaggle://keras/gemma/keras/gemma_2b_en."
        ) from None
    except OSError:
        reason = "Kaggle cannot be reached from this machine"
    except Exception as error:  # kagglehub's own errors share no base class
        reason = f"kagglehub failed with {type(error).__name__}"
    raise ModelError(
        f"{preset} could not be downloaded because {reason}: accept the licence at "
        f"{kaggle_page(handle)}, log in with `{KAGGLE_LOGIN}`, and run this again."
    )


def kaggle_cached(handle: str) -> bool:
    """Whether kagglehub has a whole copy of some version of a model; never downloads."""
    from kagglehub.config import get_cache_folder

    variation = Path(get_cache_folder(), "models", *handle.split("/")[:4])
    return any(marker.with_suffix("").is_dir() for marker in variation.glob("*.complete"))


def kaggle_handle(preset: str) -> str:
    """The Kaggle handle of a KerasHub preset name or of a `kaggle://` string.

    Raises:
        ModelError: KerasHub has no preset of that name.
    """
    if preset.startswith(KAGGLE):
        return preset.removeprefix(KAGGLE)
    if preset in KNOWN:
        return KNOWN[preset].handle
    from kerasft.models.families import FAMILIES
    from kerasft.models.hub import keras_hub

    models = keras_hub().models
    for family in FAMILIES.values():
        presets = getattr(models, family.backbone_class).presets
        if preset in presets:
            return presets[preset]["kaggle_handle"].removeprefix(KAGGLE)
    raise ModelError(unknown_preset(preset))


def unknown_preset(preset: str) -> str:
    """The message for a string that names no model, with the nearest known names."""
    from difflib import get_close_matches

    from kerasft.models.presets import EMBEDDED

    near = get_close_matches(preset, [EMBEDDED, *KNOWN], n=3)
    return (
        f"{preset!r} is no preset of a supported family, no file and no folder."
        + (f" Did you mean {' or '.join(near)}?" if near else "")
        + f" Expected a KerasHub preset name, {EMBEDDED}, {KAGGLE}…, {HUGGING_FACE}org/name, a "
        "model folder or a .gguf file."
    )


def kaggle_page(handle: str) -> str:
    """The page of a model, where Kaggle asks for consent to its licence."""
    return "https://www.kaggle.com/models/" + "/".join(handle.split("/")[:2])


def hugging_face_page(preset: str) -> str:
    """The page of a repository on the Hub, where gated models ask for consent."""
    return "https://huggingface.co/" + _repository(preset)[0]


def hugging_face_folder(preset: str, patterns: tuple[str, ...] = _HUB_FILES) -> tuple[Path, str]:
    """The folder of `hf://org/name[@revision]` and its commit, downloaded if needed.

    Args:
        preset: the handle.
        patterns: what is fetched: configs, tokenizers and weights without code.

    Raises:
        ModelError: it cannot be downloaded; says where to accept the licence and log in.
    """
    import huggingface_hub
    from huggingface_hub import errors

    repository, revision = _repository(preset)
    try:
        folder = huggingface_hub.snapshot_download(
            repository,
            revision=revision,
            allow_patterns=list(patterns),
            etag_timeout=_TIMEOUT_SECONDS,
        )
        return Path(folder), Path(folder).name
    except errors.HFValidationError:
        raise ModelError(f"{preset}: expected hf://organisation/name[@revision].") from None
    except errors.GatedRepoError:
        reason = "its licence is not accepted or you are not logged in"
    except errors.RevisionNotFoundError:
        raise ModelError(f"{preset}: the repository has no revision {revision!r}.") from None
    except errors.RepositoryNotFoundError:
        reason = "the Hub has no such repository, or you are not logged in"
    except errors.LocalEntryNotFoundError:
        reason = "the Hugging Face Hub cannot be reached from this machine"
    except (errors.HfHubHTTPError, OSError) as error:
        reason = f"the download failed with {type(error).__name__}"
    raise ModelError(
        f"{preset} could not be downloaded because {reason}: accept the licence at "
        f"{hugging_face_page(preset)}, log in with `{HUGGING_FACE_LOGIN}`, and run this again."
    )


def cached_hub_config(preset: str) -> Path | None:
    """config.json of a repository if the Hub's cache already holds it; never downloads."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    repository, revision = _repository(preset)
    try:
        found = try_to_load_from_cache(repository, "config.json", revision=revision)
    except HFValidationError:
        raise ModelError(f"{preset}: expected hf://organisation/name[@revision].") from None
    return Path(found) if isinstance(found, str) else None


def _repository(preset: str) -> tuple[str, str | None]:
    repository, _, revision = preset.removeprefix(HUGGING_FACE).partition("@")
    return repository, revision or None
