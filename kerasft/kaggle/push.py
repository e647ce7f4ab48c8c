"""Sending a kernel to Kaggle and following it, through kagglehub's API client."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasft.errors import KernelError
from kerasft.kaggle.metadata import read, request
from kerasft.kaggle.notebook import cleared
from kerasft.masking import masked
from kerasft.models.downloads import KAGGLE_LOGIN

if TYPE_CHECKING:
    from kagglesdk.kaggle_client import KaggleClient
    from kagglesdk.kernels.services.kernels_api_service import KernelsApiClient

POLL_SECONDS = 30.0
_PATIENCE = 20
"""Questions in a row that may go unanswered before following is given up."""

RUN_RECORD = "run/run.json"
"""Where a notebook that `init_kernel` wrote leaves the record of its run."""

_ENDED = ("COMPLETE", "ERROR", "CANCEL_ACKNOWLEDGED")
_PAGE = 100
_SOURCES = {
    "invalid_dataset_sources": "data set",
    "invalid_competition_sources": "competition",
    "invalid_kernel_sources": "kernel",
    "invalid_model_sources": "model",
    "invalid_tags": "tag",
}


@dataclass(frozen=True)
class Pushed:
    """A version that was sent.

    Attributes:
        id: `username/kernel-slug`.
        page: where it is.
        version: its number; None where Kaggle does not tell it.
        goes_on: whether an earlier version's output is among its inputs.
        notes: what Kaggle left out.
    """

    id: str
    page: str
    version: int | None
    goes_on: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Ended:
    """How a version ended.

    Attributes:
        status: COMPLETE, ERROR or CANCEL_ACKNOWLEDGED.
        failure: Kaggle's sentence on it; "" for none.
        log: lines of what it printed.
        files: name and address of each file of its output; the addresses are signed, and
            nobody's business.
    """

    status: str
    failure: str
    log: tuple[str, ...]
    files: tuple[tuple[str, str], ...]

    @property
    def complete(self) -> bool:
        return self.status == "COMPLETE"


def push_kernel(folder: str | Path) -> Pushed:
    """Send a kernel's folder as a new version, which Kaggle then runs.

    Raises:
        KernelError: the folder has faults, nobody is logged in, or Kaggle refuses.
    """
    folder = Path(folder)
    found = read(folder)
    text = _notebook(folder / found["code_file"])
    identity = found["id"]
    with _client(identity, "pushed") as client:
        api = client.kernels.kernels_api_client
        # A kernel that is not there yet has no output; naming it would be a fault.
        takes_itself = identity.lower() in map(str.lower, found.get("kernel_sources", []))
        goes_on = takes_itself and _exists(api, identity)
        answer = api.save_kernel(request(found, text, own_output=goes_on))
    if answer.error:
        raise KernelError(f"{identity} was not pushed: Kaggle says {_sentence(answer.error)}")
    notes = [
        f"Kaggle knows no {what} {name}, or hides it from this login; it was left out."
        for field, what in _SOURCES.items()
        for name in getattr(answer, field) or []
    ]
    page = answer.url or f"https://www.kaggle.com/code/{identity}"
    return Pushed(identity, page, answer.version_number or None, goes_on, tuple(notes))


def follow(
    identity: str, tell: Callable[[str], None], *, poll_seconds: float | None = None
) -> Ended:
    """Wait until a kernel's last version has ended.

    Args:
        identity: `username/kernel-slug`.
        tell: called with each new status.
        poll_seconds: between two questions; `POLL_SECONDS` where not given.

    Raises:
        KernelError: Kaggle does not answer, or knows no such kernel.
    """
    from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelSessionStatusRequest

    asked = ApiGetKernelSessionStatusRequest()
    asked.user_name, asked.kernel_slug = identity.split("/")
    with _client(identity, "followed") as client:
        api = client.kernels.kernels_api_client
        told, unanswered = "", 0
        while told not in _ENDED:
            time.sleep(POLL_SECONDS if poll_seconds is None else poll_seconds)
            try:
                answer = api.get_kernel_session_status(asked)
            except Exception as error:
                unanswered += 1
                if unanswered >= _PATIENCE or not _passes(error):
                    raise
                continue
            unanswered = 0
            if answer.status.name != told:
                told = answer.status.name
                tell(told)
        log, files = _output(api, identity)
    return Ended(told, _sentence(answer.failure_message or ""), tuple(log), tuple(files))


def fetch(ended: Ended, out: str | Path) -> list[Path]:
    """Download the files of an output below a folder; one that is there is replaced.

    Raises:
        KernelError: a name leads out of the folder, or a file cannot be fetched or written.
    """
    import requests

    root = Path(out).resolve()
    places = {name: (root / name).resolve() for name, _ in ended.files}
    outside = [name for name, place in places.items() if not place.is_relative_to(root)]
    if outside:
        raise KernelError(f"The output names {outside[0]!r}, outside of {out}; nothing is fetched.")
    fetched = []
    for name, address in ended.files:
        place = places[name]
        aside = place.with_name(f".{place.name}.partial")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with requests.get(address, stream=True, timeout=60) as answer, aside.open("wb") as file:
                answer.raise_for_status()
                for block in answer.iter_content(1 << 20):
                    file.write(block)
            aside.replace(place)
        except OSError as error:  # of requests, too
            aside.unlink(missing_ok=True)
            raise KernelError(
                f"{name} could not be fetched into {out}: {type(error).__name__}. What was "
                "fetched before it is there."
            ) from None
        fetched.append(place)
    return fetched


def progress(ended: Ended) -> dict[str, Any] | None:
    """Status and steps of the run in an output; None where it has none that can be read."""
    import requests

    address = dict(ended.files).get(RUN_RECORD)
    if address is None:
        return None
    try:
        with requests.get(address, timeout=60) as answer:
            answer.raise_for_status()
            found = answer.json()
        return {name: found.get(name) for name in ("status", "steps", "planned_steps")}
    except (OSError, ValueError, AttributeError):  # of requests, too
        return None


def log_lines(text: str) -> list[str]:
    """Lines of a log as Kaggle keeps it: a JSON list of pieces, or plain text."""
    try:
        pieces = json.loads(text) if text else []
        text = "".join(str(piece["data"]) for piece in pieces)
    except (ValueError, TypeError, KeyError):
        pass
    return [masked(line) for line in text.splitlines()]


def _notebook(path: Path) -> str:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise KernelError(f"{path} is no notebook that can be read: {error}.") from error
    if not isinstance(found, dict) or not isinstance(found.get("cells"), list):
        raise KernelError(f"{path} is no notebook: it has no cells.")
    text = json.dumps(cleared(found), ensure_ascii=False)
    if masked(text) != text:
        raise KernelError(
            f"{path} holds a secret of this machine's environment, or a Hub token. Take it out; "
            "the notebook reads its secrets from Add-ons › Secrets."
        )
    return text


def _exists(api: KernelsApiClient, identity: str) -> bool:
    from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelRequest
    from requests import HTTPError

    asked = ApiGetKernelRequest()
    asked.user_name, asked.kernel_slug = identity.split("/")
    try:
        api.get_kernel(asked)
    except HTTPError as error:
        if error.response is not None and error.response.status_code in (403, 404):
            return False
        raise
    return True


def _output(api: KernelsApiClient, identity: str) -> tuple[list[str], list[tuple[str, str]]]:
    from kagglesdk.kernels.types.kernels_api_service import ApiListKernelSessionOutputRequest

    asked = ApiListKernelSessionOutputRequest()
    asked.user_name, asked.kernel_slug = identity.split("/")
    asked.page_size = _PAGE
    log, files = "", []
    while True:
        page = api.list_kernel_session_output(asked)
        log = log or page.log or ""
        files += [(file.file_name, file.url) for file in page.files or []]
        if not page.next_page_token:
            return log_lines(log), files
        asked.page_token = page.next_page_token


@contextmanager
def _client(identity: str, done: str) -> Iterator[KaggleClient]:
    """The API's client; the libraries' errors become a sentence without addresses."""
    from kagglehub.clients import build_kaggle_client
    from kagglehub.config import get_kaggle_credentials
    from requests import HTTPError, RequestException

    if get_kaggle_credentials() is None:
        raise KernelError(
            f"Nobody is logged in to Kaggle, so {identity} cannot be {done}. Log in with "
            f"`{KAGGLE_LOGIN}`, or set KAGGLE_API_TOKEN to a token of your account's settings."
        )
    try:
        with build_kaggle_client() as client:
            yield client
        return
    except KernelError:
        raise
    except HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        reason = {
            401: f"Kaggle does not know your token. Log in with `{KAGGLE_LOGIN}`",
            403: "this login may not do that, or there is no such kernel. The id's first part "
            "must be your name; accelerators and the internet need a confirmed phone number",
            404: "Kaggle has no such kernel, or hides it from this login",
            429: "Kaggle asks for fewer questions. Run this again in some minutes",
        }.get(status, f"Kaggle answered with status {status}")
    except RequestException:
        reason = "Kaggle cannot be reached from this machine"
    except Exception as error:  # of kagglesdk, whose errors share no base class
        reason = f"Kaggle's client failed with {type(error).__name__}"
    raise KernelError(f"{identity} was not {done}: {reason}.")


def _passes(error: Any) -> bool:
    """Whether an error may be gone at the next question."""
    from requests import HTTPError, RequestException

    if isinstance(error, HTTPError):
        status = error.response.status_code if error.response is not None else 500
        return status == 429 or status >= 500
    return isinstance(error, RequestException)


def _sentence(text: str) -> str:
    return masked(" ".join(text.split()))
