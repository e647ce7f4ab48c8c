"""Causal language models of transformers, with PEFT's LoRA on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from kerasft.engine.device import torch_kind
from kerasft.models.families import Family


def device() -> str:
    """Where training runs."""
    kind = torch_kind()
    return kind if kind == "cuda" else "cpu"


def attention_for(config: Mapping[str, Any]) -> str:
    """The fastest attention of transformers that needs no other package and is right.

    `sdpa` leaves the soft cap of attention logits out, which Gemma 2 has.
    """
    return "eager" if config.get("attn_logit_softcapping") else "sdpa"


def random_model(
    config: Mapping[str, Any], dtype: str, seed: int, attention: str | None = None
) -> PreTrainedModel:
    """A model of a config.json with transformers' own random weights, made on the device."""
    torch.manual_seed(seed)
    with torch.device(device()):
        return AutoModelForCausalLM.from_config(
            AutoConfig.for_model(**config),
            dtype=getattr(torch, dtype),
            attn_implementation=attention or attention_for(config),
        )


def folder_model(
    folder: str | Path, config: Mapping[str, Any], dtype: str, attention: str | None = None
) -> PreTrainedModel:
    """A model of a local folder, on the device.

    Args:
        config: its config.json.
    """
    return AutoModelForCausalLM.from_pretrained(
        str(folder),
        dtype=getattr(torch, dtype),
        attn_implementation=attention or attention_for(config),
        local_files_only=True,
    ).to(device())


def with_lora(
    model: PreTrainedModel,
    family: Family,
    config: Mapping[str, Any],
    *,
    rank: int,
    alpha: float,
    dropout: float,
    targets: Sequence[str],
) -> PeftModel:
    """Freeze a model and put PEFT's adapter on its blocks, in float32.

    Args:
        family, config: say what transformers calls the canonical `targets`.
    """
    return get_peft_model(
        model, lora_config(family, config, rank=rank, alpha=alpha, dropout=dropout, targets=targets)
    )


def lora_config(
    family: Family,
    config: Mapping[str, Any],
    *,
    rank: int,
    alpha: float,
    dropout: float,
    targets: Sequence[str],
) -> LoraConfig:
    """PEFT's settings for an adapter on canonical targets."""
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=module_names(family, config, targets),
        task_type="CAUSAL_LM",
        bias="none",
    )


def module_names(family: Family, config: Mapping[str, Any], targets: Sequence[str]) -> list[str]:
    """What transformers calls the layers of canonical targets, such as `q_proj`."""
    return [
        spec.hf.split(".")[-2]
        for spec in family.tensors(config)
        if spec.layer == 0 and spec.target in targets
    ]


def trained_parameters(model: torch.nn.Module) -> int:
    """Number of values that training changes."""
    return sum(value.numel() for value in model.parameters() if value.requires_grad)


def placeholder_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with the special tokens alone, for trainers that insist on one.

    Rows come to them as token ids.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    special = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(special, unk_token="<unk>")),
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
    )
