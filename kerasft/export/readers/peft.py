"""Loads an adapter with PEFT on its base: `python -m kerasft.export.readers.peft`.

The base is the folder's own `base/`, else the one that is asked with. `extra` has
`merged_difference`: the largest difference of any logit after the longest row between the
adapter beside the weights and merged into them by `merge_and_unload`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kerasft.export.proof import BOUNDS
from kerasft.export.readers.answering import (
    Asked,
    answer_rows,
    leave,
    loading_of,
    run,
    surroundings,
    words,
)

_TOKENIZER = ("tokenizer_config.json", "tokenizer.json", "tokenizer.model")
"""Without any of these an adapter goes by the tokenizer of its base, as PEFT itself writes it."""


def main(folder: Path, scratch: Path) -> None:
    """Answers every probe in the compute dtype that is asked for."""
    import transformers

    asked = Asked.read(scratch)
    said: dict[str, Any] = dict.fromkeys(("texts", "framed", "chat"))
    if any((folder / name).is_file() for name in _TOKENIZER):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        said = words(tokenizer, asked)
    generation = None
    if (folder / "generation_config.json").is_file():
        generation = transformers.GenerationConfig.from_pretrained(folder, local_files_only=True)
    answer = {
        "loading": loading_of({}),
        "architecture": None,
        "eos_token_ids": generation and generation.eos_token_id,
        "continuations": [],
        **said,
        **surroundings("transformers", "tokenizers", "torch", "peft"),
    }
    if asked.logits:
        answer |= _answer(folder, asked, generation)
    leave(scratch, answer)


def _answer(folder: Path, asked: Asked, generation: Any) -> dict[str, Any]:
    """What only the model can tell."""
    import peft
    import torch
    import transformers

    own = folder / "base"
    base, loading = transformers.AutoModelForCausalLM.from_pretrained(
        own if own.is_dir() else asked.base,
        dtype=getattr(torch, asked.compute_dtype),
        attn_implementation="eager",
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
    )
    model = peft.PeftModel.from_pretrained(base, folder)
    if generation is not None:
        model.generation_config = generation
    continuations = answer_rows(model, asked)
    missing = _without_a_partner(model, folder)
    difference = _merged_difference(model, asked)
    allowed = BOUNDS["float32"].absolute
    return {
        "loading": {
            kind: sorted({*names, *missing.get(kind, ())})
            for kind, names in loading_of(loading).items()
        },
        "architecture": type(base).__name__,
        "continuations": continuations,
        "extra": {"merged_difference": difference},
        "faults": [
            f"merge_and_unload moves a logit by {difference:.3g}; at most {allowed:g} is expected"
        ]
        if difference > allowed
        else [],
    }


def _without_a_partner(model: Any, folder: Path) -> dict[str, set[str]]:
    """Tensors that the adapted model has and the file has not, and the other way round.

    PEFT draws the first anew and drops the second, with a warning at the most.
    """
    import peft
    from safetensors import safe_open

    with safe_open(folder / "adapter_model.safetensors", "np") as file:
        stored = set(file.keys())
    # Without the embeddings, which PEFT would ask the Hub about.
    known = set(peft.get_peft_model_state_dict(model, save_embedding_layers=False))
    return {"missing_keys": known - stored, "unexpected_keys": stored - known}


def _merged_difference(model: Any, asked: Asked) -> float:
    """The largest |merged − adapted| logit at the end of the longest row."""
    import torch

    with np.load(asked.scratch / "rows.npz") as rows:
        longest = max(
            (name for name in rows.files if name.startswith("row_")),
            key=lambda name: len(rows[name]),
        )
        ids = torch.from_numpy(rows[longest].astype(np.int64))[None]
    with torch.inference_mode():
        adapted = model(input_ids=ids, use_cache=False, logits_to_keep=1).logits
        merged = model.merge_and_unload().eval()
        difference = merged(input_ids=ids, use_cache=False, logits_to_keep=1).logits - adapted
    return float(difference.abs().max())


if __name__ == "__main__":
    run(main)
