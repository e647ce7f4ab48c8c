"""A proof's numbers in words: the rows that a card and the command line show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from kerasft.export.proof import BOUNDS, Bound

Row = tuple[str, str, str]
"""What was compared, what was measured, what was expected ("" where anything goes)."""


def proof_rows(proof: Mapping[str, Any]) -> list[Row]:
    """What was measured, and nothing that was not.

    Args:
        proof: a `Verification` as nested dictionaries.
    """
    return [
        ("compared", str(proof["method"]), ""),
        *_tensor_rows(proof),
        *_logit_rows(proof),
        *_word_rows(proof),
        *_other_rows(proof.get("extra") or {}),
    ]


def _tensor_rows(proof: Mapping[str, Any]) -> Iterator[Row]:
    """The stored tensors against base + delta."""
    found = proof.get("tensors")
    if not found:
        return
    yield (
        "tensors that are base + delta",
        f"{found['tensors'] - found['wrong_tensors']} of {found['tensors']} "
        f"({found['adapted']} adapted, {found['values']:,} values)",
        "all",
    )
    share = f"{found['largest_share']:.0%} of what rounding to {proof['weight_dtype']} may do"
    worst = f" ({found['worst_tensor']})" if found["largest_share"] else ""
    yield "largest error of a value", share + worst, "≤ 100%"
    if found["recovered"] is not None:
        yield "part of the deltas that is in the tensors", f"{found['recovered']:.2%}", "100%"


def _logit_rows(proof: Mapping[str, Any]) -> Iterator[Row]:
    """What the folder answers against what the live model answers."""
    found = proof.get("comparison")
    if not found:
        return
    bound = Bound(**proof["bound"])
    span = found["logit_range"]
    yield (
        "largest logit difference from the live model",
        f"{found['largest_difference']:.3g} (logits span {span:.3g})",
        _at_most(bound.largest_allowed(span)),
    )
    mean = _at_most(bound.mean * span)
    if bound.effect is not None:
        mean = f"≤ {bound.effect:.0%} of the {found['mean_training_effect']:.3g} of training"
    yield "mean logit difference", f"{found['mean_difference']:.3g}", mean
    yield (
        "same most likely token",
        f"{found['top1_agreement']:.1%} of {found['positions']} positions",
        f"≥ {bound.top1:.0%}" if bound.top1 else "",
    )
    yield (
        "mean distance from the base",
        f"{found['mean_distance_from_base']:.3g}",
        "> the difference",
    )
    if found["recovered"] is not None:
        whole = "100%" if bound.effect is None else ""
        yield "part of the training that is in the answers", f"{found['recovered']:.2%}", whole
    greedy = proof.get("greedy")
    if greedy:
        yield "equal greedy continuations", _of(greedy, "prompts"), ""
    yield (
        "computed in",
        f"{proof['compute_dtype']}; Keras on {proof['backend']}, the folder in its own process",
        "",
    )


def _word_rows(proof: Mapping[str, Any]) -> Iterator[Row]:
    """The folder's tokenizer against the one that was trained with."""
    found = proof.get("tokenizer")
    if found:
        yield "texts with equal token ids", _of(found, "texts"), "all"


def _other_rows(extra: Mapping[str, Any]) -> Iterator[Row]:
    """What a format's reader measured besides."""
    ran = extra.get("runs_in")
    if ran:
        title = f"equal greedy continuations in llama.cpp (llama-cpp-python {ran['llama_cpp']})"
        yield title, _of(ran, "of"), ""
    if "merged_difference" in extra:
        yield (
            "largest logit difference after merging in PEFT",
            f"{extra['merged_difference']:.3g}",
            f"≤ {BOUNDS['float32'].absolute:.3g}",
        )


def _at_most(limit: float) -> str:
    return f"≤ {limit:.3g}" if math.isfinite(limit) else ""


def _of(found: Mapping[str, Any], total: str) -> str:
    return f"{found['equal']} of {found[total]}"
