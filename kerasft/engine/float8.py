"""What both backends ask of a base whose matrices are rounded to float8."""

from collections.abc import Iterable

from kerasft.errors import ModelError

ALIGNMENT = 16
"""Sizes of a matrix must be multiples of it, as cuBLASLt takes them."""

LARGEST = 448.0
"""Of e4m3."""

HOPPER = 9.0
"""The compute capability from which on this is done. Ada (8.9) has float8 too; nothing of this
was measured there."""


def device_obstacle(backend: str, platform: str, name: str, capability: float) -> str | None:
    """Why a device has no such products, in words; None where it has.

    Args:
        backend: for people.
        platform: of the device; `cuda` for NVIDIA's.
        name: as its maker calls it.
        capability: NVIDIA's compute capability.
    """
    if platform != "cuda":
        return f"it needs an NVIDIA GPU, and {backend} runs on {platform} here"
    if capability < HOPPER:
        return (
            f"it needs a GPU of compute capability {HOPPER} or above (Hopper and later), and the "
            f"{name} has {capability}"
        )
    return None


def check_matrices(matrices: Iterable[tuple[str, tuple[int, int], str]]) -> None:
    """Refuse matrices that float8's products do not take.

    Args:
        matrices: name, sizes and type of each.

    Raises:
        ModelError: one is not in bfloat16, or a size is no multiple of `ALIGNMENT`.
    """
    wrong = {
        f"{name} is {' × '.join(map(str, sizes))} in {dtype}"
        for name, sizes, dtype in matrices
        if dtype != "bfloat16" or any(size % ALIGNMENT for size in sizes)
    }
    if wrong:
        raise ModelError(
            "products in float8 need matrices in bfloat16 with sizes that are multiples of "
            f"{ALIGNMENT}; here {', '.join(sorted(wrong))}. Set model.quantization to none"
        )
