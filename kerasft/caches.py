"""Where downloads and compiled programs are kept, and how much room they take.

Only kerasft's own folder is chosen here. The others belong to the libraries that
fill them; their places are worked out from the same environment variables, so
that nothing heavy is imported to name a folder.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cache:
    """One cache folder. `bytes` is 0 where the folder does not exist yet."""

    name: str
    holds: str
    path: Path
    variable: str
    bytes: int


def cache_dir() -> Path:
    """kerasft's own cache: `KERASFT_CACHE`, else `kerasft` in the user's cache folder.

    The folder is not created.
    """
    given = os.environ.get("KERASFT_CACHE")
    return Path(given).expanduser() if given else _user_cache() / "kerasft"


def caches() -> list[Cache]:
    """Every cache that a run can fill, with its size in bytes as it is now."""
    hugging_face = _folder("HF_HOME", _xdg_cache() / "huggingface")
    found = [
        (
            "kerasft",
            "weights, encoded rows (2 GiB), programs",
            cache_dir(),
            "KERASFT_CACHE",
        ),
        (
            "Hugging Face hub",
            "models from hf://",
            _folder("HF_HUB_CACHE", _folder("HUGGINGFACE_HUB_CACHE", hugging_face / "hub")),
            "HF_HUB_CACHE",
        ),
        (
            "datasets",
            "data sets of the Hub as Arrow files",
            _folder("HF_DATASETS_CACHE", hugging_face / "datasets"),
            "HF_DATASETS_CACHE",
        ),
        (
            "kagglehub",
            "presets and models from Kaggle",
            _folder("KAGGLEHUB_CACHE", Path.home() / ".cache" / "kagglehub"),
            "KAGGLEHUB_CACHE",
        ),
        ("keras", "files that Keras fetches", _folder("KERAS_HOME", _keras_home()), "KERAS_HOME"),
    ]
    return [
        Cache(name, holds, path, variable, folder_bytes(path))
        for name, holds, path, variable in found
    ]


def folder_bytes(path: Path) -> int:
    """Bytes of the regular files below a folder.

    Links are not followed: the Hub's cache links every snapshot to one blob. Files
    that vanish or cannot be read while they are counted count as nothing.
    """
    total = 0
    folders = [path]
    while folders:
        try:
            entries = list(os.scandir(folders.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                elif entry.is_file(follow_symlinks=False):
                    total += entry.stat(follow_symlinks=False).st_size
            except OSError:
                continue
    return total


def _folder(variable: str, default: Path) -> Path:
    given = os.environ.get(variable)
    return Path(os.path.expandvars(given)).expanduser() if given else default


def _xdg_cache() -> Path:
    return _folder("XDG_CACHE_HOME", Path.home() / ".cache")


def _user_cache() -> Path:
    if sys.platform == "win32" and not os.environ.get("XDG_CACHE_HOME"):
        return _folder("LOCALAPPDATA", Path.home() / "AppData" / "Local")
    return _xdg_cache()


def _keras_home() -> Path:
    return Path.home() / ".keras"
