"""Cache folders: where they lie, and what they weigh."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kerasft import caches

VARIABLES = (
    "KERASFT_CACHE",
    "XDG_CACHE_HOME",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_DATASETS_CACHE",
    "KAGGLEHUB_CACHE",
    "KERAS_HOME",
)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def test_own_cache_is_the_variable_then_xdg_then_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    if sys.platform != "win32":
        assert caches.cache_dir() == tmp_path / ".cache" / "kerasft"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert caches.cache_dir() == tmp_path / "xdg" / "kerasft"
    monkeypatch.setenv("KERASFT_CACHE", str(tmp_path / "mine"))
    assert caches.cache_dir() == tmp_path / "mine"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"HF_HOME": "/x/hf"},
        {"XDG_CACHE_HOME": "/x/cache"},
        {"HF_HUB_CACHE": "/x/hub", "HF_DATASETS_CACHE": "/x/ds", "KAGGLEHUB_CACHE": "/x/kaggle"},
        {"HUGGINGFACE_HUB_CACHE": "/x/old"},
    ],
    ids=lambda settings: "+".join(settings) or "nothing set",
)
def test_named_folders_are_the_ones_that_the_libraries_use(monkeypatch, settings):
    for variable, value in settings.items():
        monkeypatch.setenv(variable, value)
    code = (
        "import json, huggingface_hub.constants as h, kagglehub.config as k\n"
        "print(json.dumps([h.HF_HUB_CACHE, k.get_cache_folder()]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=dict(os.environ), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    ours = {cache.name: str(cache.path) for cache in caches.caches()}
    assert [ours["Hugging Face hub"], ours["kagglehub"]] == theirs


def test_sizes_count_files_once_and_follow_no_link(monkeypatch, tmp_path):
    monkeypatch.setenv("KERASFT_CACHE", str(tmp_path / "own"))
    blob = tmp_path / "own" / "a" / "blob"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"x" * 1000)
    (tmp_path / "own" / "b").write_bytes(b"y" * 24)
    (tmp_path / "own" / "link").symlink_to(blob)
    (tmp_path / "own" / "loop").symlink_to(tmp_path / "own", target_is_directory=True)
    sizes = {cache.name: cache.bytes for cache in caches.caches()}
    assert sizes["kerasft"] == 1024


def test_a_cache_that_is_not_there_weighs_nothing(tmp_path):
    assert caches.folder_bytes(tmp_path / "missing") == 0
    assert not Path(tmp_path / "missing").exists()
