"""Pushing to the Hugging Face Hub, through huggingface_hub.

All files go up in one commit, so that nobody ever loads half of a model. Large files are
sent before it and are known to the Hub by their hash: when a push breaks, the next one finds
those that arrived and sends the others. (`upload_folder` would not tell files apart before
it sends them; `upload_large_folder`, where a release has it, makes many commits.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kerasft.errors import ExportError
from kerasft.export.push.destination import Destination
from kerasft.export.push.plan import SAME, LocalFile, Plan, Remote, RemoteFile
from kerasft.masking import masked
from kerasft.models.downloads import HUGGING_FACE_LOGIN

MESSAGE = "Upload a model that kerasft exported and verified"


def logged_in() -> bool:
    """Whether huggingface_hub has a token; the token itself stays there."""
    from huggingface_hub import get_token

    return get_token() is not None


def look(destination: Destination) -> Remote | None:
    """What the repository holds, or None if there is none that this login sees.

    Raises:
        ExportError: the Hub cannot be asked.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError
    from huggingface_hub.hf_api import RepoFile

    api = HfApi()
    with _explained(destination):
        try:
            info = api.repo_info(destination.handle)
        except RepositoryNotFoundError:
            return None
        tree = api.list_repo_tree(destination.handle, recursive=True, revision=info.sha)
        files = tuple(
            RemoteFile(
                entry.path,
                entry.size,
                sha256=entry.lfs.sha256 if entry.lfs else None,
                git_id=None if entry.lfs else entry.blob_id,
            )
            for entry in tree
            if isinstance(entry, RepoFile)
        )
    return Remote(private=bool(info.private), revision=info.sha or "", files=files)


def send(plan: Plan, local: Sequence[LocalFile], *, private: bool) -> str:
    """Upload what is not there yet, in one commit; returns the model's page.

    The repository is made if it is missing. The commit is refused if somebody else's
    came after the plan was made.

    Raises:
        ExportError: the upload failed; says how to go on.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api, destination = HfApi(), plan.destination
    with _explained(destination):
        page = f"{api.endpoint}/{destination.handle}"
        if plan.remote is None:
            page = str(api.create_repo(destination.handle, private=private))
        there = set(plan.named(SAME))
        operations = [
            CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=str(file.path))
            for file in local
            if file.name not in there
        ]
        if operations:
            api.create_commit(
                destination.handle,
                operations,
                commit_message=MESSAGE,
                parent_commit=plan.remote.revision if plan.remote else None,
            )
    return page


@contextmanager
def _explained(destination: Destination) -> Iterator[None]:
    """Turns the library's errors into a sentence; their texts may hold signed addresses."""
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError:
        raise ExportError(f"{destination}: the Hub does not allow this name.") from None
    except errors.OfflineModeIsEnabled:
        raise ExportError("HF_HUB_OFFLINE is set; unset it to push to the Hub.") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        reason = {
            401: f"the Hub does not know your token. Log in with `{HUGGING_FACE_LOGIN}`",
            403: "your token may not write there. Log in with one that may: "
            f"`{HUGGING_FACE_LOGIN}`",
            404: "the Hub has no such user or organisation, or hides it from this login",
            409: "a repository of this name is there and hidden from this login",
            412: "the repository has changed since it was looked at. Run this again",
        }.get(status, f"the Hub answered with status {status}. Run this again to go on")
        raise ExportError(f"{destination} was not pushed: {reason}.") from None
    except Exception as error:  # of the upload's threads, of xet and of httpx: no common base
        if isinstance(error, ValueError) and "metadata in README.md" in str(error):
            reason = masked(" ".join(str(error).split()))
        else:
            what = type(error).__name__
            if _is_unanswered(error):
                what = "the Hub cannot be reached from this machine"
            reason = f"{what}. What has arrived there is kept; run this again to send the rest."
        raise ExportError(f"{destination} was not pushed: {reason}") from None


def _is_unanswered(error: Exception) -> bool:
    """Whether the line broke: by name, as huggingface_hub has changed its HTTP library twice."""
    names = {base.__name__ for base in type(error).__mro__}
    return not names.isdisjoint(("TransportError", "ConnectionError", "Timeout"))
