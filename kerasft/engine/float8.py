"""What both backends ask of a base that is rounded to float8."""

from collections.abc import Iterable

from kerasft.errors import ModelError

ALIGNMENT = 16
"""Sizes of a matrix must be multiples of it, as cuBLASLt takes them."""

LARGEST = 448.0
"""Of e4m3."""


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
            "model.quantization = float8 needs matrices in bfloat16 with sizes that are "
            f"multiples of {ALIGNMENT}; here {', '.join(sorted(wrong))}. Set it to none"
        )
