"""The sections of a card, each from its facts alone. One that has nothing to say is empty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kerasft.export.card_facts import DATA_SETS, Facts
from kerasft.export.card_scores import compared, scores, sides
from kerasft.export.card_use import USE
from kerasft.export.proof_table import proof_rows

UNKNOWN_LICENCE = "licence not known to kerasft; state it before you publish the model"

FORMS = {
    "hf": "merged into one model",
    "peft": "kept as an adapter, which is loaded on top of the base",
    "gguf": "merged into one GGUF file",
    "keras": "merged into one KerasHub preset",
}


def head(facts: Facts) -> str:
    """What the model is, in a paragraph, and the words that the base's terms ask for."""
    base = facts.base_model or facts.base_id
    backend = f" ({facts.record['backend']} backend)" if facts.record.get("backend") else ""
    parts = [
        f"# {published_name(facts)}\n",
        f"{base}, fine-tuned with LoRA by kerasft on Keras 3{backend} and {FORMS[facts.format]}: "
        f"{facts.written['parameters']:,} parameters in {facts.written['dtype']}.\n",
    ]
    if facts.dequantised and facts.format != "peft":  # an adapter's own notes say it
        parts.append(
            "The base was read from a quantised copy of the publisher's weights and dequantised "
            f"to {facts.base_dtype}: it is not the publisher's own model, and the fingerprint "
            "below tells the two apart.\n"
        )
    if facts.licence.built_with:
        parts.append(f"**{facts.licence.built_with}**\n")
    parts += [f"{note}\n" for note in facts.written.get("notes") or ()]
    return "\n".join(parts)


def published_name(facts: Facts) -> str:
    """The export's name, begun as the base's terms ask of a model that is passed on."""
    if facts.licence.allows_name(facts.title):
        return facts.title
    return f"{facts.licence.name_prefix} {facts.title}"


def use(facts: Facts) -> str:
    """How to load it, and the prompt that it was trained on."""
    prompt = facts.prompt.rstrip("\n")
    fence = "````" if "```" in prompt else "```"
    return (
        f"## Use\n\n{USE[facts.format](facts).rstrip()}\n\n"
        "It was trained on prompts like this, where `{column}` stands for a column's text and "
        "`[[…]]` is left out when its column is empty:\n\n"
        f"{fence}text\n{prompt}\n{fence}\n\n"
        "Answers end at the stop tokens of the training, which the files name.\n"
    )


def training(facts: Facts) -> str:
    """Data, method and outcome of the run, with the recipe in a fold."""
    recipe, record = facts.recipe, facts.record
    lora, train = recipe["lora"], recipe["train"]
    counted = record.get("data") or {}
    rows = {
        "data": data_with_licence(facts.source),
        "rows": counted.get("rows"),
        "LoRA": f"layout {lora['layout']}, rank {lora['rank']}, alpha "
        f"{lora['alpha'] or lora['rank']:g}, on {', '.join(lora['target_layers'])}",
        "optimizer": f"AdamW, learning rate {train['learning_rate']:g} ({train['schedule']}), "
        f"weight decay {train['weight_decay']:g}",
        "batch": f"{train['batch_size']} × {train['gradient_accumulation']} rows of at most "
        f"{train['sequence_length']} tokens",
        "loss on": "the completion" if recipe["prompt"]["mask_prompt"] else "every token",
        "steps": record.get("steps"),
        "loss": _from_to(record.get("first_loss"), record.get("last_loss")),
        "seed": train["seed"],
        "device": (record.get("device") or {}).get("name"),
        "versions": ", ".join(
            f"{name} {number}" for name, number in (record.get("versions") or {}).items()
        )
        or None,
    }
    fold = (
        "<details><summary>The recipe, every default written out "
        "(<code>kerasft train --recipe recipe.toml</code>)</summary>\n\n"
        f"````toml\n{facts.recipe_toml.rstrip()}\n````\n\n</details>\n"
    )
    return f"## Training\n\n{table(('', ''), given(rows))}\n{fold}"


def evaluation(facts: Facts) -> str:
    """Every score with its interval, of the tuned model and of its base."""
    parts = []
    for name, result in facts.scores.items():
        rows = [score.shown() for score in scores(sides(result))]
        if not rows:
            continue
        described = result.get("data") or {}
        on = ", ".join(str(described[key]) for key in ("source", "which") if described.get(key))
        parts.append(
            f"### {name}\n\n"
            + (f"On {on}; greedy decoding.\n\n" if on else "")
            + table(("score", "value", "95 % interval", "of"), rows)
        )
        sentence = compared(result.get("comparison") or {})
        if sentence:
            parts.append(f"{sentence}\n")
        forgotten = _forgotten(result.get("forgetting") or {})
        if forgotten:
            parts.append(f"{forgotten}\n")
    return "## Scores\n\n" + "\n".join(parts) if parts else ""


def verification(facts: Facts) -> str:
    """What the proof compared, by which method, and how near the two are."""
    proof = facts.verification
    rows = proof_rows(proof)
    if proof["status"] == "passed":
        note = f"\n{proof['note']}\n" if proof["note"] else ""
    else:
        note = f"\nNot verified in full. {proof['note']}\n"
    return (
        f"## Verification\n\n{table(('', 'measured', 'expected'), rows)}{note}"
        "\nSee `verification.json`; `kerasft export RUN --verify DIR` makes it again.\n"
    )


def limits(facts: Facts) -> str:
    """What a reader should not expect of the model."""
    parts = [
        "It knows the prompts and the data named above; on others it may answer worse than its "
        "base.",
        "What the base does wrong it may still do: nothing was done here about safety, bias or "
        "facts.",
    ]
    if not facts.scores:
        parts.insert(0, "It was not scored: how good its answers are is not known.")
    if facts.recipe["task"] == "text_to_sql":
        parts.append(
            "A wrong query often looks right and runs. Read the SQL, and run it with rights to "
            "read alone."
        )
    if facts.family == "gemma3" and facts.format != "gguf":  # llama.cpp adds up in float32
        parts.append("Gemma 3 overflows in float16: load it in bfloat16 or float32.")
    return "## Limits\n\n" + "".join(f"- {part}\n" for part in parts)


def terms(facts: Facts) -> str:
    """The base's licence and the data's."""
    licence = facts.licence
    how = (
        "The adapter was trained on its weights"
        if facts.format == "peft"
        else "They were modified by merging an adapter"
    )
    return (
        "## Terms\n\n"
        f"The weights derive from {facts.base_id} and are under the {licence.name} "
        f"({licence.page}); see NOTICE. {how}. {licence.asks} Data: "
        f"{data_with_licence(facts.source)}. Fingerprint of the base: `{facts.fingerprint}`.\n"
    )


def data_with_licence(source: str) -> str:
    """A data set with what is known of its licence."""
    known = DATA_SETS.get(source)
    if known is None:
        return f"{source} ({UNKNOWN_LICENCE})"
    return f"{source} ({known.licence}{f'; {known.note}' if known.note else ''})"


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "".join("| " + " | ".join(_cell(cell) for cell in line) + " |\n" for line in lines)


def given(rows: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The rows that have a value, as text."""
    return [(key, str(value)) for key, value in rows.items() if value is not None]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _from_to(first: float | None, last: float | None) -> str | None:
    return None if first is None or last is None else f"{first:.3f} at first, {last:.3f} at last"


def _forgotten(found: Mapping[str, Any]) -> str:
    """How the perplexity on other data changed; "" where it was not measured."""
    tuned, base = ((found.get(side) or {}).get("perplexity") for side in ("tuned", "base"))
    source = (found.get("data") or {}).get("source")
    if tuned is None or base is None or not source:
        return ""
    return f"What it forgot: perplexity {tuned:.1f} on {source}, the base's {base:.1f}."
