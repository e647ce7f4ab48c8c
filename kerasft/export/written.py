"""What a writer says of what it wrote."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Written:
    """What a writer left behind.

    Attributes:
        files: file name, with / below the folder → bytes.
        dtype: of the weights.
        tensors: number of tensors.
        merged: number of them that a delta was added to.
        parameters: number of values.
        notes: sentences that a person should read, such as what was lost.
    """

    files: dict[str, int]
    dtype: str
    tensors: int
    merged: int
    parameters: int
    notes: tuple[str, ...] = ()


def files_of(folder: Path) -> dict[str, int]:
    """Every file of a folder by its name below it → bytes."""
    return {
        file.relative_to(folder).as_posix(): file.stat().st_size
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
