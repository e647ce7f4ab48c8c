"""kerasft as `train` runs it: the same windows, the same step, driven by `fit`."""

from collections.abc import Sequence
from typing import Any

from kerasft import backend
from kerasft.bench.stopwatch import Counts, Stopwatch
from kerasft.bench.work import SEED, Work
from kerasft.data.batching import WindowSource
from kerasft.data.examples import Example


def run(work: Work, examples: Sequence[Example], variant: str) -> dict[str, Any]:
    """Measure kerasft.

    Args:
        work, examples: what is done.
        variant: the backend, or `BACKEND-QUANTIZATION` with that `model.quantization`.

    Raises:
        ModelError: this device does not have the quantisation.
    """
    chosen, _, quantization = variant.partition("-")
    backend.select(chosen)
    import keras

    from kerasft.bench.versions import versions_of
    from kerasft.engine.callbacks import EpochWindows
    from kerasft.engine.device import chunk_bytes, peak_memory_bytes
    from kerasft.engine.finetuner import FineTuner
    from kerasft.engine.progress import Progress
    from kerasft.engine.quantization import check_device
    from kerasft.models.lora import attach

    if quantization:
        check_device(chosen, quantization)
    causal_lm = model(work)
    lora = attach(causal_lm, work.table, work.lora, SEED)
    steps_per_epoch = WindowSource(examples, work.train()).steps_per_epoch
    plan = work.plan(steps_per_epoch)
    settings = work.train(epochs=-(-plan.total // steps_per_epoch))
    source = WindowSource(examples, settings)
    tuner = FineTuner(
        causal_lm.backbone,
        work.table,
        lora,
        chunk_bytes=chunk_bytes(work.remat),
        remat=work.remat,
        compiled=settings.compile != "off",
        quantization=quantization or "none",
    )
    tuner.prepare(settings, plan.total)
    stopwatch = Stopwatch(plan, tuner.flush)
    progress = Progress()
    losses: list[float] = []
    epoch_rows: list[int] = []

    class Timing(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            counts = source.counts(progress.epoch, progress.window)
            rows = epoch_rows[progress.window]
            stopwatch.step(Counts(rows, counts.tokens, counts.supervised_tokens))
            progress.step += 1
            progress.window += 1
            losses.extend(metrics["loss"] for metrics in tuner.drain())

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            progress.epoch, progress.window = epoch + 1, 0

    reset_peak(chosen)
    timing = Timing()
    stopwatch.start()
    while progress.step < plan.total:
        epoch_rows = [sum(map(len, rows)) for rows in source.plan(progress.epoch)]
        tuner.fit(
            EpochWindows(tuner, source, progress, plan.total),
            initial_epoch=progress.epoch,
            epochs=progress.epoch + 1,
            callbacks=[timing],
            verbose=0,
            shuffle=False,
        )
    return {
        **stopwatch.result(),
        "steps_per_epoch": steps_per_epoch,
        "adapter_parameters": lora.parameters,
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "peak_memory_bytes": peak_memory_bytes(),
        "versions": versions_of("keras", "keras-hub", chosen),
        "compilations": tuner.compilations,
        "input_share": tuner.input_seconds / stopwatch.total_seconds,
        "notes": [*tuner.notes, f"{source.padding_share:.1%} padding"],
    }


def model(work: Work) -> Any:
    """The KerasHub causal LM of a work: real weights of a preset, or random ones."""
    if work.preset is not None:
        from kerasft.models.sources import load_base

        return load_base(work.preset, dtype=work.dtype).causal_lm
    from kerasft.bench.random_weights import random_causal_lm

    return random_causal_lm(work.table, work.config, work.dtype, SEED)


def reset_peak(variant: str) -> None:
    """Forget the memory of loading, which torch can and JAX cannot."""
    if variant == "torch":
        import torch

        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
