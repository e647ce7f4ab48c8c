"""Weights that are cut off, exchanged, or of a kind that runs code: refused, in every format."""

from __future__ import annotations

import pickle
import zipfile

import numpy as np
import pytest

from kerasft.data.files import read_file
from kerasft.errors import AdapterError, DataError, ModelError
from kerasft.models import adapter, peft_files
from kerasft.models.families import FAMILIES
from kerasft.models.gguf import GgufFile
from kerasft.models.keras_files import KerasFiles
from kerasft.models.safetensors_files import SafetensorsFiles

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 536223056\n"


class Runs:
    """What a pickle does when it is read."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


def a_pickle(path):
    path.write_bytes(pickle.dumps(Runs()))


def a_torch_archive(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(Runs()))


def a_pointer(path):
    path.write_bytes(POINTER)


def nothing(path):
    path.write_bytes(b"")


WRONG = [a_pickle, a_torch_archive, a_pointer, nothing]


@pytest.mark.parametrize("write", WRONG)
def test_no_name_makes_it_weights(tmp_path, write):
    """The content is looked at, whatever the file is called."""
    write(tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"Download it again.*git-lfs"):
        SafetensorsFiles(tmp_path)
    write(tmp_path / "model.gguf")
    with pytest.raises(ModelError, match=r"(?i)gguf.*download"):
        GgufFile(tmp_path / "model.gguf")
    write(tmp_path / "model.weights.h5")
    family = FAMILIES["gemma3"]
    with pytest.raises(ModelError, match=r"model\.weights\.h5.*(?i:download)"):
        KerasFiles(tmp_path, family).check(family.tensors({"num_layers": 1, **SMALL}))


SMALL = {
    "vocabulary_size": 8,
    "num_query_heads": 1,
    "num_key_value_heads": 1,
    "hidden_dim": 4,
    "intermediate_dim": 4,
    "head_dim": 4,
    "sliding_window_size": 4,
    "use_sliding_window_attention": True,
    "use_query_key_norm": True,
    "use_post_ffw_norm": True,
    "use_post_attention_norm": True,
}


@pytest.mark.parametrize("write", WRONG)
def test_no_name_makes_it_an_adapter(tmp_path, write):
    write(tmp_path / "adapter.safetensors")
    (tmp_path / "adapter.json").write_text("{}")
    with pytest.raises(AdapterError):
        adapter.read_tensors(tmp_path)


def test_an_adapter_in_a_pickle_is_refused_with_the_reason(tmp_path):
    a_torch_archive(tmp_path / "adapter_model.bin")
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4}')
    family = FAMILIES["gemma3"]
    with pytest.raises(AdapterError, match=r"adapter_model\.safetensors"):
        peft_files.read_peft(tmp_path, family, {})


@pytest.mark.parametrize("name", ["rows.pkl", "rows.npz", "rows.pt", "rows.zip"])
def test_rows_are_read_from_texts_and_parquet_only(tmp_path, name):
    np.savez(tmp_path / "rows.npz", a=np.zeros(1))
    if not (tmp_path / name).exists():
        a_pickle(tmp_path / name)
    with pytest.raises(DataError, match=r"expected a file ending in \.jsonl"):
        list(read_file(tmp_path / name, []))
