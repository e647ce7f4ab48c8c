"""The weights of a work as a Hugging Face folder, for contenders that read one.

Made in a process of its own: Keras writes real weights, transformers random ones.
"""

from pathlib import Path
from typing import Any

from kerasft import backend
from kerasft.bench.decoding import DecodeWork
from kerasft.bench.work import SEED, Work


def write_folder(work: Work, folder: Path) -> dict[str, Any]:
    """Write weights, configuration and a tokenizer.

    Returns:
        `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if work.preset is None:
        from kerasft.hf.models import placeholder_tokenizer, random_model

        random_model(hf_config(work), work.dtype, SEED).save_pretrained(folder)
        placeholder_tokenizer().save_pretrained(folder)
    else:
        backend.select("torch")
        _write_preset(work.preset, work.dtype, folder)
    return {"folder": str(folder)}


def write_decode_folder(work: DecodeWork, folder: Path) -> dict[str, Any]:
    """Write the real weights of a work, with its adapter merged into them where it has one.

    Returns:
        `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    backend.select("torch")
    if work.adapter is None:
        _write_preset(str(work.preset), work.dtype, folder)
    else:
        from kerasft.engine.loaded import with_adapter
        from kerasft.export.hf import write_hf

        write_hf(with_adapter(Path(work.adapter), dtype=work.dtype), folder, dtype=work.dtype)
    return {"folder": str(folder)}


def hf_config(work: Work | DecodeWork) -> dict[str, Any]:
    """config.json of a shape; its special tokens are those of `placeholder_tokenizer`."""
    return work.table.hf_config(work.config, dtype=work.dtype, bos_id=2, eos_ids=[1], pad_id=0)


def _write_preset(preset: str, dtype: str, folder: Path) -> None:
    from kerasft.data.prompts import template_for
    from kerasft.engine.loaded import load_bare
    from kerasft.export.hf import write_hf
    from kerasft.recipe import PromptSettings

    template = template_for(PromptSettings(template="instruction"), "instruct")
    write_hf(load_bare(preset, template, "instruct", dtype=dtype), folder, dtype=dtype)
