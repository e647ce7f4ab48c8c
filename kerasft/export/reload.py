"""Run as a program: load an exported folder in transformers and answer the probes.

    python -m kerasft.export.reload FOLDER ASKED ANSWERED

It never imports Keras, so what it computes owes nothing to the code that wrote the
folder. ASKED is a folder with `rows.npz` and `asked.json` (see `verify.py`);
ANSWERED is a folder that gets `logits.npz` and `answered.json`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def main(folder: Path, asked: Path, answered: Path) -> None:
    """Answers every probe in the compute dtype that `asked.json` names."""
    import tokenizers
    import torch
    import transformers

    request = json.loads((asked / "asked.json").read_text(encoding="utf-8"))
    model, loading = transformers.AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=getattr(torch, request["compute_dtype"]),
        attn_implementation="eager",
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
    )
    model.eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    with np.load(asked / "rows.npz") as rows, torch.inference_mode():
        np.savez(answered / "logits.npz", **_logits(model, rows))
        continuations = [
            _continue(model, prompt, request["max_new_tokens"]) for prompt in request["prompts"]
        ]
    answer = {
        "loading": {
            key: sorted(str(name) for name in loading.get(key, ()))
            for key in ("missing_keys", "unexpected_keys", "mismatched_keys")
        },
        "architecture": type(model).__name__,
        "eos_token_ids": model.generation_config.eos_token_id,
        "continuations": continuations,
        "texts": [
            tokenizer(text, add_special_tokens=False)["input_ids"] for text in request["texts"]
        ],
        "framed": tokenizer(request["texts"][0])["input_ids"],
        "chat": _chat(tokenizer, request["message"]),
        "keras_imported": "keras" in sys.modules,
        "versions": {
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
            "torch": torch.__version__,
        },
    }
    (answered / "answered.json").write_text(json.dumps(answer), encoding="utf-8")


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


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
