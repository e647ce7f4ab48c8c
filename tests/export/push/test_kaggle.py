"""Pushing to Kaggle Models, against a stand-in that speaks its protocol on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from kerasft.errors import ExportError
from kerasft.export.push import check_destination, push_folder
from tests.export.push.folders import SENT, prove
from tests.export.push.server import StandIn, only_this_machine, serving

HERE = "kaggle://someone/tiny-sql/transformers/270m"
KEY = "c4n4ry" * 5 + "00"
NONE = (404, {"code": 404, "message": "not found"})


class Kaggle(StandIn):
    """One model in memory, with the versions of its variations."""

    def __init__(self) -> None:
        super().__init__()
        self.private: bool | None = None
        self.variations: dict[tuple[str, str], list[dict[str, bytes]]] = {}
        self.blobs: dict[str, tuple[str, bytes]] = {}
        self.failing = False

    def answer(self, method: str, path: str, body: bytes, login: str) -> tuple[int, Any]:
        if path.startswith("/blob/"):
            if self.failing:
                return 400, {"message": "the line broke"}
            token = path.removeprefix("/blob/")
            self.blobs[token] = (self.blobs[token][0], body)
            return 200, {}
        if not login:
            return 401, {"code": 401, "message": "Unauthenticated"}
        asked = json.loads(body)
        call = path.removeprefix("/v1/").split("/")[1]
        return getattr(self, f"_{call}")(asked)

    def _GetModel(self, asked: dict[str, Any]) -> tuple[int, Any]:
        if self.private is None:
            return NONE
        return 200, {"id": 1, "slug": asked["modelSlug"], "isPrivate": self.private}

    def _CreateModel(self, asked: dict[str, Any]) -> tuple[int, Any]:
        self.private = asked["isPrivate"]
        return 200, {"id": 1, "ref": "", "url": ""}

    def _GetModelInstance(self, asked: dict[str, Any]) -> tuple[int, Any]:
        versions = self.variations.get(_variation(asked))
        return (200, {"id": 2, "versionNumber": len(versions)}) if versions else NONE

    def _ListModelInstanceVersionFiles(self, asked: dict[str, Any]) -> tuple[int, Any]:
        files = sorted(self._version(asked).items())
        start = int(asked.get("pageToken") or 0)
        page = [{"name": name, "size": len(content)} for name, content in files[start : start + 4]]
        more = str(start + 4) if start + 4 < len(files) else ""
        return 200, {"files": page, "nextPageToken": more}

    def _DownloadModelInstanceVersion(self, asked: dict[str, Any]) -> tuple[int, Any]:
        return 200, self._version(asked)[asked["path"]]

    def _StartBlobUpload(self, asked: dict[str, Any]) -> tuple[int, Any]:
        token = f"t{len(self.blobs)}"
        self.blobs[token] = (asked["name"], b"")
        return 200, {"token": token, "createUrl": f"{self.address}/blob/{token}"}

    def _CreateModelInstance(self, asked: dict[str, Any]) -> tuple[int, Any]:
        body = asked["body"]
        key = (body["framework"], body["instanceSlug"])
        if key in self.variations:
            return 200, {"error": "exists", "errorCode": 409}
        self.variations[key] = [dict(self._files(body))]
        return 200, {"id": 2, "url": ""}

    def _CreateModelInstanceVersion(self, asked: dict[str, Any]) -> tuple[int, Any]:
        self.variations[_variation(asked)].append(dict(self._files(asked["body"])))
        return 200, {"id": 3, "url": ""}

    def _version(self, asked: dict[str, Any]) -> dict[str, bytes]:
        return self.variations[_variation(asked)][asked["versionNumber"] - 1]

    def _files(self, listed: dict[str, Any], folder: str = "") -> Iterator[tuple[str, bytes]]:
        for file in listed.get("files") or []:
            name, content = self.blobs[file["token"]]
            yield folder + name, content
        for inner in listed.get("directories") or []:
            yield from self._files(inner, f"{folder}{inner['name']}/")


def _variation(asked: dict[str, Any]) -> tuple[str, str]:
    return asked["framework"], asked["instanceSlug"]


@pytest.fixture
def kaggle(monkeypatch, tmp_path):
    from kagglesdk import kaggle_env

    monkeypatch.setenv("KAGGLE_USERNAME", "someone")
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KAGGLE_API_TOKEN", raising=False)
    # It searches the modules of every frame for each request, which takes seconds here.
    monkeypatch.setattr("kagglehub.clients.get_user_agent", lambda: "kagglehub")
    only_this_machine(monkeypatch)
    with serving(Kaggle()) as server:
        prod = kaggle_env.KaggleEnv.PROD
        monkeypatch.setitem(kaggle_env._env_to_endpoint, prod, server.address)
        yield server


def only_version(kaggle: Kaggle) -> dict[str, bytes]:
    ((version,),) = kaggle.variations.values()
    return version


def test_a_new_model_is_private_and_holds_what_was_verified(kaggle, folder, capfd, caplog):
    pushed = push_folder(folder, HERE)
    assert pushed.sent and pushed.private and kaggle.private is True
    assert pushed.page == "https://www.kaggle.com/models/someone/tiny-sql"
    assert only_version(kaggle) == {name: (folder / name).read_bytes() for name in SENT}
    assert any("list of licences" in note for note in pushed.notes)
    printed = capfd.readouterr()
    assert KEY not in printed.out + printed.err + caplog.text + repr(pushed)


def test_public_only_when_asked(kaggle, folder):
    assert not push_folder(folder, HERE, private=False).private
    assert kaggle.private is False
    with pytest.raises(ExportError, match="public"):
        push_folder(folder, HERE)


def test_a_broken_push_makes_no_version_and_the_next_makes_it(kaggle, folder):
    kaggle.failing = True
    with pytest.raises(ExportError, match="run this again") as failure:
        push_folder(folder, HERE)
    assert KEY not in str(failure.value) and kaggle.address not in str(failure.value)
    assert not kaggle.variations
    kaggle.failing = False
    assert push_folder(folder, HERE).sent
    assert set(only_version(kaggle)) == SENT


def test_the_same_files_make_no_other_version(kaggle, folder):
    push_folder(folder, HERE)
    kaggle.requests = []
    again = push_folder(folder, HERE)
    assert not again.sent and set(again.plan.named("same")) == SENT
    assert kaggle.count("PUT", "") == 0
    assert len(only_version(kaggle)) == len(SENT)


def test_another_version_needs_consent_and_the_old_one_stays(kaggle, folder):
    push_folder(folder, HERE)
    before = only_version(kaggle)
    (folder / "config.json").write_bytes(b'{"model_type": "gemma4_text"}')  # as long as before
    prove(folder)
    with pytest.raises(ExportError, match=r"a version after 1 with another config\.json"):
        push_folder(folder, HERE)
    assert push_folder(folder, HERE, overwrite=True).sent
    ((first, second),) = kaggle.variations.values()
    assert first == before and second["config.json"] == (folder / "config.json").read_bytes()


def test_another_variation_of_a_model_that_is_there_asks_nothing(kaggle, folder):
    push_folder(folder, HERE)
    assert push_folder(folder, "kaggle://someone/tiny-sql/gguf/q8").sent
    assert len(kaggle.variations) == 2


def test_a_dry_run_uploads_nothing(kaggle, folder):
    looked = push_folder(folder, HERE, dry_run=True)
    assert set(looked.plan.named("new")) == SENT and not looked.sent
    assert kaggle.private is None and not kaggle.blobs


def test_without_a_login_it_says_how_to_log_in(kaggle, folder, monkeypatch):
    monkeypatch.delenv("KAGGLE_KEY")
    with pytest.raises(ExportError, match=r"kagglehub\.login"):
        push_folder(folder, HERE)
    assert kaggle.requests == []
    looked = push_folder(folder, HERE, dry_run=True)
    assert any("Nobody is logged in" in note for note in looked.notes)


def test_a_framework_that_kaggle_does_not_have_is_told():
    with pytest.raises(ExportError, match="no framework 'safetensors'"):
        check_destination("kaggle://someone/tiny/safetensors/270m", login=False)
