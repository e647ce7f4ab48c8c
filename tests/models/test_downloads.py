"""What a download leaves, whole or not, and what is said where there is none."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import tarfile
import zipfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from kerasft.errors import ModelError
from kerasft.models import downloads, embedded
from kerasft.models.downloads import check_blob, hugging_face_folder, kaggle_cached, kaggle_folder


@pytest.fixture(autouse=True)
def own_caches(tmp_path, monkeypatch):
    """kagglehub reads its folder when it is asked; what was verified is noted here."""
    monkeypatch.setenv("KERASFT_CACHE", str(tmp_path / "kerasft"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))


@pytest.fixture
def snapshot(tmp_path):
    """A file of the Hub's cache: a link to what is named by its hash."""
    content = os.urandom(4096)
    blob = tmp_path / "blobs" / hashlib.sha256(content).hexdigest()
    blob.parent.mkdir()
    blob.write_bytes(content)
    folder = tmp_path / "snapshots" / "0123abcd"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").symlink_to(blob)
    (folder / "config.json").write_text("{}")
    return folder


def flip(path: Path) -> None:
    """One bit of the middle; the size stays."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_flipped_byte_in_the_hub_s_cache_is_refused_with_what_to_delete(snapshot, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(snapshot))
    assert hugging_face_folder("hf://org/name") == (snapshot, "0123abcd")
    blob = (snapshot / "model.safetensors").resolve()
    flip(blob)
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged.*Delete") as caught:
        hugging_face_folder("hf://org/name")
    assert str(blob) in str(caught.value)


def test_a_whole_file_is_hashed_once_and_a_changed_one_again(snapshot, monkeypatch):
    path, hashed = snapshot / "model.safetensors", []
    digest = hashlib.file_digest

    def counted(*arguments: Any) -> Any:
        hashed.append(1)
        return digest(*arguments)

    monkeypatch.setattr(downloads.hashlib, "file_digest", counted)
    for _ in range(3):
        check_blob(path)
    assert len(hashed) == 1
    os.utime(path, ns=(1, 1))
    check_blob(path)
    assert len(hashed) == 2
    check_blob(snapshot / "config.json")  # lies under no hash
    assert len(hashed) == 2


def fail(module: Any, name: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_it(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(module, name, raise_it)


@pytest.mark.parametrize(
    ("code", "said"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "cannot be written to")],
)
def test_a_full_disk_is_not_called_a_missing_network(code, said, monkeypatch):
    import huggingface_hub
    import kagglehub

    fail(kagglehub, "model_download", OSError(code, "x"), monkeypatch)
    fail(huggingface_hub, "snapshot_download", OSError(code, "x"), monkeypatch)
    with pytest.raises(ModelError, match=rf"{said}.*KAGGLEHUB_CACHE"):
        kaggle_folder("gemma_2b_en")
    with pytest.raises(ModelError, match=rf"{said}.*HF_HUB_CACHE"):
        hugging_face_folder("hf://org/name")


def test_without_a_network_it_says_what_to_fetch_and_where_it_goes(monkeypatch, tmp_path):
    import huggingface_hub
    import kagglehub
    import requests
    from huggingface_hub import errors

    fail(kagglehub, "model_download", requests.ConnectionError("x"), monkeypatch)
    offline = errors.LocalEntryNotFoundError.__new__(errors.LocalEntryNotFoundError)
    fail(huggingface_hub, "snapshot_download", offline, monkeypatch)
    with pytest.raises(ModelError, match="cannot be reached") as caught:
        kaggle_folder("gemma_2b_en")
    assert str(tmp_path / "kagglehub") in str(caught.value)
    assert "https://www.kaggle.com/models/keras/gemma" in str(caught.value)
    with pytest.raises(ModelError, match=r"cannot be reached.*copy it into"):
        hugging_face_folder("hf://google/gemma-3-270m")


def test_what_arrives_damaged_is_fetched_anew(monkeypatch):
    import kagglehub
    from kagglehub.exceptions import DataCorruptionError

    fail(kagglehub, "model_download", DataCorruptionError("signed=address"), monkeypatch)
    with pytest.raises(ModelError, match=r"arrived damaged.*run this again") as caught:
        kaggle_folder("gemma_2b_en")
    assert "signed" not in str(caught.value)


def test_a_python_without_tar_filters_is_named(monkeypatch):
    import kagglehub

    unknown = TypeError("extractall() got an unexpected keyword argument 'filter'")
    fail(kagglehub, "model_download", unknown, monkeypatch)
    monkeypatch.setattr(downloads, "_TAR_FILTERS_SINCE", (99,))
    with pytest.raises(ModelError, match=r"cannot unpack.*use Python 3\.11\.4 or a later one"):
        kaggle_folder("gemma_2b_en")


def test_an_interrupted_download_of_kaggle_is_no_copy(tmp_path):
    """kagglehub marks what is whole; a folder without its mark is half of one."""
    handle = "keras/gemma/keras/gemma_2b_en/2"
    version = tmp_path / "kagglehub" / "models" / handle
    version.mkdir(parents=True)
    assert not kaggle_cached(handle)
    version.with_name("2.complete").touch()
    assert kaggle_cached(handle) and kaggle_cached("keras/gemma/keras/gemma_2b_en")
    assert not kaggle_cached("keras/gemma/keras/gemma_7b_en")


def hostile_tar(path: Path, kind: str) -> None:
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo("../../outside" if kind == "dots" else "inside")
        if kind == "absolute":
            entry.name = str(path.parent / "outside")
        if kind == "link":
            entry.type, entry.linkname = tarfile.SYMTYPE, "../../outside"
        elif kind == "hard link":
            entry.type, entry.linkname = tarfile.LNKTYPE, "../../outside"
        data = b"owned"
        entry.size = 0 if entry.type != tarfile.REGTYPE else len(data)
        archive.addfile(entry, io.BytesIO(data))


@pytest.mark.parametrize("kind", ["dots", "absolute", "link", "hard link"])
def test_what_unpacks_for_us_writes_nothing_outside(tmp_path, kind):
    """kerasft unpacks no archive; kagglehub does, and this is its own function."""
    from kagglehub.http_resolver import _extract_archive

    there = tmp_path / "a" / "b"
    archive = tmp_path / "a" / "model.tar.gz"
    there.mkdir(parents=True)
    hostile_tar(archive, kind)
    before = set(tmp_path.rglob("*"))
    # An absolute name loses its root and lands inside; the others are refused. Before 3.11.4
    # Python has no filters, and kagglehub, which asks for one, unpacks nothing.
    filters = hasattr(tarfile, "FilterError")
    lands = filters and kind == "absolute"
    refusal = tarfile.FilterError if filters else TypeError
    with nullcontext() if lands else pytest.raises(refusal):
        _extract_archive(str(archive), str(there))
    made = set(tmp_path.rglob("*")) - before
    assert all(path.is_relative_to(there) for path in made)
    assert bool(made) == lands


def test_a_zip_s_dots_lead_nowhere(tmp_path):
    from kagglehub.http_resolver import _extract_archive

    archive, there = tmp_path / "model.zip", tmp_path / "a" / "b"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../../outside", "owned")
        file.writestr("/absolute", "owned")
    _extract_archive(str(archive), str(there))
    assert not (tmp_path / "outside").exists() and not Path("/absolute").exists()
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} == {tmp_path, there}


def test_a_part_of_the_embedded_weights_that_is_missing_is_named(tmp_path, monkeypatch):
    import sys
    from types import SimpleNamespace

    package = SimpleNamespace(chunk_paths=lambda: [tmp_path / "part-0", tmp_path / "part-1"])
    (tmp_path / "part-0").write_bytes(b"GG")
    monkeypatch.setitem(sys.modules, embedded.PACKAGE, package)
    with pytest.raises(ModelError, match=r"missing: part-1.*--force-reinstall"):
        embedded.embedded_file()


def test_a_cache_that_cannot_be_written_or_has_no_room_names_its_variable(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "_parts", list)
    monkeypatch.setenv("KERASFT_CACHE", str(tmp_path / "file"))
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match=r"253 MB.*cannot be written.*KERASFT_CACHE"):
        embedded.embedded_file()
    monkeypatch.setenv("KERASFT_CACHE", str(tmp_path / "cache"))
    fail(embedded, "_join", OSError(errno.ENOSPC, "No space left on device"), monkeypatch)
    with pytest.raises(ModelError, match=r"No space left.*253 MB.*KERASFT_CACHE"):
        embedded.embedded_file()
    assert list((tmp_path / "cache" / "gemma3-270m").iterdir()) == []
