"""The proof: an exported folder, loaded in a fresh process, against the live model."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from kerasft.data.examples import encode_prompt
from kerasft.errors import ExportError, collected
from kerasft.export import probes as probing
from kerasft.export.model_view import ModelView, attention_window, stop_ids
from kerasft.export.probes import Probes
from kerasft.export.proof import Bound, Comparison, bound_for, compare_all, judge
from kerasft.export.safetensors_writer import read_header
from kerasft.records import write_json
from kerasft.versions import versions

FILE = "verification.json"
MAX_NEW_TOKENS = 16
PASSED, FAILED, NOT_VERIFIED = "passed", "failed", "not_verified"


@dataclass(frozen=True)
class Verification:
    """The result of a proof; `verification.json` is this as JSON.

    Attributes:
        status: "passed", "failed", or "not_verified" when transformers is missing.
        faults: every way in which the folder is not the trained model.
        note: what was not verified and how to; empty after a proof.
        base_id, fingerprint: of the base model.
        backend: that computed the live logits.
        weight_dtype: the coarsest dtype in the folder's weight files.
        compute_dtype: in which both sides computed.
        bound_dtype: the dtype that sets the bound.
        bound: how far apart the two may be.
        comparison: the measured logits; None without a proof.
        greedy: prompts, how many continuations are equal, and each text of both.
        tokenizer: texts compared and how many have equal ids.
        probes: how many rows, their longest, the attention window.
        versions: of every package that took part.
    """

    status: str
    faults: list[str]
    note: str
    base_id: str
    fingerprint: str
    backend: str
    weight_dtype: str
    compute_dtype: str
    bound_dtype: str
    bound: Bound
    comparison: Comparison | None = None
    greedy: dict[str, Any] = field(default_factory=dict)
    tokenizer: dict[str, int] = field(default_factory=dict)
    probes: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def require(self) -> None:
        """Raises ExportError with every fault, unless there is none."""
        if self.faults:
            raise ExportError(collected("The exported model is not the trained one", self.faults))


def verify_folder(model: ModelView, folder: Path) -> Verification:
    """Compare a folder with the live model and write `verification.json` into it.

    Without transformers installed nothing is compared, and the file says so.

    Args:
        model: the live model with its adapter.
        folder: a Hugging Face folder, ours or one made elsewhere.

    Raises:
        ExportError: the folder has no readable weights. A proof that fails is not
            raised but returned: see `Verification.require`.
    """
    weight_dtype = _weight_dtype(folder)
    compute_dtype = model.causal_lm.backbone.compute_dtype
    bound_dtype, bound = bound_for(weight_dtype, compute_dtype)
    common = {
        "base_id": model.base_id,
        "fingerprint": model.fingerprint,
        "backend": _backend(),
        "weight_dtype": weight_dtype,
        "compute_dtype": compute_dtype,
        "bound_dtype": bound_dtype,
        "bound": bound,
    }
    if importlib.util.find_spec("transformers") is None:
        note = (
            "Logits, tokenizer and stop tokens were not compared, as transformers is not "
            "installed. pip install 'kerasft[hf]', then: kerasft export RUN --verify DIR"
        )
        verification = Verification(
            status=NOT_VERIFIED, faults=[], note=note, versions=versions(), **common
        )
    else:
        verification = _prove(model, folder, bound, common)
    write_json(folder / FILE, asdict(verification))
    return verification


def _prove(model: ModelView, folder: Path, bound: Bound, common: dict[str, Any]) -> Verification:
    """Asks both sides and judges the answers."""
    asked = probing.make_probes(
        model.tokenizer.encode,
        vocabulary=model.config["vocabulary_size"],
        bos_id=model.tokenizer.bos_id,
        window=attention_window(model),
        max_positions=model.family.max_positions(model.config),
    )
    summary = {
        "rows": len(asked.rows),
        "positions": sum(len(positions) for positions in asked.positions),
        "longest": asked.longest,
        "attention_window": asked.window,
        "past_window": asked.past_window,
    }
    with tempfile.TemporaryDirectory(prefix="kerasft-proof-") as scratch:
        failure = _ask_folder(folder, asked, common["compute_dtype"], Path(scratch))
        if failure:
            return Verification(
                status=FAILED,
                faults=[f"transformers cannot load the folder: {failure}"],
                note="",
                probes=summary,
                versions=versions(),
                **common,
            )
        answer = json.loads((Path(scratch) / "answered.json").read_text(encoding="utf-8"))
        with np.load(Path(scratch) / "logits.npz") as logits:
            comparison = compare_all(_rows(model, asked, logits))
    faults = judge(comparison, bound, trained=_is_trained(model))
    faults += _file_faults(answer) + _stop_faults(model, answer)
    tokenizer, tokenizer_faults = _compare_tokenizers(model, asked, answer)
    faults += tokenizer_faults
    return Verification(
        status=FAILED if faults else PASSED,
        faults=faults,
        note="",
        comparison=comparison,
        greedy=_compare_greedy(model, asked, answer),
        tokenizer=tokenizer,
        probes=summary,
        versions=versions() | answer["versions"],
        **common,
    )


def _rows(
    model: ModelView, asked: Probes, exported: Any
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(live, base, exported) logits at the compared positions, row by row."""
    pad_id, longest = model.tokenizer.pad_id, asked.longest
    with _exact_products():
        for index, (row, positions) in enumerate(zip(asked.rows, asked.positions, strict=True)):
            batch = probing.padded(row, pad_id, longest)
            live = model.logits(batch)[0][positions]
            base = model.base_logits(batch)[0][positions]
            yield live, base, exported[f"logits_{index}"]


def _ask_folder(folder: Path, asked: Probes, compute_dtype: str, scratch: Path) -> str | None:
    """Runs `kerasft.export.reload`; the last line of its error if it fails."""
    arrays = {f"row_{index}": row for index, row in enumerate(asked.rows)}
    arrays |= {f"positions_{index}": at for index, at in enumerate(asked.positions)}
    np.savez(scratch / "rows.npz", **arrays)
    request = {
        "compute_dtype": compute_dtype,
        "prompts": asked.prompts,
        "max_new_tokens": MAX_NEW_TOKENS,
        "texts": asked.texts,
        "message": asked.texts[0],
    }
    (scratch / "asked.json").write_text(json.dumps(request), encoding="utf-8")
    package_root = str(Path(__file__).parents[2])
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")])),
        # The reference is computed on the CPU, where float32 products are float32.
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
    }
    command = [sys.executable, "-m", "kerasft.export.reload"]
    done = subprocess.run(
        [*command, str(folder.absolute()), str(scratch), str(scratch)],
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"exit status {done.returncode}"


@contextmanager
def _exact_products() -> Iterator[None]:
    """Float32 products in full float32 on a GPU, which both frameworks may shorten."""
    if _backend() == "jax":
        import jax

        with jax.default_matmul_precision("highest"):
            yield
        return
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _is_trained(model: ModelView) -> bool:
    """Whether any tensor has a delta that is not zero."""
    deltas = (model.delta(spec.name) for spec in model.family.tensors(model.config))
    return any(delta is not None and bool(np.any(delta)) for delta in deltas)


def _file_faults(answer: dict[str, Any]) -> list[str]:
    """Tensors that transformers missed, did not expect, or found in another shape."""
    return [
        f"{kind.replace('_keys', '')} tensors: {', '.join(names[:5])}"
        + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        for kind, names in answer["loading"].items()
        if names
    ]


def _stop_faults(model: ModelView, answer: dict[str, Any]) -> list[str]:
    """The folder's stop ids against those that the model was trained with."""
    found = answer["eos_token_ids"]
    found = found if isinstance(found, list) else [found]
    expected = stop_ids(model)
    if set(found) == set(expected):
        return []
    return [f"generation stops at the ids {found}; it was trained to stop at {expected}"]


def _compare_tokenizers(
    model: ModelView, asked: Probes, answer: dict[str, Any]
) -> tuple[dict[str, int], list[str]]:
    """Ids of the texts on both sides, and that one BOS is put before a text."""
    differing = [
        text
        for text, ids in zip(asked.texts, answer["texts"], strict=True)
        if model.tokenizer.encode(text) != ids
    ]
    faults = [f"the folder's tokenizer cuts {text!r} into other tokens" for text in differing]
    first = asked.texts[0]
    framed = [model.tokenizer.bos_id, *model.tokenizer.encode(first)]
    if answer["framed"] != framed:
        faults.append(
            f"the folder's tokenizer frames {first!r} as {answer['framed']}, not {framed}"
        )
    chat = _chat_ids(model, first)
    if answer["chat"] != chat:
        faults.append(
            f"the folder's chat template writes {first!r} as {answer['chat']}, not {chat}"
        )
    texts = len(asked.texts)
    return {"texts": texts, "equal": texts - len(differing)}, faults


def _chat_ids(model: ModelView, message: str) -> list[int] | None:
    """One user's turn in the turns of the model's template; None if it has none."""
    if model.template.chat_template() is None:
        return None
    chat = replace(model.template, prompt="", completion="")
    row = {"messages": [{"role": "user", "content": message}]}
    return encode_prompt(row, chat, model.tokenizer)


def _compare_greedy(model: ModelView, asked: Probes, answer: dict[str, Any]) -> dict[str, Any]:
    """Greedy continuations of both. They may part where two tokens are nearly as likely."""
    stops = stop_ids(model)
    with _exact_products():
        live = model.generate_ids(list(asked.prompts), MAX_NEW_TOKENS, stops)
    pairs = [
        (_until_stop(ours, stops), _until_stop(theirs, stops))
        for ours, theirs in zip(live, answer["continuations"], strict=True)
    ]
    decode = model.tokenizer.decode
    return {
        "prompts": len(pairs),
        "max_new_tokens": MAX_NEW_TOKENS,
        "equal": sum(ours == theirs for ours, theirs in pairs),
        "continuations": [
            {"live": decode(ours), "exported": decode(theirs)} for ours, theirs in pairs
        ],
    }


def _until_stop(ids: Sequence[int], stops: Sequence[int]) -> list[int]:
    end = next((index for index, token in enumerate(ids) if token in stops), len(ids))
    return list(ids[:end])


def _weight_dtype(folder: Path) -> str:
    """The coarsest dtype of any tensor in the folder's safetensors files."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ExportError(f"{folder} has no .safetensors file. Expected a Hugging Face folder.")
    found = {entry["dtype"] for file in files for entry in read_header(file).values()}
    unknown = sorted(found - {"float32", "bfloat16", "float16"})
    if unknown or not found:
        raise ExportError(
            f"{folder.name} holds tensors of {', '.join(unknown) or 'no dtype'}; a proof needs "
            "float32, bfloat16 or float16."
        )
    return bound_for(*found)[0]


def _backend() -> str:
    import keras

    return keras.config.backend()
