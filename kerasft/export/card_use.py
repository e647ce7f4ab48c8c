"""How a card tells its reader to load an export, one function a format.

Every entry takes the card's facts and gives Markdown without a heading. The first block of
each is what the proof itself loads the folder with; the others are named as such.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kerasft.export.card_facts import Facts

_UNPROVED = "These load the same files; the verification was not made with them.\n"


def use_hf(facts: Facts) -> str:
    """transformers, then vLLM, Ollama and KerasHub."""
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
        _UNPROVED,
        "```bash",
        f"vllm serve {name}                                   # vLLM",
        f'echo "FROM ./{name}" > Modelfile && ollama create {name.lower()} -f Modelfile  # Ollama',
        "```\n",
        "```python",
        "import keras_hub  # KerasHub",
        "",
        f'model = keras_hub.models.CausalLM.from_preset("{name}")',
        "```\n",
    )


def use_peft(facts: Facts) -> str:
    """PEFT on the base, then vLLM."""
    name, base = facts.title, facts.base_model or facts.base_id
    config = facts.adapter_config
    rank = max([config["r"], *config.get("rank_pattern", {}).values()]) if config else None
    bound = f" --max-lora-rank {rank}" if rank else ""
    return _lines(
        "```python",
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f'base = "{base}"  # the model that the adapter was trained on',
        f'folder = "{name}"  # this folder, or its name on the Hub',
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
        "model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)",
        *_generation(),
        "```\n",
        _UNPROVED,
        "```bash",
        f"vllm serve {base} --enable-lora{bound} --lora-modules {name}=./{name}  # vLLM",
        "```\n",
    )


def use_gguf(facts: Facts) -> str:
    """llama.cpp and Ollama, then transformers."""
    name = facts.title
    file = next((each for each in facts.written["files"] if each.endswith(".gguf")), "model.gguf")
    return _lines(
        "```bash",
        f'llama-cli -m {file} -p "…" --temp 0                 # llama.cpp',
        f"ollama create {name.lower()} -f Modelfile && ollama run {name.lower()}  # Ollama",
        "```\n",
        "The verification read the file back with transformers:\n",
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f'folder, file = "{name}", "{file}"',
        "tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)",
        "model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file)",
        "```\n",
    )


def use_keras(facts: Facts) -> str:
    """KerasHub alone."""
    return _lines(
        "```python",
        "import keras_hub",
        "",
        f'model = keras_hub.models.CausalLM.from_preset("{facts.title}")',
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
