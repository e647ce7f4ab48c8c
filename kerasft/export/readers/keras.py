"""Loads a KerasHub preset with KerasHub: `python -m kerasft.export.readers.keras`.

The backend is the one that `KERAS_BACKEND` names. KerasHub is used as it is; only
TensorFlow, which it would import for its tf.data pipelines, is kept from it. As Gemma 3's
preprocessor is one of those, tokenizer and model are loaded apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerasft.export.probes import padded
from kerasft.export.readers.answering import Asked, leave, run, surroundings
from kerasft.models.hub import keras_hub


def main(folder: Path, scratch: Path) -> None:
    """Answers every probe in the compute dtype that is asked for."""
    hub = keras_hub()
    asked = Asked.read(scratch)
    tokenizer = hub.models.Tokenizer.from_preset(str(folder))
    continuations: list[list[int]] = []
    if asked.logits:
        model = hub.models.CausalLM.from_preset(
            str(folder), preprocessor=None, dtype=asked.compute_dtype
        )
        model.compile(sampler="greedy")
        with np.load(scratch / "rows.npz") as rows:
            np.savez(scratch / "logits.npz", **_logits(model, rows, tokenizer.pad_token_id))
        continuations = _continue(model, asked, tokenizer.pad_token_id)
        architecture = type(model).__name__
    else:
        config = json.loads((folder / "task.json").read_bytes())
        architecture = config["class_name"]
    leave(
        scratch,
        {
            "loading": {},
            "architecture": architecture,
            "eos_token_ids": None,
            "continuations": continuations,
            "texts": [_ids(tokenizer(text)) for text in asked.texts],
            "framed": _framed(hub, tokenizer, asked.texts[0]),
            "chat": None,
            **surroundings("keras", "keras-hub", asked.backend),
        },
    )


def _logits(model: Any, rows: Mapping[str, Any], pad_id: int) -> dict[str, np.ndarray]:
    """For each `row_i` the logits at `positions_i`, float32 (positions, vocabulary)."""
    import keras

    count = sum(name.startswith("row_") for name in rows)
    longest = max(len(rows[f"row_{index}"]) for index in range(count))
    logits = {}
    for index in range(count):
        batch = padded(rows[f"row_{index}"], pad_id, longest)
        mask = np.arange(batch.shape[1])[None] < len(rows[f"row_{index}"])
        inputs = {"token_ids": batch, "padding_mask": mask.astype(np.int32)}
        hidden = model.backbone.predict_on_batch(inputs)
        at = keras.ops.convert_to_tensor(hidden[:, rows[f"positions_{index}"]])
        found = model.backbone.token_embedding(at, reverse=True)
        logits[f"logits_{index}"] = keras.ops.convert_to_numpy(found)[0].astype(np.float32)
    return logits


def _continue(model: Any, asked: Asked, pad_id: int) -> list[list[int]]:
    """Greedy continuations by KerasHub's generation, all in one batch, without the prompts.

    No stop token is named: a preset holds none. The function under `generate` is called, as
    Gemma 3's `generate` fails on token ids without images.
    """
    import keras

    lengths = [len(prompt) for prompt in asked.prompts]
    width = max(lengths) + asked.max_new_tokens
    ids = np.full((len(lengths), width), pad_id, np.int32)
    for row, prompt in zip(ids, asked.prompts, strict=True):
        row[: len(prompt)] = prompt
    mask = np.arange(width)[None] < np.array(lengths)[:, None]
    batch = {
        "token_ids": keras.ops.convert_to_tensor(ids),
        "padding_mask": keras.ops.convert_to_tensor(mask),
    }
    answer = model.make_generate_function()(batch, stop_token_ids=None)
    found = keras.ops.convert_to_numpy(answer["token_ids"])
    return [
        _ids(row[length : length + asked.max_new_tokens])
        for row, length in zip(found, lengths, strict=True)
    ]


def _framed(hub: Any, tokenizer: Any, text: str) -> list[int]:
    """A prompt's ids as the preprocessors frame them for `generate`."""
    ids = _ids(tokenizer(text))
    packer = hub.layers.StartEndPacker(
        sequence_length=len(ids) + 1,
        start_value=tokenizer.start_token_id,
        end_value=tokenizer.end_token_id,
        pad_value=tokenizer.pad_token_id,
    )
    return _ids(packer(np.array(ids, np.int32), add_end_value=False))


def _ids(values: Sequence[int]) -> list[int]:
    import keras

    return [int(value) for value in keras.ops.convert_to_numpy(values)]


if __name__ == "__main__":
    run(main)
