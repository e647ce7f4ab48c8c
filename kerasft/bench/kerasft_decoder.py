"""kerasft's decoder, as `eval` and `generate --file` use it."""

from pathlib import Path
from typing import Any

from kerasft import backend
from kerasft.bench.decoding import DecodeWork, Decoding, Prompts, measure
from kerasft.bench.work import SEED


def run(work: DecodeWork, prompts: Prompts, variant: str) -> dict[str, Any]:
    """Measure kerasft on a backend."""
    backend.select(variant)
    from kerasft.bench.kerasft_contender import reset_peak
    from kerasft.bench.versions import versions_of
    from kerasft.engine.device import peak_memory_bytes

    decoder = _decoder(work)

    def answer(batch: Prompts) -> list[list[int]]:
        return decoder.generate(batch, max_new_tokens=work.max_new_tokens, stop_ids=work.stop_ids)

    return measure(
        work,
        prompts,
        Decoding(
            answer,
            fill=False,
            reset_peak=lambda: reset_peak(variant),
            peak=peak_memory_bytes,
            notes=["adapter beside the weights"] if work.adapter else [],
            versions=versions_of("keras", "keras-hub", variant),
        ),
    )


def _decoder(work: DecodeWork) -> Any:
    from kerasft.engine.decode import Decoder

    if work.adapter is not None:
        from kerasft.engine.loaded import with_adapter

        return with_adapter(Path(work.adapter), dtype=work.dtype).decoder
    if work.preset is not None:
        from kerasft.models.sources import load_base

        causal_lm = load_base(work.preset, dtype=work.dtype).causal_lm
    else:
        from kerasft.bench.random_weights import random_causal_lm

        causal_lm = random_causal_lm(work.table, work.config, work.dtype, SEED)
    return Decoder(causal_lm, work.table, None)
