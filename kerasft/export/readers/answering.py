"""What the readers on torch and transformers share; see the package's docstring."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

LOADING = ("missing_keys", "unexpected_keys", "mismatched_keys")


@dataclass(frozen=True)
class Asked:
    """The questions; see the package's docstring."""

    scratch: Path
    logits: bool
    compute_dtype: str
    backend: str
    prompts: list[list[int]]
    max_new_tokens: int
    texts: list[str]
    message: str
    base: Path | None

    @classmethod
    def read(cls, scratch: Path) -> Asked:
        request = json.loads((scratch / "asked.json").read_text(encoding="utf-8"))
        request["base"] = Path(request["base"]) if request["base"] else None
        return cls(scratch, **request)


def leave(scratch: Path, answer: Mapping[str, Any]) -> None:
    """Writes `answered.json`."""
    (scratch / "answered.json").write_text(json.dumps(dict(answer)), encoding="utf-8")


def loading_of(found: Mapping[str, Any]) -> dict[str, list[str]]:
    """What `from_pretrained(output_loading_info=True)` says, as names."""
    return {key: sorted(str(name) for name in found.get(key, ())) for key in LOADING}


def answer_rows(model: Any, asked: Asked) -> list[list[int]]:
    """Writes the logits of every row of a transformers model; gives its continuations."""
    import torch

    model.eval()
    with np.load(asked.scratch / "rows.npz") as rows, torch.inference_mode():
        np.savez(asked.scratch / "logits.npz", **_logits(model, rows))
        return [_continue(model, prompt, asked.max_new_tokens) for prompt in asked.prompts]


def words(tokenizer: Any, asked: Asked) -> dict[str, Any]:
    """What a transformers tokenizer makes of the texts and of one user's turn."""
    return {
        "texts": [tokenizer(text, add_special_tokens=False)["input_ids"] for text in asked.texts],
        "framed": tokenizer(asked.texts[0])["input_ids"],
        "chat": _chat(tokenizer, asked.message),
    }


def surroundings(*packages: str) -> dict[str, Any]:
    """Whether Keras is here, and the versions of the packages that took part."""
    from importlib.metadata import version

    return {
        "keras_imported": "keras" in sys.modules,
        "versions": {package: version(package) for package in packages},
    }


def run(main: Callable[[Path, Path], None]) -> None:
    """A reader as a program: FOLDER and SCRATCH from the command line."""
    main(Path(sys.argv[1]), Path(sys.argv[2]))


def _logits(model: Any, rows: Any) -> dict[str, np.ndarray]:
    """For each `row_i` the logits at `positions_i`, float32 (positions, vocabulary)."""
    import torch

    logits = {}
    for index in range(len(rows.files) // 2):
        ids = torch.from_numpy(rows[f"row_{index}"].astype(np.int64))[None]
        positions = torch.from_numpy(rows[f"positions_{index}"].astype(np.int64))
        output = model(input_ids=ids, use_cache=False, logits_to_keep=positions)
        logits[f"logits_{index}"] = output.logits[0].float().numpy()
    return logits


def _continue(model: Any, prompt: list[int], max_new_tokens: int) -> list[int]:
    """The greedy continuation under the folder's own stop ids, without the prompt."""
    import torch

    ids = torch.tensor([prompt])
    output = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=max_new_tokens,
    )
    return output[0, len(prompt) :].tolist()


def _chat(tokenizer: Any, message: str) -> list[int] | None:
    """The ids of one user's turn with the folder's chat template; None if it has none."""
    if not tokenizer.chat_template:
        return None
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": message}], tokenize=False, add_generation_prompt=True
    )
    return tokenizer(text, add_special_tokens=False)["input_ids"]
