"""Whether a folder speaks as the model was trained to: tokens, turns, stops, greedy text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kerasft.data.examples import encode_prompt
from kerasft.export.asking import MAX_NEW_TOKENS
from kerasft.export.probes import Probes
from kerasft.export.views import stop_ids

if TYPE_CHECKING:
    from kerasft.export.formats import Format
    from kerasft.export.views import WeightsView


def loading_faults(answer: dict[str, Any]) -> list[str]:
    """Tensors that the folder's loader missed, did not expect, or found in another shape."""
    return [
        f"{kind.replace('_keys', '')} tensors: {', '.join(names[:5])}"
        + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        for kind, names in answer["loading"].items()
        if names
    ]


def compare_words(
    weights: WeightsView, form: Format, probes: Probes, answer: dict[str, Any]
) -> tuple[dict[str, int], list[str]]:
    """The folder's tokenizer, chat template and stop ids against the model's.

    What the format does not say is not compared.

    Returns:
        How many texts were compared and how many have equal ids, and every fault.
    """
    faults = _stop_faults(weights, answer)
    if answer["texts"] is None:  # and without a tokenizer there are no turns
        return {}, faults
    if form.chat:
        faults += _chat_faults(weights, probes, answer)
    differing = [
        text
        for text, ids in zip(probes.texts, answer["texts"], strict=True)
        if weights.tokenizer.encode(text) != ids
    ]
    faults += [f"the folder's tokenizer cuts {text!r} into other tokens" for text in differing]
    first = probes.texts[0]
    framed = [weights.tokenizer.bos_id, *weights.tokenizer.encode(first)]
    if answer["framed"] is not None and answer["framed"] != framed:
        faults.append(
            f"the folder's tokenizer frames {first!r} as {answer['framed']}, not {framed}"
        )
    texts = len(probes.texts)
    return {"texts": texts, "equal": texts - len(differing)}, faults


def compare_greedy(
    weights: WeightsView, live: Sequence[Sequence[int]], answer: dict[str, Any]
) -> dict[str, Any]:
    """Greedy continuations of both. They may part where two tokens are nearly as likely."""
    stops = stop_ids(weights)
    pairs = [
        (_until_stop(ours, stops), _until_stop(theirs, stops))
        for ours, theirs in zip(live, answer["continuations"], strict=True)
    ]
    decode = weights.tokenizer.decode
    return {
        "prompts": len(pairs),
        "max_new_tokens": MAX_NEW_TOKENS,
        "equal": sum(ours == theirs for ours, theirs in pairs),
        "continuations": [
            {"live": decode(ours), "exported": decode(theirs)} for ours, theirs in pairs
        ],
    }


def _stop_faults(weights: WeightsView, answer: dict[str, Any]) -> list[str]:
    """The folder's stop ids against those that the model was trained with."""
    found = answer["eos_token_ids"]
    if found is None:
        return []
    found = found if isinstance(found, list) else [found]
    expected = stop_ids(weights)
    if set(found) == set(expected):
        return []
    return [f"generation stops at the ids {found}; it was trained to stop at {expected}"]


def _chat_faults(weights: WeightsView, probes: Probes, answer: dict[str, Any]) -> list[str]:
    """One user's turn as the folder writes it against the turns of the model's template."""
    message = probes.texts[0]
    expected = None
    if weights.template.chat_template() is not None:
        chat = replace(weights.template, prompt="", completion="")
        row = {"messages": [{"role": "user", "content": message}]}
        expected = encode_prompt(row, chat, weights.tokenizer)
    if answer["chat"] == expected:
        return []
    return [f"the folder's chat template writes {message!r} as {answer['chat']}, not {expected}"]


def _until_stop(ids: Sequence[int], stops: Sequence[int]) -> list[int]:
    end = next((index for index, token in enumerate(ids) if token in stops), len(ids))
    return list(ids[:end])
