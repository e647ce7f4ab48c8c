"""The engines that train a recipe: kerasft's own, and its twins of the Hugging Face stack.

`keras` trains on torch or JAX. `hf` is transformers and PEFT in a plain torch loop, `trl` is
TRL's SFTTrainer; both run without Keras, each in a process of its own.
"""

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from kerasft.backend import DEFAULT as DEFAULT_BACKEND
from kerasft.errors import KerasftError, collected
from kerasft.recipe import Recipe

if TYPE_CHECKING:
    from kerasft.console import Reporter
    from kerasft.engine.learner import Learner
    from kerasft.preparation import Prepared

Engine = Literal["keras", "hf", "trl"]
ENGINES: tuple[Engine, ...] = ("keras", "hf", "trl")
DEFAULT: Engine = "keras"

PACKAGES = {"hf": ("transformers", "peft"), "trl": ("transformers", "peft", "accelerate", "trl")}
"""What a twin imports; the extra of its name installs it."""

_STRANGERS = ("keras", "jax")


def train_options(engine: str, backend: str) -> list[str]:
    """What `kerasft train` is given to train with an engine and its backend."""
    return ["--backend", backend] if engine == DEFAULT else ["--engine", engine]


def check(engine: str, backend: str, recipe: Recipe, *, callbacks: bool = False) -> None:
    """Refuse what an engine cannot do, before anything is loaded.

    Args:
        engine: of `ENGINES`.
        backend: torch or jax.
        recipe: that is to be trained.
        callbacks: whether Keras callbacks were given.

    Raises:
        KerasftError: every reason at once.
    """
    if engine not in ENGINES:
        raise KerasftError(f"engine {engine!r} is not known; expected {', '.join(ENGINES)}")
    if engine == "keras":
        if recipe.model.quantization != "none":
            _check_quantization(backend, recipe)
        return
    faults = []
    if recipe.model.quantization != "none":
        faults.append(
            f"model.quantization is {recipe.model.quantization}, which the engine keras alone "
            "does: set it to none"
        )
    if backend != DEFAULT_BACKEND:
        faults.append(f"it runs on torch, and the backend is {backend}: leave --backend out")
    if recipe.lora.layout != "peft":
        faults.append(
            f"lora.layout is {recipe.lora.layout}, which PEFT cannot train (its copies of a B that "
            "heads share would part at the first update): add --set lora.layout=peft"
        )
    if callbacks:
        faults.append("Keras callbacks belong to the engine keras: leave them out")
    if engine == "trl" and recipe.train.on_bad_step == "skip":
        faults.append("TRL's loop leaves no update out: set train.on_bad_step = stop")
    missing = [name for name in PACKAGES[engine] if find_spec(name) is None]
    if missing:
        faults.append(f"{', '.join(missing)} missing: pip install 'kerasft[{engine}]'")
    loaded = [name for name in _STRANGERS if sys.modules.get(name) is not None]
    if loaded:
        faults.append(
            f"{', '.join(loaded)} imported in this process, and a twin trains without: run "
            f"`kerasft train --recipe … --engine {engine}` in a process of its own"
        )
    if faults:
        raise KerasftError(collected(f"the engine {engine} cannot train this", faults))


def _check_quantization(backend: str, recipe: Recipe) -> None:
    """Refuse a rounded base where it cannot be had.

    torch is asked about its device; JAX, which takes memory when it is asked, is not yet.
    """
    float8 = recipe.model.quantization.startswith("float8")
    if float8 and recipe.model.dtype not in ("auto", "bfloat16"):
        raise KerasftError(
            f"model.quantization = {recipe.model.quantization} rounds a base in bfloat16, and "
            f"model.dtype is {recipe.model.dtype}: set one of them to none or auto"
        )
    if backend == "torch":
        from kerasft.engine.quantization import check_device

        check_device(backend, recipe.model.quantization)


def load_learner(
    engine: str, prepared: "Prepared", backend: str, reporter: "Reporter", *, fresh: bool
) -> "Learner":
    """Load the base and put an adapter on it.

    Args:
        engine: of `ENGINES`, checked.
        prepared: recipe and windows.
        backend: torch or jax, as selected.
        reporter: told what happens.
        fresh: whether training starts with the first step, and with `lora.init_from`.

    Raises:
        KerasftError: the base or the adapter cannot be had.
    """
    if engine == "hf":
        from kerasft.hf.learner import HfLearner

        return HfLearner(prepared, reporter, fresh=fresh)
    if engine == "trl":
        from kerasft.hf.trl_learner import TrlLearner

        return TrlLearner(prepared, reporter, fresh=fresh)
    from kerasft.engine.keras_learner import KerasLearner

    return KerasLearner(prepared, backend, reporter, fresh=fresh)
