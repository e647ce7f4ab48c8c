"""Loads a Hugging Face folder in transformers: `python -m kerasft.export.readers.hf`."""

from pathlib import Path
from typing import Any

from kerasft.export.readers.answering import (
    Asked,
    answer_rows,
    leave,
    loading_of,
    run,
    surroundings,
    words,
)


def main(folder: Path, scratch: Path) -> None:
    """Answers every probe in the compute dtype that is asked for."""
    import torch
    import transformers

    asked = Asked.read(scratch)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if asked.logits:
        model, found = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, asked.compute_dtype),
            attn_implementation="eager",
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
        loading, continuations = loading_of(found), answer_rows(model, asked)
        architecture, generation = type(model).__name__, model.generation_config
    else:
        loading, continuations = {}, []
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        architecture = (config.architectures or [""])[0]
        generation = _generation(folder, config)
    leave(
        scratch,
        {
            "loading": loading,
            "architecture": architecture,
            "eos_token_ids": generation.eos_token_id,
            "continuations": continuations,
            **words(tokenizer, asked),
            **surroundings("transformers", "tokenizers", "torch"),
        },
    )


def _generation(folder: Path, config: Any) -> Any:
    """The settings that generation would take: the folder's own, or its config's."""
    from transformers import GenerationConfig

    if (folder / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(folder, local_files_only=True)
    return GenerationConfig.from_model_config(config)


if __name__ == "__main__":
    run(main)
