"""Fetching a model folder from Kaggle or the Hugging Face Hub.

A failure is told in one sentence with the licence page and the command to log in.
The library's own message is not shown: it may hold a signed address.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import platform
import re
import sys
from pathlib import Path

from kerasft.caches import cache_dir
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
_TAR_FILTERS_SINCE = (3, 11, 4)


def kaggle_folder(preset: str, file: str | None = None) -> Path:
    """The folder of a KerasHub preset name or a `kaggle://` handle, downloaded if needed.

    Args:
        preset: the name or handle.
        file: fetch this file alone, and give its path.

    Raises:
        ModelError: it cannot be downloaded; says where to accept the licence and log in.
    """
    import kagglehub
    from kagglehub.config import get_cache_folder
    from kagglehub.exceptions import DataCorruptionError, KaggleApiHTTPError

    handle = kaggle_handle(preset)
    page, cache = kaggle_page(handle), Path(get_cache_folder())
    try:
        return Path(kagglehub.model_download(handle, path=file))
    except KaggleApiHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        reason = {
            401: "you are not logged in",
            403: "its licence is not accepted or you are not logged in",
            404: "Kaggle has no such model, or you are not logged in",
        }.get(status, f"Kaggle answered with status {status}")
        remedy = _consent(page, KAGGLE_LOGIN)
    except ValueError:
        raise ModelError(
            f"{preset}: expected a handle such as kaggle://keras/gemma/keras/gemma_2b_en."
        ) from None
    except DataCorruptionError:
        reason, remedy = "it arrived damaged", "run this again, which fetches it anew"
    except OSError as error:
        reason = "Kaggle cannot be reached from this machine"
        remedy = _elsewhere(page, cache, KAGGLE_LOGIN)
        if (full := _disk_fault(error)) is not None:
            reason, remedy = full, _room(cache, "KAGGLEHUB_CACHE")
    except Exception as error:  # kagglehub's own errors share no base class
        reason, remedy = (
            f"kagglehub failed with {type(error).__name__}",
            _consent(page, KAGGLE_LOGIN),
        )
        # kagglehub unpacks with a filter, an argument that older releases do not know.
        if isinstance(error, TypeError) and sys.version_info < _TAR_FILTERS_SINCE:
            version = platform.python_version()
            reason = f"Python {version} cannot unpack archives safely"
            remedy = "use Python 3.11.4 or a later one"
    raise ModelError(f"{preset} could not be downloaded because {reason}: {remedy}.")


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
        ModelError: it cannot be downloaded, or what lies in the cache is damaged; says what
            to do.
    """
    import huggingface_hub
    from huggingface_hub import constants, errors

    repository, revision = _repository(preset)
    page, cache = hugging_face_page(preset), Path(constants.HF_HUB_CACHE)
    remedy = _consent(page, HUGGING_FACE_LOGIN)
    try:
        folder = Path(
            huggingface_hub.snapshot_download(
                repository,
                revision=revision,
                allow_patterns=list(patterns),
                etag_timeout=_TIMEOUT_SECONDS,
            )
        )
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
        remedy = _elsewhere(page, cache, HUGGING_FACE_LOGIN)
    except (errors.HfHubHTTPError, OSError) as error:
        reason = f"the download failed with {type(error).__name__}"
        if (full := _disk_fault(error)) is not None:
            reason, remedy = full, _room(cache, "HF_HUB_CACHE")
    else:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                check_blob(path)
        return folder, folder.name
    raise ModelError(f"{preset} could not be downloaded because {reason}: {remedy}.")


def check_blob(path: Path) -> None:
    """Compare a file of the Hub's cache with the SHA-256 that the cache keeps it under.

    A file is hashed once; that it was whole then is remembered with its size and time of
    change. Files that lie under no hash, as small ones and those of Windows do, are left.

    Raises:
        ModelError: the file is damaged; says what to delete.
    """
    blob = path.resolve()
    if not _SHA256.fullmatch(blob.name):
        return
    found = blob.stat()
    seen = json.dumps([found.st_size, found.st_mtime_ns])
    note = cache_dir() / "verified" / blob.name
    try:
        if note.read_text("ascii") == seen:
            return
    except (OSError, ValueError):  # not hashed yet
        pass
    with blob.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != blob.name:
        raise ModelError(
            f"{path.name} is damaged: its SHA-256 is {digest}, expected {blob.name}. Delete {blob} "
            "and run this again, which downloads it anew."
        )
    with contextlib.suppress(OSError):  # it is then hashed again the next time
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(seen, "ascii")


def _consent(page: str, login: str) -> str:
    return f"accept the licence at {page}, log in with `{login}`, and run this again"


def _elsewhere(page: str, cache: Path, login: str) -> str:
    return (
        f"connect once and run this again, or fetch it on a machine with a network (its licence "
        f"is at {page}, the login is `{login}`) and copy it into {cache}, or set model.preset to "
        "the copied folder"
    )


def _room(cache: Path, variable: str) -> str:
    return f"free space in {cache}, or set {variable} to a folder on another disk"


def _disk_fault(error: OSError) -> str | None:
    """What is wrong with the disk, where it is the disk."""
    if error.errno in _FULL:
        return "the disk is full"
    return "its cache cannot be written to" if error.errno in _READ_ONLY else None


_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # no quotas on Windows
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_SHA256 = re.compile(r"[0-9a-f]{64}")


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
