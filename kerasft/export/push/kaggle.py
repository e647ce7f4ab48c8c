"""Pushing to Kaggle Models, through kagglehub.

Kaggle keeps versions: a push is a new version of a variation with all its files, and the
older ones stay. kagglehub goes on within a file when a connection breaks; what it has sent
of a version that was never finished is lost. Kaggle tells names and sizes, so what a version
holds is known by the `verification.json` in it, and by its small texts themselves.
"""

from __future__ import annotations

import glob
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kerasft.errors import ExportError
from kerasft.export.manifest import VERIFICATION, is_document
from kerasft.export.push.destination import Destination
from kerasft.export.push.plan import CHANGED, NEW, LocalFile, Plan, Remote, RemoteFile
from kerasft.models.downloads import KAGGLE_LOGIN, kaggle_page

if TYPE_CHECKING:
    from kagglesdk.kaggle_client import KaggleClient

MESSAGE = "Exported and verified by kerasft"
_SMALL_BYTES = 1 << 20
_PAGE = 200

Answer = TypeVar("Answer")


def logged_in() -> bool:
    """Whether kagglehub has credentials; they stay there."""
    from kagglehub.config import get_kaggle_credentials

    return get_kaggle_credentials() is not None


def check(destination: Destination) -> None:
    """Raises ExportError for a framework that Kaggle does not have."""
    from kagglehub.handle import parse_model_handle

    try:
        parse_model_handle(destination.handle).framework_enum()
    except Exception:  # kagglehub's own errors share no base class
        raise ExportError(
            f"{destination}: Kaggle has no framework {destination.parts[2]!r}. Expected "
            "transformers, gguf, keras, pyTorch or jax."
        ) from None


def look(destination: Destination) -> Remote | None:
    """What the variation's last version holds, or None if there is no such model.

    A model without the variation is a `Remote` without files.

    Raises:
        ExportError: Kaggle cannot be asked.
    """
    from kagglehub.clients import build_kaggle_client
    from kagglehub.handle import parse_model_handle
    from kagglesdk.models.types.model_api_service import (
        ApiGetModelInstanceRequest,
        ApiGetModelRequest,
        ApiListModelInstanceVersionFilesRequest,
    )

    handle = parse_model_handle(destination.handle)
    with _explained(destination), build_kaggle_client() as client:
        api = client.models.model_api_client
        request = ApiGetModelRequest()
        request.owner_slug, request.model_slug = handle.owner, handle.model
        model = _found(lambda: api.get_model(request))
        if model is None:
            return None
        wanted = ApiGetModelInstanceRequest()
        wanted.owner_slug, wanted.model_slug = handle.owner, handle.model
        wanted.framework, wanted.instance_slug = handle.framework_enum(), handle.variation
        instance = _found(lambda: api.get_model_instance(wanted))
        if instance is None:
            return Remote(bool(model.is_private), revision="", files=(), versioned=True)
        listing = ApiListModelInstanceVersionFilesRequest()
        listing.owner_slug, listing.model_slug = handle.owner, handle.model
        listing.framework, listing.instance_slug = handle.framework_enum(), handle.variation
        listing.version_number, listing.page_size = instance.version_number, _PAGE
        sizes: dict[str, int] = {}
        while True:
            page = api.list_model_instance_version_files(listing)
            sizes |= {file.name: file.size for file in page.files or []}
            if not page.next_page_token:
                break
            listing.page_token = page.next_page_token
        hashes = _hashes(f"{destination.handle}/{instance.version_number}", sizes)
    return Remote(
        private=bool(model.is_private),
        revision=str(instance.version_number),
        files=tuple(RemoteFile(name, size, hashes.get(name)) for name, size in sizes.items()),
        versioned=True,
    )


def send(plan: Plan, local: Sequence[LocalFile], *, private: bool) -> str:
    """Upload all files as a new version; returns the model's page.

    Raises:
        ExportError: the upload failed; nothing of it is at Kaggle then.
    """
    import kagglehub
    from kagglehub.clients import build_kaggle_client

    destination = plan.destination
    if not plan.named(NEW, CHANGED):
        return kaggle_page(destination.handle)
    folder = local[0].path.parents[local[0].name.count("/")]
    sent = {file.name for file in local}
    others = [
        glob.escape(path.relative_to(folder).as_posix())
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).as_posix() not in sent
    ]
    with _explained(destination):
        if plan.remote is None and not private:
            with build_kaggle_client() as client:
                _make_public(client, destination)
        kagglehub.model_upload(
            destination.handle, str(folder), version_notes=MESSAGE, ignore_patterns=others
        )
    return kaggle_page(destination.handle)


def _make_public(client: KaggleClient, destination: Destination) -> None:
    """Creates the model where everyone sees it; kagglehub alone creates private ones."""
    from kagglehub.exceptions import handle_mutate_call
    from kagglesdk.models.types.model_api_service import ApiCreateModelRequest

    request = ApiCreateModelRequest()
    request.owner_slug, request.slug = destination.parts[:2]
    request.title, request.is_private = destination.name, False
    handle_mutate_call(lambda: client.models.model_api_client.create_model(request))


def _hashes(version: str, sizes: dict[str, int]) -> dict[str, str]:
    """SHA-256 of the files of a version, as far as its own small texts tell them."""
    import kagglehub

    found: dict[str, str] = {}
    texts = [
        name
        for name, size in sizes.items()
        if (name == VERIFICATION or is_document(name)) and size <= _SMALL_BYTES
    ]
    with tempfile.TemporaryDirectory(prefix="kerasft-push-") as scratch:
        for name in texts:
            path = Path(kagglehub.model_download(version, path=name, output_dir=scratch))
            content = path.read_bytes()
            found[name] = hashlib.sha256(content).hexdigest()
            if name == VERIFICATION:
                found |= _listed(content)
    return found


def _listed(content: bytes) -> dict[str, str]:
    """The hashes that a `verification.json` lists; none of one that cannot be read."""
    try:
        listed: dict[str, dict[str, Any]] = json.loads(content)["files"]
        return {name: str(entry["sha256"]) for name, entry in listed.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _found(ask: Callable[[], Answer]) -> Answer | None:
    """The answer, or None where Kaggle has no such thing or hides it from this login."""
    from requests import HTTPError

    hidden = (403, 404) if logged_in() else (401, 403, 404)
    try:
        return ask()
    except HTTPError as error:
        if error.response is not None and error.response.status_code in hidden:
            return None
        raise


@contextmanager
def _explained(destination: Destination) -> Iterator[None]:
    """Turns the libraries' errors into a sentence; their texts may hold signed addresses."""
    from requests import ConnectionError, HTTPError, Timeout

    try:
        yield
    except (ConnectionError, Timeout):
        reason = "Kaggle cannot be reached from this machine"
    except HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        reason = {
            401: f"Kaggle does not know your token. Log in with `{KAGGLE_LOGIN}`",
            403: f"your login may not write there. Log in with `{KAGGLE_LOGIN}`",
        }.get(status, f"Kaggle answered with status {status}")
    except Exception as error:  # kagglehub's own errors share no base class
        reason = f"kagglehub failed with {type(error).__name__}"
    else:
        return
    raise ExportError(
        f"{destination} was not pushed: {reason}. No version was made; run this again to make it."
    )
