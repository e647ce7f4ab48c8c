"""Pushing and following a kernel, against a stand-in that speaks Kaggle's protocol here."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kerasft.cli.main import run
from kerasft.errors import KernelError
from kerasft.kaggle import push as pushing
from kerasft.kaggle.kernel import init_kernel
from kerasft.kaggle.push import fetch, follow, log_lines, push_kernel
from tests.export.push.server import StandIn, only_this_machine, serving

KEY = "c4n4ry" * 5 + "00"
ID = "someone/kerasft-sql"


class Kaggle(StandIn):
    """The kernels of one user: versions, the statuses that each question gets, an output."""

    def __init__(self) -> None:
        super().__init__()
        self.versions: list[dict[str, Any]] = []
        self.statuses: list[str | int] = []
        self.failure = ""
        self.log = ""
        self.output: dict[str, bytes] = {}
        self.refusal = ""

    def answer(self, method: str, path: str, body: bytes, login: str) -> tuple[int, Any]:
        if path.startswith("/file/"):
            return 200, self.output[path.removeprefix("/file/")]
        if not login:
            return 401, {"code": 401, "message": "Unauthenticated"}
        return getattr(self, f"_{path.split('/')[-1]}")(json.loads(body))

    def _GetKernel(self, asked: dict[str, Any]) -> tuple[int, Any]:
        return (200, {}) if self.versions else (404, {"code": 404, "message": "none"})

    def _SaveKernel(self, asked: dict[str, Any]) -> tuple[int, Any]:
        if self.refusal:
            return 200, {"ref": "", "url": "", "kernelId": 0, "error": self.refusal}
        self.versions.append(asked)
        return 200, {
            "ref": f"/code/{ID}",
            "url": f"https://www.kaggle.com/code/{ID}",
            "versionNumber": len(self.versions),
            "kernelId": 1,
            "invalidDatasetSources": [
                name for name in asked["datasetDataSources"] if name == "me/none"
            ],
        }

    def _GetKernelSessionStatus(self, asked: dict[str, Any]) -> tuple[int, Any]:
        assert (asked["userName"], asked["kernelSlug"]) == tuple(ID.split("/"))
        status = self.statuses.pop(0)
        if isinstance(status, int):
            return status, {"code": status, "message": "busy"}
        return 200, {"status": status, "failureMessage": self.failure}

    def _ListKernelSessionOutput(self, asked: dict[str, Any]) -> tuple[int, Any]:
        names = sorted(self.output)
        start = int(asked.get("pageToken") or 0)
        files = [
            {"url": f"{self.address}/file/{name}", "fileName": name}
            for name in names[start : start + 2]
        ]
        more = str(start + 2) if start + 2 < len(names) else ""
        return 200, {"files": files, "log": self.log, "nextPageToken": more}


@pytest.fixture
def kaggle(monkeypatch, tmp_path):
    from kagglesdk import kaggle_env

    monkeypatch.setenv("KAGGLE_USERNAME", "someone")
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    monkeypatch.delenv("KAGGLE_API_TOKEN", raising=False)
    monkeypatch.setattr(pushing, "POLL_SECONDS", 0.0)
    only_this_machine(monkeypatch)
    with serving(Kaggle()) as server:
        prod = kaggle_env.KaggleEnv.PROD
        monkeypatch.setitem(kaggle_env._env_to_endpoint, prod, server.address)
        yield server


@pytest.fixture
def folder(tmp_path, kaggle):
    return init_kernel("sql", tmp_path / "kernel", datasets=["me/none"]).folder


def test_the_second_version_takes_the_firsts_output_in(kaggle, folder):
    first = push_kernel(folder)
    assert (first.version, first.goes_on) == (1, False)
    assert first.page == f"https://www.kaggle.com/code/{ID}"
    assert any("me/none" in note for note in first.notes)
    second = push_kernel(folder)
    assert (second.version, second.goes_on) == (2, True)
    sent = [version.get("kernelDataSources", []) for version in kaggle.versions]
    assert sent == [[], [ID]]


def test_the_notebook_is_sent_without_outputs(kaggle, folder):
    path = folder / "kerasft-sql.ipynb"
    found = json.loads(path.read_text("utf-8"))
    for cell in found["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
        if cell["cell_type"] == "code":
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "private"}]
    path.write_text(json.dumps(found), "utf-8")
    push_kernel(folder)
    text = kaggle.versions[0]["text"]
    assert "private" not in text
    assert all(isinstance(cell["source"], str) for cell in json.loads(text)["cells"])


def test_a_secret_in_the_notebook_is_not_sent(kaggle, folder):
    path = folder / "kerasft-sql.ipynb"
    path.write_text(path.read_text("utf-8").replace("import time", f"import time  # {KEY}"))
    with pytest.raises(KernelError, match="holds a secret") as caught:
        push_kernel(folder)
    assert KEY not in str(caught.value) and not kaggle.versions


def test_what_kaggle_says_is_told(kaggle, folder):
    kaggle.refusal = "Maximum batch GPU session count of 2 reached."
    with pytest.raises(KernelError, match="Maximum batch GPU session count"):
        push_kernel(folder)


def test_without_a_login_it_says_how_to_log_in(kaggle, folder, monkeypatch):
    monkeypatch.delenv("KAGGLE_KEY")
    with pytest.raises(KernelError, match=r"kagglehub\.login"):
        push_kernel(folder)
    assert kaggle.requests == []


def test_a_session_is_followed_through_short_outages(kaggle):
    kaggle.statuses = ["QUEUED", "RUNNING", 503, 503, "RUNNING", "COMPLETE"]
    kaggle.log = json.dumps([{"stream_name": "stdout", "time": 1.0, "data": "one\ntwo"}])
    kaggle.output = {"run/run.json": b"{}", "run/adapter/a": b"1", "export-hf/b": b"2"}
    told: list[str] = []
    ended = follow(ID, told.append, poll_seconds=0)
    assert told == ["QUEUED", "RUNNING", "COMPLETE"]
    assert ended.complete and ended.log == ("one", "two")
    assert [name for name, _ in ended.files] == sorted(kaggle.output)


def test_a_login_that_may_not_look_is_told_at_once(kaggle):
    kaggle.statuses = [403]
    with pytest.raises(KernelError, match="must be your name"):
        follow(ID, print, poll_seconds=0)


def test_following_is_given_up_after_many_failures(kaggle):
    kaggle.statuses = [500] * pushing._PATIENCE
    with pytest.raises(KernelError, match="status 500"):
        follow(ID, print, poll_seconds=0)
    assert not kaggle.statuses


def test_the_output_is_fetched_and_never_outside(kaggle, tmp_path):
    kaggle.statuses = ["COMPLETE"]
    kaggle.output = {"run/run.json": b"{}", "top": b"12"}
    ended = follow(ID, lambda _: None, poll_seconds=0)
    fetch(ended, tmp_path / "out")
    assert (tmp_path / "out" / "run" / "run.json").read_bytes() == b"{}"
    assert (tmp_path / "out" / "top").read_bytes() == b"12"
    bad = pushing.Ended("COMPLETE", "", (), (("ok", "http://x"), ("../evil", "http://x")))
    with pytest.raises(KernelError, match="outside of"):
        fetch(bad, tmp_path / "other")
    assert not (tmp_path / "other").exists() and not (tmp_path / "evil").exists()


def test_a_log_is_pieces_or_text_and_holds_no_secret(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", KEY)
    assert log_lines("") == []
    assert log_lines(f"plain\n{KEY}") == ["plain", "[masked]"]
    pieces = [{"data": "a"}, {"data": "b\n"}, {"data": "c"}]
    assert log_lines(json.dumps(pieces)) == ["ab", "c"]


def test_the_command_follows_to_the_end(kaggle, folder, capfd, tmp_path):
    kaggle.statuses = ["RUNNING", "COMPLETE"]
    kaggle.log, kaggle.output = "last \x1b[31mline", {"run/run.json": b"{}"}
    out = tmp_path / "out"
    assert run(["kaggle", "push", str(folder), "--follow", "--out", str(out)]) == 0
    printed = capfd.readouterr()
    for part in (f"https://www.kaggle.com/code/{ID}, version 1", "last \\x1b[31mline", "run.json"):
        assert part in printed.out
    assert "running" in printed.err and "me/none" in printed.err
    assert kaggle.address not in printed.out + printed.err
    assert KEY not in printed.out + printed.err
    assert (out / "run" / "run.json").is_file()


def test_a_run_that_is_not_finished_is_told_with_what_goes_on_with_it(kaggle, folder, capfd):
    record = {"status": "stopped", "steps": 400, "planned_steps": 1200}
    kaggle.statuses, kaggle.output = ["COMPLETE"] * 3, {"run/run.json": json.dumps(record).encode()}
    arguments = ["kaggle", "push", str(folder), "--follow"]
    assert run(arguments) == 0
    printed = capfd.readouterr().out
    assert "The run has done 400 of 1,200 steps" in printed and " ".join(arguments) in printed
    assert run([*arguments, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["run"] == record
    kaggle.output = {"run/run.json": json.dumps({**record, "status": "finished"}).encode()}
    assert run(arguments) == 0
    assert "The run has done" not in capfd.readouterr().out


def test_a_kernel_that_fails_exits_1_with_its_reason(kaggle, folder, capfd):
    kaggle.statuses, kaggle.failure = ["ERROR"], "Your notebook tried to allocate more memory"
    kaggle.log = "Error: the last line"
    assert run(["kaggle", "push", str(folder), "--follow"]) == 1
    printed = capfd.readouterr()
    assert "ended as error: Your notebook tried to allocate more memory" in printed.err
    assert "Error: the last line" in printed.out


def test_json_of_both_ends(kaggle, folder, capfd):
    kaggle.statuses, kaggle.output = ["COMPLETE"], {"run/run.json": b"{}"}
    assert run(["kaggle", "push", str(folder), "--follow", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["id"], found["version"], found["status"]) == (ID, 1, "COMPLETE")
    assert found["files"] == ["run/run.json"] and found["goes_on"] is False
    kaggle.statuses = ["CANCEL_ACKNOWLEDGED"]
    assert run(["kaggle", "push", str(folder), "--follow", "--no-send", "--json"]) == 1
    assert json.loads(capfd.readouterr().out)["type"] == "KernelError"
    assert len(kaggle.versions) == 1
