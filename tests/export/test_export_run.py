"""`kerasft export`, from a run folder to a proven folder or to nothing."""

import json
import re

import pytest

from kerasft.cli.main import run
from kerasft.errors import ExportError
from kerasft.export import export_run
from tests.export.live import make_run

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_gemma3):
    return make_run(tmp_path_factory.mktemp("runs") / "sql-1", str(tiny_gemma3), dtype="bfloat16")


def test_export_then_verify_again(trained, tmp_path, backend, capfd):
    out = tmp_path / "model"
    code = run(
        ["export", str(trained), "--to", "hf", "--out", str(out), "--backend", backend, "--json"]
    )
    printed = capfd.readouterr()
    assert code == 0, printed.err
    result = json.loads(printed.out)
    assert result["written"]["dtype"] == "bfloat16"
    assert result["verification"]["status"] == "passed"
    assert result["verification"]["compute_dtype"] == "float32"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    names = {path.name for path in out.iterdir()}
    assert names >= {
        "README.md",
        "NOTICE",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer.model",
        "verification.json",
    }
    for name in ("README.md", "NOTICE", "verification.json", "config.json"):
        text = (out / name).read_text("utf-8")
        assert str(tmp_path.parent) not in text and str(trained.parent) not in text
        assert not re.search(r"(?<![\w:/.<])/(?:home|root|tmp|Users|work)/", text), name

    assert run(["export", str(trained), "--verify", str(out), "--backend", backend]) == 0
    assert "Verification passed" in capfd.readouterr().out


def test_a_failed_proof_exits_1_and_leaves_nothing(trained, tmp_path, backend, capfd, monkeypatch):
    from kerasft.engine.loaded import LoadedModel

    monkeypatch.setattr(LoadedModel, "delta", lambda self, name: None)
    out = tmp_path / "model"
    arguments = ["export", str(trained), "--to", "hf", "--out", str(out), "--backend", backend]
    assert run(arguments) == 1
    assert "The exported model is not the trained one" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_empty_is_left_alone(trained, tmp_path, backend):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ExportError, match="not empty"):
        export_run(trained, "hf", tmp_path, backend=backend)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--to", "hf"],
        ["--out", "x"],
        ["--to", "onnx", "--out", "x"],
        ["--verify", "x", "--to", "hf"],
    ],
)
def test_wrong_usage_exits_2(arguments, capfd):
    assert run(["export", "runs/none", *arguments]) == 2
    assert "Usage" in capfd.readouterr().err


def test_what_is_no_run_exits_1_with_a_sentence(tmp_path, backend, capfd):
    arguments = ["export", str(tmp_path), "--to", "hf", "--out", str(tmp_path / "out")]
    assert run([*arguments, "--backend", backend]) == 1
    assert "not a run folder" in capfd.readouterr().err
