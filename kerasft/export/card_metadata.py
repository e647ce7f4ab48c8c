"""The front matter of a card: what the Hub shows, searches and links by."""

from __future__ import annotations

import json
import re
from typing import Any

from kerasft.export.card_facts import DATA_SETS, Facts
from kerasft.export.card_scores import model_index

LIBRARIES = {"hf": "transformers", "peft": "peft", "gguf": "gguf", "keras": "keras-hub"}
"""Format → the Hub's name of the library that loads it."""

_TAGS = {"gguf": ["llama.cpp", "ollama"]}


def front_matter(facts: Facts) -> str:
    """The metadata block. Values are written as JSON, which is YAML too.

    A merged model is a `finetune` of its base in every format: `quantized` is the Hub's word
    for the base's own weights in smaller numbers, and people look for those under it.
    """
    known = DATA_SETS.get(facts.source)
    relation = "adapter" if facts.format == "peft" else "finetune"
    task = facts.recipe["task"]
    fields: dict[str, Any] = {
        "license": facts.licence.hub,
        "language": [known.language] if known else None,
        "library_name": LIBRARIES[facts.format],
        "pipeline_tag": "text-generation",
        "base_model": facts.base_model,
        "base_model_relation": relation if facts.base_model else None,
        "datasets": [facts.source] if re.fullmatch(r"[\w.-]+/[\w.-]+", facts.source) else None,
        "tags": [
            "kerasft",
            "keras",
            "lora",
            task.replace("_", "-"),
            *_TAGS.get(facts.format, []),
        ],
        "model-index": model_index(facts.title, task, facts.scores),
    }
    lines = [
        f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items() if value
    ]
    return "\n".join(["---", *lines, "---", ""])
