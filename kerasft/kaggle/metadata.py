"""`kernel-metadata.json`: what Kaggle is told of a kernel.

Fields as Kaggle documents them: https://github.com/Kaggle/kaggle-cli, docs/kernels_metadata.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasft.errors import KernelError, collected
from kerasft.kaggle.accelerators import Accelerator

if TYPE_CHECKING:
    from kagglesdk.kernels.types.kernels_api_service import ApiSaveKernelRequest

FILE = "kernel-metadata.json"

_SHORTEST, _LONGEST = 5, 50
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_OWNED = re.compile(r"[A-Za-z0-9_-]+/[A-Za-z0-9_-]+")
_MODEL = re.compile(r"[A-Za-z0-9_-]+/[A-Za-z0-9_.-]+/[A-Za-z0-9_.]+/[A-Za-z0-9_.-]+(?:/\d+)?")
_TEXTS = ("id", "title", "code_file", "language", "kernel_type", "machine_shape")
_FLAGS = ("is_private", "enable_gpu", "enable_tpu", "enable_internet")
_LISTS = {
    "dataset_sources": _OWNED,
    "competition_sources": re.compile(r"[a-z0-9-]+"),
    "kernel_sources": _OWNED,
    "model_sources": _MODEL,
    "keywords": re.compile(r".+"),
}


def slug_of(title: str) -> str:
    """A title as Kaggle has it in an address: lower case, dashes for all else."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def check_title(title: str) -> str:
    """The slug of a title.

    Raises:
        KernelError: Kaggle does not take such a title.
    """
    if not _SHORTEST <= len(title) <= _LONGEST or not slug_of(title):
        raise KernelError(
            f"The title {title!r} has {len(title)} characters; Kaggle takes {_SHORTEST} to "
            f"{_LONGEST} with letters or digits in them. Give --title."
        )
    return slug_of(title)


def metadata(
    owner: str,
    title: str,
    code_file: str,
    accelerator: Accelerator,
    *,
    internet: bool,
    datasets: Sequence[str],
    models: Sequence[str],
) -> dict[str, Any]:
    """The metadata of a new, private kernel that has its own last output among its inputs."""
    identity = f"{owner}/{check_title(title)}"
    made = {
        "id": identity,
        "title": title,
        "code_file": code_file,
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": accelerator.kind == "gpu",
        "enable_tpu": accelerator.kind == "tpu",
        "enable_internet": internet,
        "machine_shape": accelerator.machine_shape,
        "dataset_sources": list(datasets),
        "competition_sources": [],
        "kernel_sources": [identity],
        "model_sources": list(models),
    }
    found = faults(made)
    if found:
        raise KernelError(collected("The kernel cannot be described to Kaggle", found))
    return made


def read(folder: Path) -> dict[str, Any]:
    """The metadata of a kernel's folder, checked.

    Raises:
        KernelError: there is none, or all that is wrong with it.
    """
    path = folder / FILE
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise KernelError(
            f"{folder} has no {FILE}; `kerasft kaggle init --recipe R --out {folder}` writes one."
        ) from None
    except OSError as error:
        raise KernelError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise KernelError(f"{path} is no JSON: {error}.") from error
    if not isinstance(found, dict):
        raise KernelError(f"{path} is no JSON object.")
    wrong = faults(found)
    name = found.get("code_file")
    if isinstance(name, str) and name and not (folder / name).is_file():
        wrong.append(f"code_file: there is no {folder / name}")
    if wrong:
        raise KernelError(collected(f"{path} has faults", wrong))
    return found


def faults(found: Mapping[str, Any]) -> list[str]:
    """All that is wrong with metadata; what Kaggle knows and kerasft does not set is left."""
    wrong = [
        f"{name}: expected text, got {found[name]!r}"
        for name in _TEXTS
        if not isinstance(found.get(name, ""), str)
    ]
    wrong += [
        f"{name}: expected true or false, got {found[name]!r}"
        for name in _FLAGS
        if flag(found, name) is None
    ]
    for name, shape in _LISTS.items():
        value = found.get(name, [])
        if not isinstance(value, list):
            wrong.append(f"{name}: expected a list, got {value!r}")
            continue
        wrong += [
            f"{name}: {entry!r} is no source that Kaggle knows by such a name"
            for entry in value
            if not isinstance(entry, str) or not shape.fullmatch(entry)
        ]
    if wrong:
        return wrong
    owner, _, slug = found.get("id", "").partition("/")
    if not owner or not _SLUG.fullmatch(slug):
        wrong.append(f"id: expected username/kernel-slug, got {found.get('id')!r}")
    elif found.get("title") and slug_of(found["title"]) != slug:
        wrong.append(
            f"title: Kaggle would name it {slug_of(found['title'])!r}, and id says {slug!r}"
        )
    if not found.get("code_file"):
        wrong.append("code_file: expected the notebook's name")
    for name, expected in (("language", "python"), ("kernel_type", "notebook")):
        if found.get(name) != expected:
            wrong.append(f"{name}: expected {expected!r}, got {found.get(name)!r}")
    return wrong


def flag(found: Mapping[str, Any], name: str) -> bool | None:
    """A switch, which Kaggle also takes as text; None where it is neither.

    A kernel is private and offline unless it says otherwise.
    """
    value = found.get(name, name == "is_private")
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return value if isinstance(value, bool) else None


def request(found: Mapping[str, Any], text: str, *, own_output: bool) -> ApiSaveKernelRequest:
    """What Kaggle's API is asked for.

    Args:
        found: as `read` gives it.
        text: the notebook.
        own_output: whether the kernel has a version whose output it can take in.
    """
    from kagglesdk.kernels.types.kernels_api_service import ApiSaveKernelRequest

    made = ApiSaveKernelRequest()
    made.slug, made.text = found["id"], text
    if found.get("title"):
        made.new_title = found["title"]
    made.language, made.kernel_type = found["language"], found["kernel_type"]
    made.is_private = bool(flag(found, "is_private"))
    made.enable_gpu = bool(flag(found, "enable_gpu"))
    made.enable_tpu = bool(flag(found, "enable_tpu"))
    made.enable_internet = bool(flag(found, "enable_internet"))
    if found.get("machine_shape"):
        made.machine_shape = found["machine_shape"]
    made.dataset_data_sources = found.get("dataset_sources", [])
    made.competition_data_sources = found.get("competition_sources", [])
    made.model_data_sources = found.get("model_sources", [])
    made.category_ids = found.get("keywords", [])
    made.kernel_data_sources = [
        source
        for source in found.get("kernel_sources", [])
        if own_output or source.lower() != found["id"].lower()
    ]
    return made
