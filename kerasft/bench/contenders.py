"""Who takes part, and what each needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True)
class Contender:
    """One way to do the work.

    Attributes:
        name: on the command line and in the table.
        title: what it is, in words.
        module: under `kerasft.bench`; its `run(work, rows, variant)` measures.
        variant: which of the module's contenders it is.
        needs: packages beside the dependencies.
        folder: whether it reads weights from a Hugging Face folder: `always`, or for
            `real` weights only, or `never`.
    """

    name: str
    title: str
    module: str
    variant: str
    needs: tuple[str, ...] = ()
    folder: str = "never"

    @property
    def missing(self) -> list[str]:
        """Packages that are not installed; nothing is imported to find out."""
        return [name for name in self.needs if find_spec(name) is None]


_HF = ("transformers", "peft")

CONTENDERS: Mapping[str, Contender] = {
    contender.name: contender
    for contender in (
        Contender("kerasft-torch", "kerasft on torch", "kerasft_contender", "torch"),
        Contender("kerasft-jax", "kerasft on JAX", "kerasft_contender", "jax"),
        *(
            Contender(
                f"kerasft-{backend}-{quantization}",
                f"kerasft on {name}, {what} in float8",
                "kerasft_contender",
                f"{backend}-{quantization}",
            )
            for quantization, what in (("float8", "base"), ("float8-backward", "gradients"))
            for backend, name in (("torch", "torch"), ("jax", "JAX"))
        ),
        Contender(
            "kerasft-torch-int8-backward",
            "kerasft on torch, gradients in int8",
            "kerasft_contender",
            "torch-int8-backward",
        ),
        Contender("keras-torch", "KerasHub as it comes, torch", "kerashub_contender", "torch"),
        Contender("keras-jax", "KerasHub as it comes, JAX", "kerashub_contender", "jax"),
        Contender("hf", "transformers + PEFT", "hf_contender", "eager", _HF, "real"),
        Contender(
            "hf-compiled", "transformers + PEFT, compiled", "hf_contender", "compiled", _HF, "real"
        ),
        Contender("trl", "TRL", "trl_contender", "default", (*_HF, "trl"), "real"),
        Contender(
            "trl-flex", "TRL on FlexAttention", "trl_contender", "flex", (*_HF, "trl"), "real"
        ),
        Contender("unsloth", "Unsloth", "unsloth_contender", "", (*_HF, "unsloth"), "always"),
    )
}

_VARIANTS = ("-float8", "-int8", "-flex")

DEFAULT = tuple(name for name in CONTENDERS if not any(part in name for part in _VARIANTS))
"""Without the variants of those that are there already."""

DECODE = "decode-"
"""How the names of the tasks of `DECODERS` begin."""

DECODERS: Mapping[str, Contender] = {
    contender.name: contender
    for contender in (
        Contender("kerasft-torch", "kerasft on torch", "kerasft_decoder", "torch"),
        Contender("kerasft-jax", "kerasft on JAX", "kerasft_decoder", "jax"),
        Contender("hf", "transformers", "hf_decoder", "dynamic", ("transformers",), "real"),
        Contender(
            "hf-static",
            "transformers, static cache",
            "hf_decoder",
            "static",
            ("transformers",),
            "real",
        ),
    )
}
"""Who takes part in `bench decode`."""

DECODE_PEERS = ("hf", "hf-static")
"""Those of them that are not ours."""
