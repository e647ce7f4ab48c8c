"""How a card tells its reader to load an export, one function a format.

Every entry takes the card's facts and gives Markdown without a heading. It says which of the
ways the proof took.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kerasft.export.peft_layout import VLLM_RANKS, vllm_rank

if TYPE_CHECKING:
    from kerasft.export.card_facts import Facts

_VLLM = "vLLM loads the same files; the verification was not made with it:\n"


def use_hf(facts: Facts) -> str:
    """transformers, then vLLM; what to take for Ollama and KerasHub."""
    name = facts.title
    return _lines(
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f'folder = "{name}"  # this folder, or its name on the Hub',
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
        f'model = AutoModelForCausalLM.from_pretrained(folder, dtype="{facts.written["dtype"]}")',
        *_generation(),
        "```\n",
        _VLLM,
        "```bash",
        f"vllm serve ./{name}",
        "```\n",
        "For Ollama and llama.cpp `kerasft export RUN --to gguf` writes a file and a Modelfile, "
        "for KerasHub `--to keras` writes a preset; each has its own verification.\n",
    )


def use_peft(facts: Facts) -> str:
    """PEFT on the base, then vLLM."""
    name = facts.title
    config = facts.adapter_config or {}
    published = config.get("base_model_name_or_path", facts.base_model)
    if "base/config.json" in facts.written["files"]:
        base, origin = f"{name}/base", "the very base, beside the adapter"
    elif published:
        base = published
        origin = (
            "the publisher's own, of which it was trained on a dequantised copy"
            if facts.dequantised
            else "the model that the adapter was trained on"
        )
    else:
        base, origin = "base", "the text model that it was trained on, as a folder"
    revision = config.get("revision") if base == published else None
    given = f'base, revision="{revision}"' if revision else "base"
    lines = [
        "```python",
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig",
        "",
        f'base = "{base}"  # {origin}',
        f'folder = "{name}"  # this folder, or its name on the Hub',
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
        f"model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained({given}), folder)",
        "model.generation_config = GenerationConfig.from_pretrained(folder)  # its stop tokens",
        *_generation(),
        "```\n",
    ]
    ranks = [config.get("r", 1), *(config.get("rank_pattern") or {}).values()]
    bound = vllm_rank(max(ranks))
    if bound is None:
        lines.append(f"vLLM does not load it: its largest rank is {VLLM_RANKS[-1]}.\n")
        return _lines(*lines)
    return _lines(
        *lines,
        _VLLM,
        "```bash",
        f"vllm serve {base}{f' --revision {revision}' if revision else ''} --enable-lora "
        f"--max-lora-rank {bound} \\",
        f"  --lora-modules {name}=./{name} --generation-config ./{name}",
        "```\n",
    )


def use_gguf(facts: Facts) -> str:
    """llama.cpp and Ollama."""
    name = facts.title
    file = next((each for each in facts.written["files"] if each.endswith(".gguf")), "model.gguf")
    return _lines(
        "```bash",
        f'llama-cli -m {file} -p "…" --temp 0                 # llama.cpp',
        f"ollama create {name.lower()} -f Modelfile && ollama run {name.lower()}  # Ollama",
        "```\n",
        "The verification loaded the file with transformers, which it told what the loader of "
        "transformers leaves out of GGUF files, and with llama.cpp where that is named above.\n",
    )


def use_keras(facts: Facts) -> str:
    """KerasHub alone."""
    return _lines(
        "```python",
        "import keras_hub",
        "",
        f'folder, dtype = "{facts.title}", "{facts.written["dtype"]}"',
        "model = keras_hub.models.CausalLM.from_preset(folder, dtype=dtype)",
        'model.compile(sampler="greedy")',
        'print(model.generate("…", max_length=512))',
        "```\n",
    )


USE: dict[str, Callable[[Facts], str]] = {
    "hf": use_hf,
    "peft": use_peft,
    "gguf": use_gguf,
    "keras": use_keras,
}
"""Format → what its card says on loading it."""


def _generation() -> list[str]:
    return [
        'inputs = tokenizer("…", return_tensors="pt")',
        "answer = model.generate(**inputs, max_new_tokens=128)",
        "print(tokenizer.decode(answer[0], skip_special_tokens=True))",
    ]


def _lines(*lines: str) -> str:
    return "\n".join(lines)
