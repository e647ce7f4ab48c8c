"""A verified folder, and the Hub on this machine to push it to."""

from __future__ import annotations

import pytest

from tests.export.push.folders import TOKEN, verified_folder
from tests.export.push.hub_server import Hub
from tests.export.push.server import only_this_machine, serving


@pytest.fixture
def hub(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    only_this_machine(monkeypatch)
    with serving(Hub()) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        yield server


@pytest.fixture
def folder(tmp_path):
    return verified_folder(tmp_path / "tiny-sql")
