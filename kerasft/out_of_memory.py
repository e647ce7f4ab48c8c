"""Memory that does not suffice, in a sentence: what was asked, what there is, what to change.

torch and XLA say it in many words. Some name the shortage; others fail in a library that
found no workspace and speak of an internal error. The latter count only where the device
has indeed nothing left.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from kerasft.errors import KerasftError, OutOfMemory
from kerasft.memory_use import MemoryUse, memory_use
from kerasft.recipe import TrainSettings

PLAIN = (
    "RESOURCE_EXHAUSTED",
    "out of memory",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "can't allocate memory",
    "Cannot allocate memory",
    "unable to allocate",
    "failed to allocate",
    "std::bad_alloc",
    "STATUS_ALLOC_FAILED",
    "hipErrorOutOfMemory",
)
"""What torch, XLA, cuDNN, cuBLAS, NumPy and the C library say of a shortage."""

OPAQUE = (
    "No reference output found",
    "Autotuning failed",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_INTERNAL_ERROR",
    "CUDNN_STATUS_EXECUTION_FAILED",
    "Failed to create cuDNN handle",
    "Could not create cudnn handle",
    "Failed to create cublas handle",
    "Failed to load in-memory CUBIN",
)
"""What is also said where a library finds no workspace, but may have another reason."""

_ASKED = re.compile(
    r"allocat(?:e|ing)(?: request for)? ([\d.]+)\s?([KMGTP]iB|bytes|B)\b", re.IGNORECASE
)
_UNITS = {"b": 1, "bytes": 1} | {f"{c}ib": 1 << 10 * n for n, c in enumerate("kmgtp", 1)}
_ROW_STEP = 64


def is_out_of_memory(
    error: BaseException, use: Callable[[], MemoryUse | None] = memory_use
) -> bool:
    """Whether memory ran out, of an accelerator or of the machine.

    Args:
        error: what was raised; what caused it is looked at too.
        use: asked where the message alone does not tell.
    """
    opaque = False
    for each in _chain(error):
        text = str(each).lower()
        if isinstance(each, MemoryError) or type(each).__name__ == "OutOfMemoryError":
            return True
        if any(words.lower() in text for words in PLAIN):
            return True
        opaque = opaque or any(words.lower() in text for words in OPAQUE)
    if not opaque:
        return False
    found = use()
    return found is not None and found.full


@contextmanager
def explained(
    doing: str, remedies: Callable[[], Sequence[str]], *, of_step: bool = False
) -> Iterator[None]:
    """Turn a shortage of memory inside the block into one sentence.

    Args:
        doing: what was being done, with its shape: `training on 8 × 512 tokens a micro-batch`.
        remedies: what to change, the best first; asked for after the failure.
        of_step: whether the block does training steps.

    Raises:
        OutOfMemory: memory did not suffice.
    """
    try:
        yield
    except KerasftError:
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(told(error, doing, remedies()), of_step=of_step) from error


def told(error: BaseException, doing: str, remedies: Sequence[str]) -> str:
    """The `sentence` of an error, with the memory as it is now."""
    return sentence(doing, asked_bytes(error), memory_use(), remedies)


def sentence(doing: str, asked: int | None, use: MemoryUse | None, remedies: Sequence[str]) -> str:
    """What happened and what to change.

    Args:
        doing: as for `explained`.
        asked: bytes of the allocation that failed, where they are known.
        use: memory of the device, where it is known.
        remedies: the first two are named.
    """
    parts = [f"{size(asked)} more were asked for"] if asked else []
    if use is not None:
        parts.append(
            f"{use.name} has {size(use.total)}, of which this process holds {size(use.own)} and "
            f"others {size(use.others)}"
        )
    because = f" ({'; '.join(parts)})" if parts else ""
    return f"out of memory while {doing}{because}: {', or '.join(remedies[:2])}"


def asked_bytes(error: BaseException) -> int | None:
    """Bytes that an allocation asked for, as the message of a shortage tells them."""
    for each in _chain(error):
        if found := _ASKED.search(str(each)):
            return round(float(found[1].rstrip(".")) * _UNITS[found[2].lower()])
    return None


def smaller_batch(settings: TrainSettings) -> dict[str, int] | None:
    """Settings with fewer rows at once and the same rows an optimizer step.

    The batch is divided by its smallest prime factor, which is 2 for most, and the
    accumulation multiplied by it; None for a batch of one row.
    """
    rows = settings.batch_size
    if rows == 1:
        return None
    factor = next(n for n in range(2, rows + 1) if rows % n == 0)
    return {
        "train.batch_size": rows // factor,
        "train.gradient_accumulation": settings.gradient_accumulation * factor,
    }


def step_remedies(settings: TrainSettings, remat_helps: bool) -> list[str]:
    """What makes a training step take less, the least harmful first.

    Args:
        settings: of the run.
        remat_helps: whether computing blocks again in the backward pass would take less; not
            so where that is done already.
    """
    remedies = []
    smaller = smaller_batch(settings)
    if smaller is not None:
        flags = " ".join(f"--set {name}={value}" for name, value in smaller.items())
        remedies.append(f"try {flags}, the same rows a step (--auto-batch does it by itself)")
    if remat_helps:
        remedies.append("--set train.remat=block, which computes activations twice")
    shorter = max(_ROW_STEP, settings.sequence_length // 2 // _ROW_STEP * _ROW_STEP)
    if shorter < settings.sequence_length:
        remedies.append(f"--set train.sequence_length={shorter}, which leaves longer rows out")
    return remedies or ["choose a smaller model.preset"]


def answer_remedies(rows: int, max_new_tokens: int, setting: str | None) -> list[str]:
    """What makes answering take less.

    Args:
        rows: answered together.
        max_new_tokens: of an answer.
        setting: that holds `rows`, such as `eval.batch_size`; None where nothing does.
    """
    remedies = []
    if setting is not None and rows > 1:
        remedies.append(f"try --set {setting}={rows // 2}")
    remedies.append(f"--set eval.max_new_tokens={max(1, max_new_tokens // 2)}")
    return remedies


def size(count: int) -> str:
    """Bytes in words."""
    if count >= 1 << 30:
        return f"{count / 2**30:.1f} GiB"
    return f"{count / 2**20:.0f} MiB" if count >= 1 << 20 else f"{count:,} bytes"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__
