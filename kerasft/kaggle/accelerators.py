"""What Kaggle's and Colab's machines are to kerasft."""

from __future__ import annotations

from dataclasses import dataclass

from kerasft.backend import Backend
from kerasft.budget import KAGGLE_OTHERWISE, KAGGLE_SECONDS

_NO_BFLOAT16 = (
    "it has no bfloat16 arithmetic, and Gemma 3 overflows in float16, so `model.dtype = auto` "
    "keeps the base in float32, which takes twice the memory of bfloat16."
)


@dataclass(frozen=True)
class Accelerator:
    """A machine that a notebook is written for.

    Attributes:
        name: what `--accelerator` takes.
        title: what people call it.
        kind: of its device: `gpu`, `tpu` or `cpu`.
        machine_shape: Kaggle's name of it, empty for none. Those of kaggle-cli 2.2.5.
        colab: Colab's name of one that comes near it, empty where it has none.
        default_backend: what a recipe runs on where no backend is asked for.
        package: what pip must bring for JAX to see it.
        on_kaggle: how Kaggle gives it, for the notebook's reader.
        note: what is different on it anywhere.
    """

    name: str
    title: str
    kind: str
    machine_shape: str
    colab: str
    default_backend: Backend
    package: str
    on_kaggle: str
    note: str

    @property
    def session_seconds(self) -> int:
        """The longest session that Kaggle gives it."""
        return KAGGLE_SECONDS.get(self.kind, KAGGLE_OTHERWISE)


ACCELERATORS: dict[str, Accelerator] = {
    each.name: each
    for each in (
        Accelerator(
            name="t4x2",
            title="GPU T4 ×2",
            kind="gpu",
            machine_shape="NvidiaTeslaT4",
            colab="T4",
            default_backend="torch",
            package="jax[cuda12]",
            on_kaggle="Of the two T4s (16 GB each) one is used: kerasft trains on one device.",
            note=f"A T4 has compute capability 7.5: {_NO_BFLOAT16}",
        ),
        Accelerator(
            name="p100",
            title="GPU P100",
            kind="gpu",
            machine_shape="NvidiaTeslaP100",
            colab="",
            default_backend="torch",
            package="jax[cuda12]",
            on_kaggle="Kaggle has retired the P100 and gives a session that asks for it a T4 "
            "instead; choose `t4x2`.",
            note="A P100 has compute capability 6.0, for which PyPI's torch has no kernels, so the "
            "check below stops the notebook there unless a build for CUDA 12.6 stands in "
            f"PACKAGES. Like a T4, {_NO_BFLOAT16}",
        ),
        Accelerator(
            name="tpu",
            title="TPU v5e-8",
            kind="tpu",
            machine_shape="TpuV5E8",
            colab="V5E1",
            default_backend="jax",
            package="jax[tpu]",
            on_kaggle="Of the eight chips one is used: kerasft trains on one device.",
            note="A TPU is reached through JAX, so the backend is `jax`; the base is in bfloat16, "
            "which it computes in. The first step takes longer, because XLA compiles it.",
        ),
        Accelerator(
            name="none",
            title="CPU",
            kind="cpu",
            machine_shape="",
            colab="",
            default_backend="torch",
            package="",
            on_kaggle="",
            note="Without an accelerator only small models are trained in reasonable time, "
            "such as `gemma3-270m` on a few hundred rows.",
        ),
    )
}
"""By name, in the order in which people are told of them."""
