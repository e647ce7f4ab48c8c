"""`kerasft export … --push`: what a person and a program see, and what needs consent."""

import io
import json

import pytest

import kerasft.export
from kerasft.cli.main import run
from kerasft.export.proof import BOUNDS
from kerasft.export.verify import Verification
from tests.export.push.folders import SENT, TOKEN, prove

HERE = "hf://someone/tiny-sql"


@pytest.fixture
def proved(monkeypatch, folder):
    """A folder whose proof need not be made: `verify_run` says that it passed."""
    verification = Verification(
        status="passed",
        format="hf",
        method="tensors",
        faults=[],
        note="No logits were compared.",
        base_id="tiny",
        fingerprint="f" * 64,
        backend="torch",
        weight_dtype="bfloat16",
        compute_dtype="float32",
        bound_dtype="bfloat16",
        bound=BOUNDS["bfloat16"],
        tokenizer={"texts": 9, "equal": 9},
    )
    monkeypatch.setattr(kerasft.export, "verify_run", lambda *_, **__: verification)
    return folder


def push(folder, *more: str) -> int:
    return run(["export", "runs/any", "--verify", str(folder), "--push", HERE, *more])


def test_a_push_tells_the_page_and_prints_no_token(hub, proved, capfd):
    assert push(proved) == 0
    printed = capfd.readouterr()
    assert f"{hub.address}/someone/tiny-sql (private)" in printed.out
    assert "Verification passed" in printed.out and "texts with equal token ids" in printed.out
    assert "No logits were compared." in printed.err
    assert TOKEN not in printed.out + printed.err
    assert push(proved) == 0
    assert "all of it is there already" in capfd.readouterr().out


def test_programs_get_one_json_value(hub, proved, capfd):
    assert push(proved, "--json", "--public") == 0
    pushed = json.loads(capfd.readouterr().out)["push"]
    assert pushed["page"] == f"{hub.address}/someone/tiny-sql"
    assert (pushed["private"], pushed["sent"], pushed["dry_run"]) == (False, True, False)
    assert {file["name"] for file in pushed["files"]} == SENT
    assert pushed["bytes"] == sum(file["bytes"] for file in pushed["files"])


def test_a_dry_run_lists_files_sizes_and_states(hub, proved, capfd):
    hub.create("someone/tiny-sql", private=True, **{"config.json": b"theirs", "old.bin": b"old"})
    assert push(proved, "--dry-run") == 0
    printed = capfd.readouterr().out
    lines = [line.split() for line in printed.splitlines()]
    assert ["new", "10.0", "kB", "model-00001-of-00002.safetensors"] in lines
    assert ["changed", "29", "bytes", "config.json"] in lines
    assert ["stays", "old.bin"] in lines
    assert "needs --yes" in printed and "nothing was sent" in printed
    assert hub.count("POST", "") == 0


def test_overwriting_asks_on_a_terminal_and_wants_yes_elsewhere(hub, proved, capfd, monkeypatch):
    hub.create("someone/tiny-sql", private=True, **{"config.json": b"theirs"})
    assert push(proved) == 1
    assert "replaces config.json. Agree with --yes" in capfd.readouterr().err

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert push(proved) == 1
    printed = capfd.readouterr()
    assert "replaces config.json. Push?" in printed.err and "changed" in printed.out
    assert hub.files["someone/tiny-sql"]["config.json"] == b"theirs"

    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert push(proved, "--json") == 1  # a program is not asked
    assert "Push?" not in capfd.readouterr().err

    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert push(proved) == 0
    assert hub.files["someone/tiny-sql"]["config.json"] == (proved / "config.json").read_bytes()
    (proved / "config.json").write_text("{}")
    prove(proved)
    assert push(proved, "--yes") == 0
    assert hub.files["someone/tiny-sql"]["config.json"] == b"{}"


@pytest.mark.parametrize("destination", ["someone/tiny", "kaggle://a/b", "s3://a/b"])
def test_a_wrong_destination_is_told_before_anything_is_exported(destination, capfd):
    arguments = ["--to", "hf", "--out", "never", "--push", destination]
    assert run(["export", "runs/none", *arguments]) == 1
    assert "hf://user/name" in capfd.readouterr().err


def test_a_missing_login_is_told_before_anything_is_exported(hub, monkeypatch, capfd):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    arguments = ["export", "runs/none", "--to", "hf", "--out", "never", "--push", HERE]
    assert run(arguments) == 1
    assert "hf auth login" in capfd.readouterr().err


def test_an_export_whose_push_fails_stays_and_can_be_pushed_later(
    hub, proved, monkeypatch, capfd, tmp_path
):
    from kerasft.export import Exported
    from kerasft.export.written import Written

    written = Written(
        files={"config.json": 29}, dtype="bfloat16", tensors=1, merged=1, parameters=1
    )
    verification = kerasft.export.verify_run(None, None)
    monkeypatch.setattr(
        kerasft.export, "export_run", lambda *_, **__: Exported(proved, written, verification)
    )
    hub.create("someone/tiny-sql", private=False)
    arguments = ["export", "runs/any", "--to", "hf", "--out", str(proved), "--push", HERE]
    assert run(arguments) == 1
    printed = capfd.readouterr()
    assert "1 of 1 tensors with a delta" in printed.out
    assert "is there and public" in printed.err
    assert f"--verify {proved} --push {HERE}" in printed.err.replace("\n", "")
    assert run([*arguments, "--public"]) == 0
