"""Rows of a Hugging Face dataset, and its failures in one sentence."""

import logging
import re
from collections.abc import Iterator

from kerasft.data.files import Record
from kerasft.errors import DataError
from kerasft.masking import masked
from kerasft.recipe import DataSettings

ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[\w.-]+)?\Z")
"""How a dataset id looks: `name` or `owner/name`."""


def read_hub(settings: DataSettings) -> Iterator[Record]:
    """The rows of `settings.source`, by its split, configuration and revision.

    No code of the dataset is run: `datasets` has not done so since 4.0.

    Raises:
        DataError: no such dataset or split, no access, no network.
    """
    import datasets

    # Its retries without a network are warnings; the sentence below says it once.
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        rows = datasets.load_dataset(
            settings.source, settings.config, split=settings.split, revision=settings.revision
        )
    except Exception as error:  # datasets lets errors of five libraries through
        raise DataError(explained(settings, error)) from error
    finally:
        logger.setLevel(level)
    for number, row in enumerate(rows, 1):
        yield Record(f"{settings.source} {settings.split} row {number}", row)


def explained(settings: DataSettings, error: Exception) -> str:
    """What went wrong with a dataset of the Hub and what to do, in one or two sentences."""
    page = f"https://huggingface.co/datasets/{settings.source}"
    kinds = {kind.__name__ for each in _chain(error) for kind in type(each).__mro__}
    text = " ".join(str(each) for each in _chain(error)).lower()
    if "GatedRepoError" in kinds or "gated" in text:
        return (
            f"the dataset {settings.source!r} asks you to accept its terms: do so on {page}, "
            "then log in with `hf auth login`"
        )
    if kinds & _NO_NETWORK or "offline" in text or "couldn't reach" in text:
        return (
            f"the dataset {settings.source!r} is not on this machine and the Hugging Face Hub "
            "cannot be reached; connect once, or download it elsewhere and set data.source "
            "to the file or folder"
        )
    if kinds & {"DatasetNotFoundError", "RepositoryNotFoundError", "RevisionNotFoundError"}:
        return (
            f"there is no dataset {settings.source!r} on the Hugging Face Hub, or it is private, "
            f"or it has no revision {settings.revision!r}; see {page}"
            if settings.revision
            else f"there is no dataset {settings.source!r} on the Hugging Face Hub, nor a file or "
            "folder of that name here; if it is private, log in with `hf auth login`"
        )
    reason = masked(str(error).strip().split("\n")[0])
    return f"the dataset {settings.source!r} cannot be read: {reason}; see {page}"


_NO_NETWORK = {
    "ConnectionError",
    "ConnectError",
    "ConnectTimeout",
    "OfflineModeIsEnabled",
    "LocalEntryNotFoundError",
    "TimeoutError",
    "TimeoutException",
}


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
