"""GGUF: right values from whole files, one clear error from every other file."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import gguf
import numpy as np
import pytest

from kerasft.errors import ModelError
from kerasft.models.gguf import GgufFile
from kerasft.models.opened import gguf_tokenizer, open_gguf
from tests.models.conftest import hf_state
from tests.models.gguf_writing import gemma3_config, llama_vocabulary, write_gemma3, write_llama
from tests.tiny import tiny_config

ROWS, WIDTH = 7, 512


@pytest.fixture(scope="module")
def gemma3_bytes(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gemma3(path, gemma3_config())
    return path.read_bytes()


def load(folder: Path, data: bytes) -> None:
    """Everything that loading does before Keras: header, config, shapes, tokenizer, values."""
    path = folder / "file.gguf"
    path.write_bytes(data)
    opened = open_gguf(path)
    opened.load_tokenizer()
    file = GgufFile(path)
    for name in file.tensors:
        file.read(name)


def test_values_and_metadata_come_back(tmp_path):
    path = tmp_path / "tiny.gguf"
    config = gemma3_config()
    write_gemma3(path, config)
    file = GgufFile(path)
    assert file.metadata["gemma3.block_count"] == config["num_layers"]
    embedding = hf_state("gemma3", config)["model.embed_tokens.weight"]
    np.testing.assert_array_equal(file.read("token_embd.weight"), embedding)
    assert file.read("token_embd.weight", "bfloat16").dtype.name == "bfloat16"
    assert open_gguf(path).config == config


@pytest.mark.parametrize("tied", [True, False])
def test_llama_config_and_frequency_scaling_come_back(tmp_path, tied):
    config = tiny_config("llama3") | {"tie_word_embeddings": tied}
    write_llama(tmp_path / "tiny.gguf", config)
    assert open_gguf(tmp_path / "tiny.gguf").config == config


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_0", "Q5_1"])
def test_quantised_blocks_are_unpacked_near_the_values(tmp_path, kind):
    values = np.random.default_rng(0).standard_normal((ROWS, WIDTH)).astype("float32")
    quant = gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(tmp_path / "q.gguf", "gemma3")
    writer.add_tensor("t", gguf.quants.quantize(values, quant), raw_dtype=quant)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = GgufFile(tmp_path / "q.gguf")
    assert file.tensors["t"].shape == (ROWS, WIDTH)
    assert np.abs(file.read("t") - values).max() < 0.5


def test_every_truncation_is_told(tmp_path, gemma3_bytes):
    size = len(gemma3_bytes)
    cuts = [*range(0, 400), *range(400, size, size // 150), size - 1]
    for cut in cuts:
        with pytest.raises(ModelError):
            load(tmp_path, gemma3_bytes[:cut])


def test_mutated_headers_give_errors_and_no_large_allocation(tmp_path, gemma3_bytes):
    path = tmp_path / "whole.gguf"
    path.write_bytes(gemma3_bytes)
    header = min(tensor.start for tensor in GgufFile(path).tensors.values())
    generator = np.random.default_rng(3)
    refused = 0
    tracemalloc.start()
    for _ in range(400):
        mutated = bytearray(gemma3_bytes)
        for _ in range(generator.integers(1, 4)):
            at = int(generator.integers(0, header - 8))
            if generator.integers(2):
                mutated[at] = generator.integers(256)
            else:
                mutated[at : at + 8] = struct.pack("<Q", int(generator.integers(0, 2**63)))
        try:
            load(tmp_path, bytes(mutated))
        except ModelError:
            refused += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused > 200
    assert peak < 100_000_000


def _header(version: int = 3, tensors: int = 0, pairs: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs)


def _tensor(name: bytes, dims: list[int], kind: int = 0, offset: int = 0) -> bytes:
    entry = struct.pack("<Q", len(name)) + name + struct.pack("<I", len(dims))
    return entry + struct.pack(f"<{len(dims)}QIQ", *dims, kind, offset)


LIES = {
    "empty": (b"", "cannot be read"),
    "magic": (b"GGML" + bytes(20), "magic"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "version"),
    "version": (_header(version=9), "version 9"),
    "tensor count": (_header(tensors=2**60), "more than fit"),
    "pair count": (_header(pairs=2**63), "more than fit"),
    "key length": (_header(pairs=1) + struct.pack("<Q", 2**62) + bytes(9), "more were expected"),
    "array length": (
        _header(pairs=1) + struct.pack("<Q1sIIQ", 1, b"a", 9, 4, 2**61) + bytes(9),
        "more than fit",
    ),
    "nested array": (
        _header(pairs=1) + struct.pack("<Q1sIIQ", 1, b"a", 9, 9, 1) + bytes(9),
        "array of type 9",
    ),
    "value type": (_header(pairs=1) + struct.pack("<Q1sI", 1, b"a", 77) + bytes(9), "type 77"),
    "rank": (_header(tensors=1) + _tensor(b"t", [1] * 9), "9 dimensions"),
    "product overflow": (
        _header(tensors=1) + _tensor(b"t", [2**32, 2**32, 2**32]) + bytes(64),
        "download it again",
    ),
    "zero dimension": (_header(tensors=1) + _tensor(b"t", [0, 4]) + bytes(64), "shape"),
    "tensor type": (_header(tensors=1) + _tensor(b"t", [4], kind=250) + bytes(64), "type 250"),
    "block size": (_header(tensors=1) + _tensor(b"t", [33], kind=8) + bytes(64), "blocks of 32"),
    "offset": (_header(tensors=1) + _tensor(b"t", [4], offset=2**62) + bytes(64), "download"),
    "twice": (
        _header(tensors=2) + _tensor(b"t", [4]) + _tensor(b"t", [4]) + bytes(96),
        "occurs twice",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_header_is_refused_by_name(tmp_path, lie):
    data, said = LIES[lie]
    (tmp_path / "lie.gguf").write_bytes(data)
    with pytest.raises(ModelError, match=said):
        GgufFile(tmp_path / "lie.gguf")


def test_missing_tensors_are_collected(tmp_path):
    config = gemma3_config()
    write_gemma3(tmp_path / "tiny.gguf", config)
    data = (tmp_path / "tiny.gguf").read_bytes()
    data = data.replace(b"blk.3.ffn_up.", b"blk.9.ffn_up.").replace(b"output_norm", b"outpux_norm")
    with pytest.raises(ModelError) as caught:
        load(tmp_path, data)
    assert "mlp.up_proj.weight is missing" in str(caught.value)
    assert "model.norm.weight is missing" in str(caught.value)


def test_gemma_tokenizer_is_rebuilt(tmp_path):
    write_gemma3(tmp_path / "tiny.gguf", gemma3_config())
    tokenizer = gguf_tokenizer(GgufFile(tmp_path / "tiny.gguf").metadata)
    assert (tokenizer.pad_id, tokenizer.eos_id, tokenizer.bos_id) == (0, 1, 2)
    assert tokenizer.special_ids["<end_of_turn>"] == 5
    pieces = tokenizer.encode("the cat the")
    assert len(pieces) == 1 + 4 + 1  # "the", "▁", "c", "a", "t", "▁the"
    assert tokenizer.decode(pieces) == "the cat the"


def test_llama_tokenizer_is_rebuilt(tmp_path):
    config = tiny_config("llama3")
    write_llama(tmp_path / "tiny.gguf", config)
    tokenizer = gguf_tokenizer(GgufFile(tmp_path / "tiny.gguf").metadata)
    tokens = llama_vocabulary(config["vocabulary_size"])[0]
    assert tokenizer.encode("loL") == [tokens.index("lo"), tokens.index("L")]
    assert tokenizer.special_ids["<|eot_id|>"] == len(tokens) - 1
    assert (tokenizer.bos_id, tokenizer.eos_id) == (len(tokens) - 3, len(tokens) - 2)


@pytest.mark.parametrize(
    "change",
    [
        {"tokenizer.ggml.model": "t5"},
        {"tokenizer.ggml.tokens": ["a"]},
        {"tokenizer.ggml.scores": np.zeros(2, "float32")},
        {"tokenizer.ggml.bos_token_id": 10**6},
        {"tokenizer.ggml.token_type": None},
    ],
)
def test_a_broken_tokenizer_is_refused(tmp_path, change):
    write_gemma3(tmp_path / "tiny.gguf", gemma3_config())
    with pytest.raises(ModelError, match="tokenizer"):
        gguf_tokenizer({**GgufFile(tmp_path / "tiny.gguf").metadata, **change})
