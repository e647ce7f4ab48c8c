"""Pushing a verified export to the Hugging Face Hub or to Kaggle.

Private unless asked otherwise, never over what differs without consent, never a file that
was not verified, and never deleting anything. Tokens stay with huggingface_hub and kagglehub.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from kerasft.errors import ExportError
from kerasft.export.push.destination import Destination, parse
from kerasft.export.push.plan import CHANGED, NEW, Plan, plan
from kerasft.export.push.verified import licence_of_card, verified_files
from kerasft.models.downloads import HUGGING_FACE, HUGGING_FACE_LOGIN, KAGGLE, KAGGLE_LOGIN

_PLACES = {HUGGING_FACE: "kerasft.export.push.hub", KAGGLE: "kerasft.export.push.kaggle"}
_LOGINS = {HUGGING_FACE: HUGGING_FACE_LOGIN, KAGGLE: KAGGLE_LOGIN}


@dataclass(frozen=True)
class Pushed:
    """What a push did, or would do.

    Attributes:
        destination: where to.
        page: of the model; "" before it is there.
        private: whether others cannot see it.
        plan: files and their states before the push.
        sent: whether anything was uploaded.
        notes: sentences that a person should read.
    """

    destination: str
    page: str
    private: bool
    plan: Plan
    sent: bool
    notes: tuple[str, ...] = ()


def check_destination(destination: str, *, login: bool = True) -> Destination:
    """A destination that can be written to as far as this machine knows; asks no server.

    Raises:
        ExportError: it is none, or nobody is logged in there.
    """
    parsed = parse(destination)
    place = _place(parsed)
    if parsed.scheme == KAGGLE:
        place.check(parsed)
    if login and not place.logged_in():
        raise ExportError(
            f"Nobody is logged in to push to {parsed}. Log in with `{_LOGINS[parsed.scheme]}`."
        )
    return parsed


def push_folder(
    folder: str | Path,
    destination: str,
    *,
    private: bool = True,
    overwrite: bool = False,
    dry_run: bool = False,
    consent: Callable[[Plan], bool] | None = None,
) -> Pushed:
    """Upload a verified export, and of it what is not there yet.

    Args:
        folder: an export whose `verification.json` passed.
        destination: `hf://user/name` or `kaggle://user/model/framework/variation`.
        private: of a model that is not there yet; one that is there stays as it is, but
            nothing is sent to a public one unless this is False.
        overwrite: replace files that are there and differ, or add to what is not ours.
        dry_run: look, and upload nothing; needs no login.
        consent: asked instead of raising where `overwrite` would be needed.

    Raises:
        ExportError: the folder is not verified or has changed since, nobody is logged in,
            the destination refuses, or `overwrite` is needed and not given.
    """
    folder = Path(folder)
    parsed = check_destination(destination, login=not dry_run)
    place = _place(parsed)
    files = verified_files(folder)
    planned = plan(parsed, files, place.look(parsed))
    remote = planned.remote
    hidden = remote.private if remote else private
    notes = _notes(folder, planned, private=private, hidden=hidden, place=place)
    result = Pushed(str(parsed), "", hidden, planned, sent=False, notes=tuple(notes))
    if dry_run:
        return result
    _check_public(folder, planned, private=private, hidden=hidden)
    if planned.asks and not overwrite and not (consent is not None and consent(planned)):
        raise ExportError(
            f"Nothing was pushed: a push to {parsed} {' and '.join(planned.asks)}. Agree with "
            "--yes (overwrite=True), or give another destination."
        )
    page = place.send(planned, files, private=private)
    return replace(result, page=page, sent=bool(planned.named(NEW, CHANGED)))


def _place(destination: Destination) -> ModuleType:
    return importlib.import_module(_PLACES[destination.scheme])


def _check_public(folder: Path, planned: Plan, *, private: bool, hidden: bool) -> None:
    """Raises ExportError for what would be seen by all and was not asked for or named so."""
    destination = planned.destination
    if not hidden and private:
        raise ExportError(
            f"{destination} is there and public, so that all would see what is pushed. Give "
            "--public (private=False) if they may."
        )
    licence = licence_of_card(folder)
    if not hidden and licence is not None and not licence.allows_name(destination.name):
        raise ExportError(
            f"The {licence.name} asks that the name of a model that is passed on begins with "
            f"{licence.name_prefix!r}; {destination.name!r} does not. Give another destination."
        )


def _notes(
    folder: Path, planned: Plan, *, private: bool, hidden: bool, place: ModuleType
) -> list[str]:
    """What a person should know of this push."""
    notes, remote = [], planned.remote
    if remote is None and not place.logged_in():
        notes.append(
            "Nobody is logged in: a private model of this name would not be seen. Log in with "
            f"`{_LOGINS[planned.destination.scheme]}`."
        )
    if remote is not None and remote.private and not private:
        notes.append(f"{planned.destination} is there and private, and stays so.")
    if not (folder / "README.md").is_file():
        notes.append("The folder has no README.md; a model without a card is hard to use.")
    licence = licence_of_card(folder)
    if licence is not None:
        notes.append(
            f"{licence.asks} A copy of the {licence.name} ({licence.page}) can lie in the folder "
            "as LICENSE."
        )
        if hidden and not licence.allows_name(planned.destination.name):
            notes.append(
                f"Before you make it public: its name must begin with {licence.name_prefix!r}."
            )
    if planned.destination.scheme == KAGGLE:
        notes.append(
            "Kaggle's list of licences has neither Gemma's nor Llama's: choose one on the "
            "model's page; card and NOTICE carry the terms."
        )
    return notes
