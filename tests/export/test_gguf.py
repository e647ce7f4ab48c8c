"""GGUF files: what is written, what is read back, and every way to be wrong."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import gguf
import numpy as np
import pytest

from kerasft.errors import ExportError, ModelError
from kerasft.export.gguf import KINDS, stored_gguf, write_gguf
from kerasft.export.hf import write_hf
from kerasft.export.tensor_proof import compare_tensors
from kerasft.export.verify import verify_folder
from kerasft.models.gguf import GgufFile
from kerasft.models.opened import open_path
from tests.export.live import tiny_weights
from tests.export.spoilers import SPOILERS, Spoilt

FAMILIES = ("gemma", "gemma2", "gemma3", "llama3")


def trained(family, **options):
    """Tiny weights that llama.cpp can run; its Gemma 2 scales queries by the head width."""
    settings = {"query_head_dim_normalize": True} if family == "gemma2" else {}
    return tiny_weights(family, base_dtype="bfloat16", **settings, **options)


def faults_of(weights, folder):
    stored = stored_gguf(folder, weights)
    return stored.faults() + compare_tensors(weights, stored)[1]


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_is_base_plus_delta_rounded_once(tmp_path, family, dtype):
    weights = trained(family)
    written = write_gguf(weights, tmp_path, dtype=dtype)
    file = f"model-{KINDS[dtype]}.gguf"
    assert written.files.keys() == {file, "Modelfile"}
    assert written.merged == 7 * weights.config["num_layers"]
    stored = stored_gguf(tmp_path, weights)
    assert stored.dtype == dtype
    assert stored.faults() == []
    comparison, faults = compare_tensors(weights, stored)
    assert faults == []
    assert comparison.recovered == pytest.approx(1, abs=1e-3)
    if dtype != "float32":
        assert comparison.largest_share > 0.1
    kinds = {name: each.kind for name, each in GgufFile(tmp_path / file).tensors.items()}
    assert kinds["output_norm.weight"] == "F32"
    assert kinds["blk.0.attn_q.weight"] == KINDS[dtype]
    # Rows of 48 are no whole blocks.
    down = "F16" if dtype == "q8_0" else KINDS[dtype]
    assert kinds["blk.0.ffn_down.weight"] == down
    assert bool(written.notes) == (dtype == "q8_0")


@pytest.mark.parametrize(
    ("family", "dtype"),
    [
        ("gemma", "float16"),
        ("gemma2", "float32"),
        ("gemma3", "bfloat16"),
        ("llama3", "float16"),
        ("llama3", "bfloat16"),
    ],
)
def test_read_again_it_is_the_merged_hugging_face_model(tmp_path, family, dtype):
    weights = trained(family)
    (tmp_path / "gguf").mkdir()
    (tmp_path / "hf").mkdir()
    write_gguf(weights, tmp_path / "gguf", dtype=dtype)
    write_hf(weights, tmp_path / "hf", dtype=dtype)
    ours = open_path(next((tmp_path / "gguf").glob("*.gguf")))
    theirs = open_path(tmp_path / "hf")
    assert ours.family is theirs.family
    unused = {"sliding_window_size"} if family == "gemma" else set()
    assert {key: ours.config[key] for key in ours.config.keys() - unused} == {
        key: theirs.config[key] for key in theirs.config.keys() - unused
    }
    assert ours.fingerprint(dtype) == theirs.fingerprint(dtype)
    left, right = ours.load_tokenizer(), theirs.load_tokenizer()
    text = "SELECT  name,\n\n COUNT(*) <table> é — 東 <end_of_turn><|eot_id|>"
    assert left.encode(text) == right.encode(text)
    assert left.special_ids.items() >= weights.tokenizer.special_ids.items()


def test_a_process_of_its_own_reads_the_words_of_the_file(tmp_path):
    weights = trained("llama3")
    write_gguf(weights, tmp_path, dtype="float16")
    verification = verify_folder(weights, tmp_path, live=None)
    assert (verification.status, verification.method) == ("passed", "tensors")
    assert verification.tokenizer == {"texts": 12, "equal": 12}
    assert verification.versions.keys() >= {"gguf", "transformers"}
    assert verification.files.keys() == {"Modelfile", "model-F16.gguf"}


@pytest.mark.parametrize("name", SPOILERS)
@pytest.mark.parametrize("dtype", ["float16", "q8_0"])
def test_every_mistake_of_a_merge_is_found(tmp_path, dtype, name):
    weights = trained("gemma3")
    write_gguf(SPOILERS[name](weights), tmp_path, dtype=dtype)
    faults = faults_of(weights, tmp_path)
    assert faults
    if name == "one_lost":
        assert [fault.partition(":")[0] for fault in faults] == [
            "decoder_block_1/attention/query/kernel"
        ]
    if name == "wrong_eos":
        assert "generation stops at the ids [10, 5]" in faults[0]


class OtherFamily:
    """A family that stores its tensors in another way."""

    def __init__(self, family, **changes):
        self._family, self._changes = family, changes

    def __getattr__(self, name):
        return getattr(self._family, name)

    def tensors(self, config):
        return tuple(
            dataclasses.replace(spec, **self._changes) for spec in self._family.tensors(config)
        )


class WithoutFrequencies(OtherFamily):
    def gguf_tensors(self, config):
        return {}


class WithoutEpsilon(OtherFamily):
    def gguf_metadata(self, config):
        metadata = self._family.gguf_metadata(config)
        return metadata | {"attention.layer_norm_rms_epsilon": 1e-3, "rope.freq_base": 1e4}


@pytest.mark.parametrize(
    ("family", "other", "words"),
    [
        ("llama3", lambda f: OtherFamily(f, gguf_rotary_heads=0), "attention/query/kernel"),
        ("gemma3", lambda f: OtherFamily(f, gguf_offset=0.0), "final_norm/scale"),
        ("llama3", WithoutFrequencies, "rope_freqs.weight is missing"),
        ("gemma3", WithoutEpsilon, "layer_norm_rms_epsilon is 0.00"),
        ("gemma3", WithoutEpsilon, "gemma3.rope.freq_base is 10000.0, not 1000000.0"),
    ],
)
def test_another_convention_than_that_of_llama_cpp_is_found(tmp_path, family, other, words):
    weights = trained(family)
    spoilt = Spoilt(weights)
    spoilt.family = other(weights.family)
    write_gguf(spoilt, tmp_path, dtype="bfloat16")
    assert any(words in fault for fault in faults_of(weights, tmp_path))


def rewritten(folder, **changes):
    """The folder's GGUF file with other metadata; None leaves an entry out."""
    (path,) = folder.glob("*.gguf")
    reader = gguf.GGUFReader(path)
    fields = {name: field for name, field in reader.fields.items() if name[:5] != "GGUF."}
    architecture = fields.pop("general.architecture").contents()
    architecture = changes.pop("general.architecture", architecture)
    writer = gguf.GGUFWriter(path.with_suffix(".new"), architecture)
    for name, field in fields.items():
        value = changes.pop(name, field.contents())
        if value is not None:
            writer.add_key_value(name, value, field.types[0], *field.types[1:])
    for name, value in changes.items():
        writer.add_key_value(name, value, gguf.GGUFValueType.get_type(value))
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    path.with_suffix(".new").replace(path)


TOKENS = "tokenizer.ggml."


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({f"{TOKENS}eos_token_id": 5}, "stops at the ids [5]; it was trained to stop at [1, 5]"),
        ({f"{TOKENS}eot_token_id": 7}, "stops at the ids [1, 7]"),
        ({f"{TOKENS}bos_token_id": 3}, "bos_token_id is 3, not 2"),
        ({f"{TOKENS}add_bos_token": False}, "add_bos_token is False, not True"),
        ({f"{TOKENS}add_space_prefix": None}, "add_space_prefix is True, not False"),
        ({f"{TOKENS}eos_token_id": None, f"{TOKENS}eot_token_id": 5}, "stops at the ids [5];"),
        ({"tokenizer.chat_template": "{{ messages }}"}, "not that of the turns"),
        ({"gemma3.attention.sliding_window": 16}, "sliding_window is 16, not 8"),
        ({"gemma3.rope.scaling.factor": None}, "rope.scaling.factor is 1.0, not 8.0"),
        ({"gemma3.final_logit_softcapping": 30.0}, "final_logit_softcapping is 30.0, not None"),
        ({"general.architecture": "gemma2"}, "the architecture is 'gemma2', not 'gemma3'"),
    ],
)
def test_wrong_metadata_are_found(tmp_path, changes, words):
    weights = trained("gemma3")
    write_gguf(weights, tmp_path, dtype="bfloat16")
    rewritten(tmp_path, **changes)
    assert words in "\n".join(stored_gguf(tmp_path, weights).faults())


def test_wrong_words_are_found(tmp_path):
    weights = trained("gemma3")
    write_gguf(weights, tmp_path, dtype="bfloat16")
    entries = GgufFile(tmp_path / "model-BF16.gguf").metadata
    tokens = list(entries[f"{TOKENS}tokens"])
    tokens[300], tokens[301] = tokens[301], tokens[300]
    scores = entries[f"{TOKENS}scores"].tolist()
    scores[400] = -3.5
    rewritten(tmp_path, **{f"{TOKENS}tokens": tokens, f"{TOKENS}scores": scores})
    faults = "\n".join(stored_gguf(tmp_path, weights).faults())
    assert "tokenizer.ggml.tokens differs at 2 ids, first at 300" in faults
    assert "tokenizer.ggml.scores differs at 1 ids, first at 400" in faults


def test_what_llama_cpp_knows_without_being_told_need_not_be_written(tmp_path):
    weights = trained("gemma3")
    write_gguf(weights, tmp_path, dtype="bfloat16")
    known = dict.fromkeys((f"{TOKENS}eot_token_id", f"{TOKENS}add_bos_token"))
    rewritten(tmp_path, **known, **{"gemma3.context_length": 7, "gemma3.rope.freq_base_swa": 1e4})
    assert faults_of(weights, tmp_path) == []


def test_files_that_are_no_proof_are_refused(tmp_path):
    weights = trained("gemma")
    with pytest.raises(ExportError, match=r"expected one \.gguf file, found none"):
        stored_gguf(tmp_path, weights)
    write_gguf(weights, tmp_path, dtype="float16")
    path = tmp_path / "model-F16.gguf"
    whole = path.read_bytes()
    for end in (10, 2000, len(whole) - 5000):
        path.write_bytes(whole[:end])
        with pytest.raises(ExportError, match="not a whole GGUF file"):
            stored_gguf(tmp_path, weights)
    path.write_bytes(whole)
    (tmp_path / "second.gguf").write_bytes(whole)
    with pytest.raises(ExportError, match=r"found model-F16\.gguf, second\.gguf"):
        stored_gguf(tmp_path, weights)


def test_a_missing_or_turned_tensor_is_told(tmp_path):
    weights = trained("gemma")
    write_gguf(weights, tmp_path, dtype="float32")
    stored = stored_gguf(tmp_path, weights)
    norm, embedding = weights.family.tensors(weights.config)[-1 :: -len(weights.arrays) + 1]
    stored._tensors["output_norm.weight"] = SimpleNamespace(shape=np.array([31]))
    del stored._tensors["token_embd.weight"]
    assert stored.tensor(norm) is None
    assert stored.tensor(embedding) is None


def test_what_float16_cannot_hold_is_refused(tmp_path):
    weights = trained("llama3")
    huge = Spoilt(weights, base=lambda name, array: array + (1e5 if "/ffw/up/" in name else 0))
    with pytest.raises(ExportError, match=r"do not fit float16 \(2\)") as raised:
        write_gguf(huge, tmp_path, dtype="float16")
    assert "decoder_block_0/ffw/up/kernel: 1536 of 1536 values" in str(raised.value)


def test_a_model_that_llama_cpp_runs_otherwise_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ModelError, match="query scale"):
        write_gguf(tiny_weights("gemma2"), tmp_path, dtype="float16")
    assert list(tmp_path.iterdir()) == []


def test_the_model_says_where_it_comes_from(tmp_path):
    write_gguf(trained("gemma3"), tmp_path, dtype="q8_0")
    entries = GgufFile(tmp_path / "model-Q8_0.gguf").metadata
    assert entries["general.base_model.0.name"] == "tiny-gemma3"
    assert entries["general.license.link"] == "https://ai.google.dev/gemma/terms"
    assert (entries["general.file_type"], entries["general.quantization_version"]) == (7, 2)
    assert (entries[f"{TOKENS}eos_token_id"], entries[f"{TOKENS}eot_token_id"]) == (1, 5)
