"""The errors that kerasft raises on purpose.

Every message says what was expected, what came, and the next step. The command
line prints the message alone and exits 1; a library user catches `KerasftError`.
"""


class KerasftError(Exception):
    """Base of all errors that kerasft raises on purpose."""


class RecipeError(KerasftError):
    """A recipe or an override is wrong: unknown key, wrong type, out of range."""


class DataError(KerasftError):
    """Rows cannot be read, mapped, or turned into training examples."""


class ModelError(KerasftError):
    """A base model cannot be found, downloaded, verified, or read."""


class AdapterError(KerasftError):
    """An adapter does not fit the base model or its own description."""


class RunError(KerasftError):
    """A run folder is missing, incomplete, locked, or cannot be written."""


class OutOfMemory(RunError):
    """The device has too little memory for what was to be done.

    Attributes:
        of_step: whether it was a training step, which a smaller batch may mend.
    """

    def __init__(self, message: str, *, of_step: bool = False) -> None:
        super().__init__(message)
        self.of_step = of_step


class ExportError(KerasftError):
    """A model could not be written, or is not the model that was trained."""


class KernelError(KerasftError):
    """A Kaggle kernel's folder cannot be written, is wrong, or Kaggle refuses it."""


class SqlError(KerasftError):
    """The SQL worker could not be started or a database could not be opened."""


def collected(summary: str, faults: list[str], limit: int = 20) -> str:
    """One message for many faults: the summary, then one fault a line.

    Args:
        summary: what was being checked.
        faults: the faults, in the order in which a person would mend them.
        limit: how many are printed; the rest are counted.
    """
    lines = [f"  - {fault}" for fault in faults[:limit]]
    if len(faults) > limit:
        lines.append(f"  - … and {len(faults) - limit} more")
    return "\n".join([f"{summary} ({len(faults)}):", *lines])
