"""The cells that are Colab's own, executed with stand-ins for its modules."""

import json
import os
import subprocess
import sys
from types import ModuleType, SimpleNamespace

from kerasft.kaggle.kernel import init_kernel

TOKEN = "hf_" + "c4n4ry" * 5


def test_the_drive_is_mounted_and_secrets_are_read(tmp_path, monkeypatch, capsys):
    kernel = init_kernel("sql", tmp_path / "k", colab=True, accelerator="tpu")
    found = json.loads(kernel.notebook.read_text("utf-8"))
    assert found["metadata"]["accelerator"] == "TPU"
    sources = {cell["id"]: cell["source"] for cell in found["cells"]}
    working = tmp_path / "drive" / "kerasft"
    mounted: list[str] = []
    colab = ModuleType("google.colab")
    colab.drive = SimpleNamespace(mount=mounted.append)
    colab.userdata = SimpleNamespace(get={"HF_TOKEN": TOKEN}.__getitem__)
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    installed: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: installed.append(command))
    names: dict = {}
    exec(sources["parameters"], names)
    assert names["WORKING"] == "/content/drive/MyDrive/kerasft/kerasft-sql"
    names["WORKING"] = str(working)
    exec(sources["install"], names)
    assert mounted == ["/content/drive"]
    assert installed[0][1:5] == ["-m", "pip", "install", "--quiet"]
    assert installed[0][-1] == "jax[tpu]"
    assert os.path.samefile(os.getcwd(), working)
    exec(sources["login"], names)
    assert os.environ.pop("HF_TOKEN") == TOKEN
    said = capsys.readouterr().out
    assert "HF_TOKEN is set" in said and TOKEN not in said
    # The run folder outlives the session: no inputs are looked through.
    assert "earlier" not in sources["train"] and "INPUT" not in "".join(sources.values())
