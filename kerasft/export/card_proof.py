"""A proof's numbers in words: the rows that a card and the command line show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kerasft.export.proof import Bound


def proof_rows(proof: Mapping[str, Any]) -> dict[str, str | None]:
    """What was compared → what was found, with its bound; None where it was not measured.

    Args:
        proof: a `Verification` as nested dictionaries.
    """
    tokenizer = proof.get("tokenizer") or {}
    return {
        "method": proof["method"],
        **tensor_rows(proof),
        **logit_rows(proof),
        "texts with equal token ids": _of(tokenizer, "texts"),
    }


def tensor_rows(proof: Mapping[str, Any]) -> dict[str, str | None]:
    """The comparison of the stored tensors with base + delta."""
    found = proof.get("tensors")
    if not found:
        return {}
    recovered = found["recovered"]
    return {
        "tensors held against base + delta": f"{found['tensors']}, {found['adapted']} of them "
        f"adapted; {found['values']:,} values",
        f"largest difference of a value, where rounding to {proof['weight_dtype']} allows 100 %": (
            f"{found['largest_share']:.0%} ({found['worst_tensor']})"
        ),
        "part of the deltas that is in the tensors": None
        if recovered is None
        else f"{recovered:.2%}",
    }


def logit_rows(proof: Mapping[str, Any]) -> dict[str, str | None]:
    """The comparison of what the folder answers with what the live model answers."""
    measured = proof.get("comparison")
    if not measured:
        return {}
    largest = Bound(**proof["bound"]).largest_allowed(measured["logit_range"])
    recovered = measured["recovered"]
    return {
        "largest logit difference from the trained Keras model": (
            f"{measured['largest_difference']:.3g} (at most {largest:.3g}; "
            f"logits span {measured['logit_range']:.3g})"
        ),
        "mean logit difference": f"{measured['mean_difference']:.3g}",
        "same most likely token": f"{measured['top1_agreement']:.1%} of "
        f"{measured['positions']} positions",
        "mean distance from the base": f"{measured['mean_distance_from_base']:.3g}",
        "part of the training that is in the export": None
        if recovered is None
        else f"{recovered:.2%}",
        "greedy continuations that are equal": _of(proof.get("greedy") or {}, "prompts"),
        "computed in": f"{proof['compute_dtype']}; Keras on {proof['backend']}, the folder in a "
        "process of its own",
    }


def _of(found: Mapping[str, Any], total: str) -> str | None:
    return f"{found['equal']} of {found[total]}" if found else None
