"""How much memory a step takes, and whether blocks must be computed twice for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from kerasft.engine.attention import SHORT_ROWS
from kerasft.engine.loss import largest_chunk
from kerasft.memory_use import ram_bytes
from kerasft.models.families import Family
from kerasft.recipe import LoraSettings, Recipe

if TYPE_CHECKING:
    from kerasft.engine.device import Device

DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
LIBRARIES_BYTES = {"torch": 700 << 20, "jax": 900 << 20}
"""Resident memory of Python with the backend and Keras, before a model: Linux, CPU builds."""

ADAPTER_BYTES = 16
"""Of an adapter parameter in float32: its value, its gradient, AdamW's two moments."""

LOGIT_BYTES = 6
"""Of a logit of one chunk of the loss: in the type of the model and in float32."""

EAGER_LOGIT_BYTES = 14
"""The same on torch without a compiler: the probabilities are copied twice more."""

SPARE = 0.1
"""Share of an accelerator's memory that is left to its driver and to fragmentation."""


@dataclass(frozen=True)
class StepMemory:
    """Roughly what a step takes, weights included, in bytes.

    Attributes:
        without_remat: every block keeps what its backward pass reads.
        with_remat: every block keeps its input.
    """

    without_remat: int
    with_remat: int

    def of(self, remat: bool) -> int:
        return self.with_remat if remat else self.without_remat


@dataclass(frozen=True)
class StepPlan:
    """How steps are done on this device.

    Attributes:
        remat: whether blocks are computed again in the backward pass.
        memory_bytes: roughly what a step then takes.
        shortage: what to change where that is likely not to fit, else None.
    """

    remat: bool
    memory_bytes: int
    shortage: str | None


def plan_step(
    family: Family,
    config: Mapping[str, Any],
    recipe: Recipe,
    shape: tuple[int, int, int, int],
    *,
    dtype: str,
    backend: str,
) -> StepPlan:
    """What the recipe's `remat` comes to here, for windows of a shape (A, B, L, P)."""
    from kerasft.engine.device import chunk_bytes, current

    device = current()
    memory = step_memory(
        family,
        config,
        recipe.lora,
        shape,
        dtype=dtype,
        quantization=recipe.model.quantization,
        backend=backend,
        on_cpu=device.kind == "cpu",
        chunk_bytes=chunk_bytes,
        compiled=recipe.train.compile != "off",
        deterministic=recipe.train.deterministic,
    )
    available = available_bytes(device)
    remat = choose_remat(recipe.train.remat, memory.without_remat, memory.with_remat, available)
    needed = memory.of(remat)
    saves = memory.with_remat < memory.without_remat
    return StepPlan(remat, needed, shortage(needed, available, remat or not saves))


def step_memory(
    family: Family,
    config: Mapping[str, Any],
    lora: LoraSettings,
    shape: tuple[int, int, int, int],
    *,
    dtype: str,
    backend: str,
    on_cpu: bool,
    chunk_bytes: Callable[[bool], int],
    quantization: str = "none",
    compiled: bool = True,
    deterministic: bool = False,
) -> StepMemory:
    """The memory of a step on windows of a shape.

    The sum of the base, the adapter with its optimizer (`ADAPTER_BYTES` a parameter), what
    the blocks keep for their backward passes, what one backward pass or one chunk of
    logits takes at its widest, the masks where attention has any, and on a CPU the
    libraries. A block keeps, for each token, the residual stream at its start and in its
    middle, queries, keys, values and what attention makes of them, gate and up, and on
    torch what goes into norms that follow a projection and into an adapted down, which XLA
    computes again. docs/memory.md compares it with measurements.

    Two cases keep more. Torch without a compiler keeps what norms read in float32, and the
    gate after its activation. XLA on a CPU takes what rematerialisation would compute again
    for the same as what was computed first, and keeps all of it in float32, attention
    weights too (counted from its own memory analysis of compiled steps): there it saves
    nothing.

    Args:
        family, config: of the model.
        lora: its settings.
        shape: (A, B, L, P) of the windows.
        dtype: of the base.
        backend: torch or jax.
        on_cpu: whether the device is the CPU.
        chunk_bytes: memory for one chunk of float32 logits, without and with
            rematerialisation.
        quantization: as `model.quantization`. Float8 matrices are there twice, for the forward
            and for the backward pass, and their originals are not on the device: two bytes a
            weight as in bfloat16, and a float32 scale for each row and column. With
            `float8-backward` the copy for the backward pass is beside the originals, and gate
            and up are kept in one byte; with `int8-backward` there is the copy alone.
        compiled: whether the step is compiled on torch.
        deterministic: as `train.deterministic`: JAX writes attention out then.
    """
    arch = family.architecture(config)
    _, rows, length, gathered = shape
    size, tokens = DTYPE_BYTES[dtype], rows * length
    inner = next(s.hf_shape[0] for s in family.tensors(config) if s.target == "gate")
    queries, keys = arch.query_heads * arch.head_width, arch.key_value_heads * arch.head_width
    kept = 2 * arch.width + 2 * queries + 2 * keys
    kept += inner if quantization == "float8-backward" else 2 * inner
    post_norms = arch.post_attention_norm + arch.post_ffw_norm
    if backend == "torch":
        kept += post_norms * arch.width + arch.query_key_norm * (queries + keys)
        kept += inner * ("down" in lora.target_layers)
    kept *= tokens * size
    eager = backend == "torch" and not compiled
    logit = EAGER_LOGIT_BYTES if eager else LOGIT_BYTES
    if eager:
        normed = (2 + post_norms) * arch.width + arch.query_key_norm * (queries + keys)
        kept += tokens * (4 * normed + inner * size)
    # Gradients of gate, up and their product, that product itself, and the stream's.
    widest = tokens * size * (4 * inner + 4 * arch.width)

    def loss(remat: bool) -> int:
        vocabulary = config["vocabulary_size"]
        chunk = min(gathered, largest_chunk(vocabulary, chunk_bytes(remat)))
        return chunk * vocabulary * logit + 2 * gathered * arch.width * size

    masks = 0
    written_out = arch.attention_soft_cap or (backend == "jax" and deterministic)
    if on_cpu or written_out:
        windows = {min(arch.window_of(kind) or length, length) for kind in arch.kinds}
        masks = len(windows) * tokens * length
        # Attention weights: torch keeps a block's where attention is written out, in the
        # type of the model twice and in float32; one block's at a time everywhere else.
        weights = tokens * length * arch.query_heads
        if backend == "torch" and (arch.attention_soft_cap or length <= SHORT_ROWS):
            kept += weights * (2 * size + 4)
        elif backend == "jax" or arch.attention_soft_cap:
            widest += weights * 8
    fixed = family.parameters(config) * size + masks
    if quantization == "float8":
        fixed += 4 * sum(sum(s.hf_shape) for s in family.tensors(config) if s.target)
    elif quantization != "none":
        # hf_shape is (outputs, inputs), and a scale stands beside each input.
        shapes = [s.hf_shape for s in family.tensors(config) if s.target]
        fixed += sum(prod(shape) + 4 * shape[1] for shape in shapes)
    fixed += ADAPTER_BYTES * trainable_parameters(family, config, lora)
    fixed += LIBRARIES_BYTES[backend] if on_cpu else 0
    layers, inputs = len(arch.kinds), tokens * arch.width * size
    if not remat_saves(backend, on_cpu):
        values = 4 * inner + (4 + 2 * post_norms) * arch.width
        values += (3 + arch.query_key_norm) * queries
        values += (3 + bool(arch.attention_soft_cap)) * arch.query_heads * length
        whole = fixed + layers * 4 * tokens * values + loss(False)
        return StepMemory(without_remat=whole, with_remat=whole)
    return StepMemory(
        without_remat=fixed + layers * kept + max(loss(False), widest),
        with_remat=fixed + layers * inputs + max(loss(True), kept + widest),
    )


def trainable_parameters(family: Family, config: Mapping[str, Any], settings: LoraSettings) -> int:
    """Size of the adapter.

    `keras`: A has the kernel's shape with its last axis replaced by the rank r, B is
    (r, last axis). `peft`: r · (in + out) a matrix.
    """
    total = 0
    for spec in family.tensors(config):
        if spec.target not in settings.target_layers:
            continue
        if settings.layout == "keras":
            total += settings.rank * (prod(spec.shape[:-1]) + spec.shape[-1])
        else:
            total += settings.rank * sum(spec.hf_shape)
    return total


def available_bytes(device: "Device") -> int | None:
    """What a run may use: the accelerator's memory less `SPARE`, or a CPU's physical RAM.

    A container's limit counts as RAM. None where it cannot be known.
    """
    if device.memory_bytes is not None:
        return int(device.memory_bytes * (1 - SPARE))
    if device.kind != "cpu":
        return None
    return ram_bytes()


def remat_saves(backend: str, on_cpu: bool) -> bool:
    """Whether rematerialisation takes less: XLA on a CPU keeps what it would compute again."""
    return not (backend == "jax" and on_cpu)


def choose_remat(
    setting: str, needed_without: int, needed_with: int, available: int | None
) -> bool:
    """Whether blocks are computed again in the backward pass.

    Args:
        setting: `none`, `block` or `auto`: only where the step would not fit, and where
            it takes less so.
        needed_without, needed_with: bytes of a step without it and with it.
        available: bytes that there are; None where that is not known.
    """
    if setting != "auto":
        return setting == "block"
    return available is not None and needed_with < needed_without and needed_without > available


def shortage(needed: int, available: int | None, remat: bool) -> str | None:
    """What to do where a step is likely not to fit, in a sentence; None where it fits.

    Args:
        needed: bytes of the step as it will be done.
        available: as for `choose_remat`.
        remat: what was chosen; also True where it would save nothing.
    """
    if available is None or needed <= available:
        return None
    chosen = "as it is" if remat else "with remat = none"
    steps = "lower train.batch_size or train.sequence_length"
    if not remat:
        steps = f'set train.remat = "block", or {steps}'
    return (
        f"a step needs about {needed / 2**30:.1f} GiB {chosen}, and there are "
        f"{available / 2**30:.1f} GiB: {steps}"
    )
