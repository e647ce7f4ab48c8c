"""Encoded rows, kept between runs in kerasft's cache.

An entry is a safetensors file named by a hash of everything that its ids depend on: the
values of the rows in their order, the template, the settings, the tokenizer with the
package that runs it, and the code that makes examples. Nothing is ever out of date then;
what is not used any more goes when the folder is full. Entries are made of examples that
were checked, and carry a digest, so a damaged one is noticed and made again.
"""

import contextlib
import hashlib
import importlib.metadata
import importlib.resources
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerasft.caches import cache_dir
from kerasft.data.examples import Dropped, Encoded, Example, check_examples, encode_rows
from kerasft.data.prompts import Template
from kerasft.data.tokens import Tokenizer
from kerasft.recipe import PromptSettings

ROOM_BYTES = 2 << 30
"""Largest size of all entries together; the least recently used ones are deleted first."""

_FORMAT = 1
_CODE = ("examples", "pieces", "prompts", "schema", "tokens", "turns")
_PACKAGES = ("sentencepiece", "tokenizers")
_DTYPES = {
    "token_ids": np.int32,
    "loss_weights": np.uint8,
    "offsets": np.int64,
    "rows": np.int64,
}


def encoded_rows(
    rows: Sequence[Mapping[str, Any]],
    template: Template,
    tokenizer: Tokenizer,
    settings: PromptSettings,
    sequence_length: int,
    note: Callable[[str], None],
) -> Encoded:
    """`encode_rows` with `check_examples`, or what they gave when they last were asked the same.

    Args:
        rows, template, tokenizer, settings, sequence_length: as for `encode_rows`.
        note: told, in a sentence, of a cache that is damaged or cannot be written.

    Raises:
        DataError: as `encode_rows` and `check_examples`; nothing is kept then.
    """
    key = key_of(rows, template, tokenizer, settings, sequence_length)
    path = folder() / f"{key}.safetensors"
    try:
        found = _read(path)
        if found is not None:
            return found
    except Exception as error:  # damage shows in many ways, none of which may end a run
        note(f"{path} is damaged ({error}); the rows are encoded again")
    encoded = encode_rows(rows, template, tokenizer, settings, sequence_length)
    check_examples(encoded.examples, rows, template, tokenizer)
    try:
        _write(path, encoded)
    except Exception as error:  # safetensors reports a full disk as an error of its own
        note(f"the encoded rows were not kept in {path.parent}: {error}")
    return encoded


def folder() -> Path:
    """Where the entries are."""
    return cache_dir() / "encoded"


def key_of(
    rows: Sequence[Mapping[str, Any]],
    template: Template,
    tokenizer: Tokenizer,
    settings: PromptSettings,
    sequence_length: int,
) -> str:
    """SHA-256 of everything that the examples depend on, in hexadecimal digits."""
    slots = template.slots
    values = hashlib.sha256()
    for row in rows:
        # A row that lacks a column is a fault, which is found when it is rendered.
        given = {slot: row[slot] for slot in slots if slot in row}
        values.update(json.dumps(given, sort_keys=True, default=str).encode() + b"\n")
    files = {name: hashlib.sha256(data).hexdigest() for name, data in tokenizer.files().items()}
    parts = {
        "format": _FORMAT,
        "code": _code(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "tokenizer": [files, tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id],
        "template": template.to_dict(),
        "mask_prompt": settings.mask_prompt,
        "long_rows": settings.long_rows,
        "sequence_length": sequence_length,
        "rows": values.hexdigest(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _code() -> str:
    """Hash of the modules that make examples, so that no change in them needs a new number."""
    source = importlib.resources.files("kerasft.data")
    digest = hashlib.sha256()
    for name in _CODE:
        digest.update(source.joinpath(f"{name}.py").read_bytes())
    return digest.hexdigest()


def _write(path: Path, encoded: Encoded) -> None:
    from safetensors.numpy import save_file

    examples = encoded.examples
    lengths = [len(example.token_ids) for example in examples]
    tensors = {
        "token_ids": np.concatenate([example.token_ids for example in examples]),
        "loss_weights": np.concatenate([example.loss_weights for example in examples]),
        "offsets": np.cumsum([0, *lengths], dtype=np.int64),
        "rows": np.array([example.row for example in examples], np.int64),
    }
    if sum(tensor.nbytes for tensor in tensors.values()) > ROOM_BYTES:
        return
    left_out = [[each.row, each.reason, each.tokens] for each in encoded.dropped]
    rest = json.dumps({"trimmed": encoded.trimmed, "dropped": left_out})
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        save_file(tensors, aside, {"rest": rest, "sha256": _digest(tensors, rest)})
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    _make_room(path)


def _read(path: Path) -> Encoded | None:
    """The entry, None where there is none.

    Raises:
        Exception: it is damaged, in one of many ways.
    """
    from safetensors import safe_open

    if not path.exists():
        return None
    with safe_open(path, "numpy") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in _DTYPES}
    rest = metadata.get("rest", "")
    if metadata.get("sha256") != _digest(tensors, rest):
        raise ValueError("its digest is another one")
    ids, weights, offsets = tensors["token_ids"], tensors["loss_weights"], tensors["offsets"]
    edges = offsets.tolist()
    examples = [
        Example(ids[begin:end], weights[begin:end], row)
        for begin, end, row in zip(edges, edges[1:], tensors["rows"].tolist(), strict=False)
    ]
    counts = json.loads(rest)
    with contextlib.suppress(OSError):
        os.utime(path)
    return Encoded(
        examples,
        [Dropped(*each) for each in counts["dropped"]],
        counts["trimmed"],
        tokens=len(ids),
        supervised_tokens=int(np.count_nonzero(weights)),
    )


def _digest(tensors: Mapping[str, np.ndarray], rest: str) -> str:
    digest = hashlib.sha256(rest.encode())
    for name, dtype in _DTYPES.items():
        tensor = tensors[name]
        if tensor.dtype != dtype:
            raise ValueError(f"{name} is {tensor.dtype}, expected {np.dtype(dtype)}")
        digest.update(f"{name}{tensor.shape}".encode())
        digest.update(np.ascontiguousarray(tensor).data)
    return digest.hexdigest()


def _make_room(newest: Path) -> None:
    """Delete the least recently used entries until all together fit `ROOM_BYTES`."""
    entries = []
    for path in newest.parent.iterdir():
        with contextlib.suppress(OSError):
            facts = path.stat()
            entries.append((path != newest, -facts.st_mtime, facts.st_size, path))
    used = 0
    for _, _, size, path in sorted(entries):
        used += size
        if used > ROOM_BYTES and path != newest:
            with contextlib.suppress(OSError):
                path.unlink()
