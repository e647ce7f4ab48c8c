"""Pushing to the Hub, against a stand-in that speaks its protocol on this machine."""

import hashlib

import pytest

from kerasft.errors import ExportError
from kerasft.export.peft import write_peft
from kerasft.export.push import push_folder
from kerasft.records import write_json
from tests.export.push.folders import SENT, TOKEN, prove, verified_folder

HERE = "hf://someone/tiny-sql"


def test_a_new_model_is_private_and_whole_in_one_commit(hub, folder, capfd):
    pushed = push_folder(folder, HERE)
    assert pushed.sent and pushed.private
    assert pushed.page == f"{hub.address}/someone/tiny-sql"
    assert hub.private == {"someone/tiny-sql": True}
    there = hub.files["someone/tiny-sql"]
    assert set(there) == SENT | {".gitattributes"}
    for name in SENT:
        assert there[name] == (folder / name).read_bytes(), name
    assert len(hub.stored) == 2 and hub.count("POST", "/commit/") == 1
    assert hub.logins - {""} == {f"Bearer {TOKEN}"}
    printed = capfd.readouterr()
    assert TOKEN not in printed.out + printed.err + repr(pushed)


def test_public_only_when_asked(hub, folder):
    assert not push_folder(folder, HERE, private=False).private
    assert hub.private == {"someone/tiny-sql": False}


def test_a_broken_push_shows_nothing_and_the_next_sends_the_rest(hub, folder):
    second = hashlib.sha256((folder / "model-00002-of-00002.safetensors").read_bytes()).hexdigest()
    hub.refuse = second
    with pytest.raises(ExportError, match="run this again to send the rest") as failure:
        push_folder(folder, HERE)
    assert TOKEN not in str(failure.value) and hub.address not in str(failure.value)
    assert set(hub.files["someone/tiny-sql"]) == {".gitattributes"}
    hub.refuse, hub.requests = None, []
    assert push_folder(folder, HERE).sent
    uploads = [path for method, path in hub.requests if method == "PUT"]
    assert uploads == [f"/large/{second}"]
    assert set(hub.files["someone/tiny-sql"]) >= SENT


def test_what_is_there_already_is_not_sent_again(hub, folder):
    push_folder(folder, HERE)
    hub.requests = []
    again = push_folder(folder, HERE)
    assert not again.sent and again.plan.to_send == 0
    assert all(method == "GET" for method, _ in hub.requests)
    (folder / "README.md").write_text('---\nlicense: "gemma"\n---\nmore')
    third = push_folder(folder, HERE, overwrite=True)
    assert third.plan.named("changed") == ["README.md"]
    assert hub.files["someone/tiny-sql"]["README.md"].endswith(b"more")
    assert hub.count("PUT", "/large/") == 0


def test_what_differs_is_not_overwritten_without_consent(hub, folder):
    theirs = {"config.json": b"theirs", "old.bin": b"old", "LICENSE": b"mit"}
    hub.create("someone/tiny-sql", private=True, **theirs)
    with pytest.raises(ExportError, match=r"replaces config\.json and leaves old\.bin beside"):
        push_folder(folder, HERE)
    with pytest.raises(ExportError, match="--yes"):
        push_folder(folder, HERE, consent=lambda plan: False)
    assert hub.count("POST", "") == 0
    left = (".gitattributes", "LICENSE", "old.bin")
    assert push_folder(folder, HERE, consent=lambda plan: plan.left == left).sent
    there = hub.files["someone/tiny-sql"]
    assert there["old.bin"] == b"old" and there["LICENSE"] == b"mit"
    assert there["config.json"] == (folder / "config.json").read_bytes()


def test_nothing_goes_to_a_public_model_unless_asked(hub, folder):
    hub.create("someone/tiny-sql", private=False)
    with pytest.raises(ExportError, match="public"):
        push_folder(folder, HERE)
    assert hub.count("POST", "") == 0
    assert push_folder(folder, HERE, private=False).sent


def test_a_commit_that_came_between_is_not_overwritten(hub, folder, monkeypatch):
    hub.create("someone/tiny-sql", private=True)

    def meanwhile(plan):
        hub.commits["someone/tiny-sql"] += 1
        return True

    hub.files["someone/tiny-sql"]["config.json"] = b"theirs"
    with pytest.raises(ExportError, match="has changed since it was looked at"):
        push_folder(folder, HERE, consent=meanwhile)
    assert hub.files["someone/tiny-sql"]["config.json"] == b"theirs"


def test_a_dry_run_tells_states_and_sends_nothing(hub, folder, monkeypatch):
    same = (folder / "NOTICE").read_bytes()
    hub.create("someone/tiny-sql", private=True, NOTICE=same, **{"config.json": b"theirs"})
    looked = push_folder(folder, HERE, dry_run=True)
    assert {file.name: file.state for file in looked.plan.files} == {
        name: {"NOTICE": "same", "config.json": "changed"}.get(name, "new") for name in SENT
    }
    assert not looked.sent and looked.page == ""
    assert all(method == "GET" for method, _ in hub.requests)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    stranger = push_folder(folder, "hf://someone/other", dry_run=True)
    assert any("Nobody is logged in" in note for note in stranger.notes)


def test_without_a_login_it_says_how_to_log_in(hub, folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(ExportError, match="hf auth login"):
        push_folder(folder, HERE)
    assert hub.requests == []


def test_a_token_that_the_hub_does_not_know_is_told(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(ExportError, match=r"does not know your token.*hf auth login"):
        push_folder(folder, HERE)


def test_a_hub_that_cannot_be_reached_is_told(hub, folder, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ExportError, match=r"the Hub cannot be reached from this machine"):
        push_folder(folder, HERE)


def test_what_the_hub_says_of_a_card_is_told_before_the_upload(hub, folder):
    (folder / "README.md").write_text("---\ntags: []\n---\n")
    with pytest.raises(ExportError, match='"license" is missing'):
        push_folder(folder, HERE)
    assert hub.count("PUT", "") == 0


def test_only_what_was_verified_is_pushed(hub, folder):
    (folder / "config.json").write_text("{}")
    with pytest.raises(ExportError, match="is not what was verified") as failure:
        push_folder(folder, HERE)
    assert "config.json has changed since the verification" in str(failure.value)
    assert "--verify" in str(failure.value)
    prove(folder, "failed")
    with pytest.raises(ExportError, match="'failed', not 'passed'"):
        push_folder(folder, HERE)
    for files in ({}, ["config.json"], {"config.json": "a hash"}, {"config.json": {"bytes": 2}}):
        write_json(folder / "verification.json", {"status": "passed", "files": files})
        with pytest.raises(ExportError, match="does not say which files were verified"):
            push_folder(folder, HERE)
    (folder / "verification.json").unlink()
    with pytest.raises(ExportError, match=r"has no verification\.json"):
        push_folder(folder, HERE)
    assert hub.requests == []


def test_a_public_llama_is_called_llama(hub, tmp_path):
    folder = verified_folder(tmp_path / "llama", licence="llama3.1")
    with pytest.raises(ExportError, match="begins with 'Llama'"):
        push_folder(folder, HERE, private=False)
    hidden = push_folder(folder, HERE)
    assert any("its name must begin with 'Llama'" in note for note in hidden.notes)
    assert push_folder(folder, "hf://someone/Llama-sql", private=False).sent


def test_what_an_export_leaves_is_what_a_push_takes(hub, tmp_path, tiny_gemma3):
    from kerasft.export.card import write_card
    from kerasft.export.trained import open_trained
    from kerasft.export.verify import verify_folder
    from tests.export.live import ask_here, make_run

    run = make_run(tmp_path / "run", str(tiny_gemma3), dtype="bfloat16", layout="peft")
    weights, folder = open_trained(run), tmp_path / "adapter"
    folder.mkdir()
    written = write_peft(weights, folder, dtype="float32")
    verification = verify_folder(weights, folder, live=None, ask=ask_here)
    verification.require()
    write_card(folder, folder.name, run, weights, written, verification)
    assert push_folder(folder, HERE).sent
    there = hub.files["someone/tiny-sql"]
    assert there.keys() >= {"README.md", "NOTICE", "verification.json", "adapter_config.json"}
    assert written.files.keys() <= there.keys()
