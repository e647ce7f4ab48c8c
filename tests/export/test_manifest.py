"""A manifest names what was proved, and tells every change since."""

import hashlib

import pytest

from kerasft.export.manifest import changes, files_of, manifest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / ".cache").mkdir()
    for name in ("model.safetensors", "assets/tokenizer.model", "README.md", "NOTICE"):
        (tmp_path / name).write_bytes(name.encode())
    for name in ("verification.json", "LICENSE.txt", ".gitattributes", ".cache/x", ".DS_Store"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_it_holds_what_a_proof_is_about_and_nothing_that_people_edit(folder):
    listed = manifest(folder)
    assert list(listed) == ["assets/tokenizer.model", "model.safetensors"]
    assert listed["model.safetensors"] == {
        "bytes": 17,
        "sha256": hashlib.sha256(b"model.safetensors").hexdigest(),
    }


def test_hidden_files_are_no_part_of_an_export(folder):
    assert {name for name, _ in files_of(folder)} == {
        ".gitattributes",
        "LICENSE.txt",
        "NOTICE",
        "README.md",
        "assets/tokenizer.model",
        "model.safetensors",
        "verification.json",
    }


def test_every_change_is_told_at_once_and_an_edited_card_is_none(folder):
    listed = manifest(folder)
    (folder / "README.md").write_text("edited")
    assert changes(folder, listed) == []
    (folder / "model.safetensors").write_bytes(b"Model.safetensors")
    (folder / "assets" / "tokenizer.model").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"y")
    assert changes(folder, listed) == [
        "assets/tokenizer.model is missing",
        "pytorch_model.bin was added after the verification",
        "model.safetensors has changed since the verification",
    ]
