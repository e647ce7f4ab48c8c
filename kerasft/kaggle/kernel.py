"""Writing the folder of a kernel: its notebook and its metadata."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasft.backend import Backend
from kerasft.errors import KernelError, RunError
from kerasft.kaggle import metadata as kernel_metadata
from kerasft.kaggle.accelerators import ACCELERATORS, Accelerator
from kerasft.kaggle.cells import Contents
from kerasft.kaggle.notebook import notebook
from kerasft.masking import masked
from kerasft.models.downloads import HUGGING_FACE, KAGGLE
from kerasft.models.presets import EMBEDDED, KNOWN
from kerasft.recipe import Overrides, Recipe, load, to_toml
from kerasft.records import write_text
from kerasft.versions import versions

NO_EXPORT = "none"
HUGGING_FACE_SECRET, KAGGLE_SECRET = "HF_TOKEN", "KAGGLE_API_TOKEN"

_NEEDS_HF = ("hf", "peft", "gguf")
"""Formats whose proof loads them in transformers."""

_INPUTS = "/kaggle/"


@dataclass(frozen=True)
class Kernel:
    """A folder that was written.

    Attributes:
        folder: where.
        notebook: the notebook's path.
        id: `username/kernel-slug`; "" for Colab.
        accelerator: its name.
        backend: that trains.
        notes: sentences that a person should read.
    """

    folder: Path
    notebook: Path
    id: str
    accelerator: str
    backend: Backend
    notes: tuple[str, ...]


def init_kernel(
    recipe: str,
    out: str | Path | None = None,
    *,
    accelerator: str = "t4x2",
    backend: Backend | None = None,
    overrides: Overrides = (),
    export: str = "hf",
    push: str = "",
    overwrite: bool = False,
    title: str = "",
    username: str = "",
    datasets: Sequence[str] = (),
    wheels: str = "",
    offline: bool = False,
    colab: bool = False,
) -> Kernel:
    """Write a notebook that runs a recipe, and for Kaggle its metadata.

    Args:
        recipe: a shipped recipe's name, or a TOML file.
        out: a new folder; the title's slug where not given.
        accelerator: one of `ACCELERATORS`.
        backend: the accelerator's own where not given.
        overrides: of the recipe, as `kerasft.recipe.load` takes them.
        export: a format of `kerasft export`, or `none`.
        push: destination of the export; "" for nowhere.
        overwrite: whether the push may replace files that are there and differ.
        title: of the notebook; `kerasft RECIPE` where not given.
        username: on Kaggle; the one that is logged in where not given.
        datasets: Kaggle data sets among its inputs, `owner/name`.
        wheels: data set with wheels, where pip looks beside the index.
        offline: whether the notebook runs without the internet, with the wheels alone.
        colab: for Colab instead of Kaggle.

    Raises:
        KernelError: the folder cannot be written, or Kaggle would refuse what it says.
        RecipeError: the recipe has faults.
        ExportError: `push` is no destination.
    """
    machine = ACCELERATORS[accelerator]
    chosen = backend or machine.default_backend
    if machine.kind == "tpu" and chosen != "jax":
        raise KernelError("A TPU is reached through JAX: give --backend jax, or leave it out.")
    if push and export == NO_EXPORT:
        raise KernelError("There is no export to push; give --export FORMAT with --push.")
    if colab and machine.kind != "cpu" and not machine.colab:
        raise KernelError(f"Colab has no {machine.title}; give another --accelerator.")
    if wheels and colab:
        raise KernelError("--wheels names a Kaggle data set; Colab installs from PyPI.")
    if offline and not wheels:
        raise KernelError("Without the internet pip needs wheels: give --wheels with --offline.")
    if offline and push:
        raise KernelError("Without the internet nothing is pushed: --offline goes without --push.")
    if push:
        from kerasft.export.push import check_destination

        check_destination(push, login=False)
    resolved = load(recipe, overrides)
    # A word, because the cell that writes the file takes its name without quotes.
    name = re.sub(r"[^\w.-]+", "-", Path(recipe).stem)
    title = title or f"kerasft {name}"
    slug = kernel_metadata.check_title(title)
    contents = Contents(
        title=title,
        slug=slug,
        recipe_name=name,
        recipe=_without_secrets(to_toml(resolved)),
        accelerator=machine,
        backend=chosen,
        packages=_packages(resolved, machine, chosen, export),
        wheels=bool(wheels),
        offline=offline,
        secrets=_secrets(resolved, push),
        export="" if export == NO_EXPORT else export,
        push=push,
        overwrite=overwrite,
        version=versions().get("kerasft", "from a checkout"),
    )
    files: dict[str, dict[str, Any]] = {f"{slug}.ipynb": notebook(contents, colab)}
    notes = _notes(resolved, colab=colab)
    identity = ""
    if not colab:
        described = kernel_metadata.metadata(
            username or _logged_in_as(),
            title,
            f"{slug}.ipynb",
            machine,
            internet=not offline,
            datasets=[*datasets, *([wheels] if wheels else [])],
            models=_models(resolved),
        )
        files[kernel_metadata.FILE] = described
        identity = described["id"]
    folder = Path(out) if out is not None else Path(slug)
    _write(folder, files)
    return Kernel(folder, folder / f"{slug}.ipynb", identity, accelerator, chosen, tuple(notes))


def _packages(recipe: Recipe, accelerator: Accelerator, backend: Backend, export: str) -> list[str]:
    """What pip installs: this kerasft with the extras that the recipe needs."""
    extras = [
        *(["gemma"] if recipe.model.preset == EMBEDDED else []),
        *(["hf"] if export in _NEEDS_HF else []),
    ]
    number = versions().get("kerasft")
    named = f"kerasft[{','.join(extras)}]" if extras else "kerasft"
    packages = [f"{named}=={number}" if number else named]
    if backend == "jax" and accelerator.package:
        packages.append(accelerator.package)
    return packages


def _secrets(recipe: Recipe, push: str) -> dict[str, bool]:
    """Secrets that the notebook looks for, and whether it cannot go on without them."""
    found = {HUGGING_FACE_SECRET: push.startswith(HUGGING_FACE)}
    if push.startswith(KAGGLE):
        found[KAGGLE_SECRET] = True
    return found


def _models(recipe: Recipe) -> list[str]:
    """The base among the notebook's inputs, where Kaggle has it."""
    preset = recipe.model.preset
    if preset in KNOWN:
        return [KNOWN[preset].handle]
    return [preset.removeprefix(KAGGLE)] if preset.startswith(KAGGLE) else []


def _notes(recipe: Recipe, *, colab: bool) -> list[str]:
    """What a person should know before the notebook runs."""
    notes = []
    places = {
        "model.preset": recipe.model.preset,
        "data.source": recipe.data.source,
        "data.schemas": recipe.data.schemas,
        "lora.init_from": recipe.lora.init_from,
    }
    for setting, place in places.items():
        if place and _is_local(place):
            remedy = (
                "copy it to Google Drive"
                if colab
                else "upload it as a data set, attach that with --dataset"
            )
            notes.append(
                f"{setting} is {place}, a place on this machine: {remedy}, and give its path "
                f"there with --set {setting}=…"
            )
    if recipe.model.preset in KNOWN or recipe.model.preset.startswith(KAGGLE):
        notes.append(
            f"{recipe.model.preset} asks for consent to its licence on its page on Kaggle, once."
        )
    return notes


def _is_local(place: str) -> bool:
    path = Path(place)
    if place.startswith((_INPUTS, "/content/", KAGGLE, HUGGING_FACE)):
        return False
    return path.is_absolute() or path.exists() or place.startswith((".", "~"))


def _without_secrets(recipe: str) -> str:
    if masked(recipe) != recipe:
        raise KernelError(
            "The recipe holds a secret of this machine's environment, which would be in the "
            "notebook for all to read. Take it out of the recipe."
        )
    return recipe


def _logged_in_as() -> str:
    """The name of the Kaggle login that this machine has."""
    from kagglehub.config import get_kaggle_credentials

    try:
        credentials = get_kaggle_credentials()
    except Exception:  # kagglehub's own errors share no base class
        credentials = None
    name = getattr(credentials, "username", None)
    if not name:
        raise KernelError(
            "A kernel's id begins with your name on Kaggle, and the login of this machine does "
            "not tell it: give --username."
        )
    return str(name)


def _write(folder: Path, files: dict[str, dict[str, Any]]) -> None:
    """All of the files or none of them."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise KernelError(f"{folder} is there and not empty; give another folder with --out.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise KernelError(f"{folder} cannot be written: {error.strerror}.") from error
    try:
        for name, content in files.items():
            write_text(staged / name, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        staged.chmod(0o755)
        if folder.is_dir():
            folder.rmdir()
        staged.rename(folder)
    except (OSError, RunError) as error:
        raise KernelError(f"{folder} cannot be written: {error}") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
