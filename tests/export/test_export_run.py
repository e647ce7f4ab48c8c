"""`export_run` and `verify_run`, from a run folder to a proven folder or to nothing."""

import json
import re

import pytest

from kerasft.errors import ExportError, RunError
from kerasft.export import export_run, verify, verify_run
from kerasft.export.verify import verify_folder
from tests.export.live import ask_here, make_run
from tests.export.spoilers import SPOILERS


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_gemma3):
    return make_run(tmp_path_factory.mktemp("runs") / "sql-1", str(tiny_gemma3), dtype="bfloat16")


@pytest.fixture
def reader_here(monkeypatch):
    """The folder's reader answers in this process."""

    def verified(*arguments, **options):
        return verify_folder(*arguments, **options, ask=ask_here)

    monkeypatch.setattr(verify, "verify_folder", verified)


@pytest.mark.keras
def test_export_then_verify_again(trained, tmp_path, backend, reader_here):
    out = tmp_path / "model"
    exported = export_run(trained, "hf", out, backend=backend)
    assert exported.written.dtype == "bfloat16"
    verification = exported.verification
    assert (verification.status, verification.method) == ("passed", "logits and tensors")
    assert verification.backend == backend and verification.compute_dtype == "float32"
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
    (out / "verification.json").unlink()
    assert verify_run(trained, out, backend=backend).status == "passed"
    assert json.loads((out / "verification.json").read_text())["status"] == "passed"


def test_a_failed_proof_leaves_nothing(trained, tmp_path, backend, reader_here, monkeypatch):
    from kerasft.export import hf, room

    write = hf.write_hf
    monkeypatch.setattr(room, "free_ram_bytes", lambda: 1 << 20)
    monkeypatch.setattr(
        hf, "write_hf", lambda weights, *a, **b: write(SPOILERS["one_lost"](weights), *a, **b)
    )
    with pytest.raises(ExportError, match="The exported model is not the trained one"):
        export_run(trained, "hf", tmp_path / "model", backend=backend)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(hf, "write_hf", write)
    exported = export_run(trained, "hf", tmp_path / "model", backend=backend)
    assert exported.verification.method == "tensors"
    assert "of memory free. Every tensor was." in (tmp_path / "model/README.md").read_text()


def test_what_cannot_be_written_is_refused_before_anything_is_read(trained, tmp_path):
    for arguments, options, message in (
        (("onnx", tmp_path / "out"), {}, "Expected a format of hf, peft, gguf, keras; got 'onnx'"),
        (("hf", tmp_path / "out"), {"dtype": "q8_0"}, "cannot be written in 'q8_0'"),
        (("hf", tmp_path / "out"), {"share_rank": 4}, "--share-rank is not for --to hf"),
        (("gguf", tmp_path / "out"), {"with_base": True}, "--with-base is not for --to gguf"),
    ):
        with pytest.raises(ExportError, match=message):
            export_run(trained, *arguments, **options)
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ExportError, match="not empty"):
        export_run(trained, "hf", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(RunError, match="not a run folder"):
        export_run(tmp_path, "hf", tmp_path / "out")
    with pytest.raises(ExportError, match="is not a folder"):
        verify_run(trained, tmp_path / "nothing")
