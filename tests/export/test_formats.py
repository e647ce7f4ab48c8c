"""Which format a folder is of, and that every format has its parts."""

import importlib.util
import json

import pytest

from kerasft.errors import ExportError
from kerasft.export.formats import FORMATS, format_of


@pytest.mark.parametrize("name", FORMATS)
def test_every_part_of_a_format_can_be_found(name):
    form = FORMATS[name]
    assert form.name == name
    for role in ("writer", "stored"):
        assert callable(form.load(role))
    if form.promise:
        assert callable(form.load("promise"))
    assert importlib.util.find_spec(form.reader) is not None
    assert form.default_dtype is None or form.default_dtype in form.dtypes


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        ("hf", "config.json", {"model_type": "gemma2"}),
        ("keras", "config.json", {"class_name": "GemmaBackbone"}),
        ("peft", "adapter_config.json", {"peft_type": "LORA"}),
        ("gguf", "model-F16.gguf", {}),
    ],
)
def test_a_folder_is_known_by_its_files(tmp_path, name, file, content):
    (tmp_path / file).write_text(json.dumps(content))
    assert format_of(tmp_path) is FORMATS[name]


@pytest.mark.parametrize("content", ["{}", "[1]", "no json", ""])
def test_another_folder_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ExportError, match="is no export that can be verified"):
        format_of(tmp_path)
    with pytest.raises(ExportError, match="is not a folder"):
        format_of(tmp_path / "config.json")


def test_a_dtype_that_a_format_does_not_hold_is_refused():
    with pytest.raises(ExportError, match="Give --dtype bfloat16, float32, float16"):
        FORMATS["hf"].check_dtype("q8_0")
    FORMATS["gguf"].check_dtype("q8_0")
