"""KerasHub as it comes: `enable_lora`, `compile` and `fit`, padded rows, full logits."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasft import backend
from kerasft.bench.stopwatch import Counts, Stopwatch
from kerasft.bench.versions import versions_of
from kerasft.bench.work import CLIP_NORM, LEARNING_RATE, SEED, Work, supervised_tokens
from kerasft.data.examples import Example
from kerasft.models.families.base import follow


def run(work: Work, examples: Sequence[Example], variant: str) -> dict[str, Any]:
    """Measure stock KerasHub on a backend.

    Only the reduction of the loss differs from KerasHub's default: the mean over the
    supervised tokens, as all contenders have it.
    """
    backend.select(variant)
    import keras

    from kerasft.bench.kerasft_contender import model, reset_peak
    from kerasft.engine.device import peak_memory_bytes

    scope = keras.RematScope(mode="full") if work.remat else contextlib.nullcontext()
    with scope:
        causal_lm = model(work)
    _enable_lora(causal_lm.backbone, work)
    causal_lm.compile(
        optimizer=keras.optimizers.AdamW(
            LEARNING_RATE, weight_decay=0.0, global_clipnorm=CLIP_NORM
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        ),
    )
    batches = _batches(examples, work)
    plan = work.plan(len(batches))
    stopwatch = Stopwatch(plan, lambda: _synchronise(causal_lm))
    means: dict[int, float] = {}

    class Timing(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
            stopwatch.step(_counts(batches[batch % len(batches)]))
            if batch == 0 or batch >= plan.total - 2:
                means[batch] = float((logs or {})["loss"])

    class Batches(keras.utils.PyDataset):
        def __len__(self) -> int:
            return plan.total

        def __getitem__(self, index: int) -> tuple[Any, ...]:
            return _arrays(batches[index % len(batches)], work.batch_size, work.length)

    reset_peak(variant)
    stopwatch.start()
    # KerasHub's own `fit` first sends rows through tf.data or Grain, to tokenise them.
    keras.Model.fit(causal_lm, Batches(), callbacks=[Timing()], verbose=0, shuffle=False)
    trained = sum(int(np.prod(variable.shape)) for variable in causal_lm.trainable_variables)
    return {
        **stopwatch.result(),
        "steps_per_epoch": len(batches),
        "adapter_parameters": trained,
        "first_loss": means[0],
        "last_loss": _last(means, plan.total),
        "peak_memory_bytes": peak_memory_bytes(),
        "versions": versions_of("keras", "keras-hub", variant),
        "notes": [f"every row padded to {work.length}"],
    }


def _enable_lora(backbone: Any, work: Work) -> None:
    """KerasHub's own LoRA on the layers that carry the targets."""
    paths = [work.table.targets[target] for target in work.targets]
    block = work.table.blocks(backbone)[0]
    backbone.enable_lora(work.rank, target_layer_names=[follow(block, path).name for path in paths])


def _batches(examples: Sequence[Example], work: Work) -> list[list[Example]]:
    """Rows in a random order, `batch_size` at a time; what does not fill a batch is left out."""
    order = np.random.default_rng(SEED).permutation(len(examples))
    whole = len(order) - len(order) % work.batch_size
    return [[examples[row] for row in rows] for rows in order[:whole].reshape(-1, work.batch_size)]


def _arrays(batch: Sequence[Example], size: int, length: int) -> tuple[Any, ...]:
    """Inputs, next tokens and their weights, as KerasHub's preprocessor makes them."""
    token_ids, padding_mask, targets = (np.zeros((size, length), np.int32) for _ in range(3))
    weights = np.zeros((size, length), np.float32)
    for place, example in enumerate(batch):
        count = len(example.token_ids)
        token_ids[place, :count] = example.token_ids
        padding_mask[place, :count] = 1
        targets[place, : count - 1] = example.token_ids[1:]
        weights[place, : count - 1] = example.loss_weights[1:]
    return {"token_ids": token_ids, "padding_mask": padding_mask}, targets, weights


def _counts(batch: Sequence[Example]) -> Counts:
    return Counts(
        len(batch),
        sum(len(example.token_ids) for example in batch),
        sum(map(supervised_tokens, batch)),
    )


def _synchronise(causal_lm: Any) -> None:
    import keras

    if keras.backend.backend() == "torch":
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
    else:
        import jax

        # What the next step will read; `fit` holds it here between two steps.
        jax.block_until_ready(causal_lm._jax_state["trainable_variables"])


def _last(means: Mapping[int, float], steps: int) -> float:
    """The loss of the last step, from Keras' running means of the last two."""
    if steps < 2:
        return means[0]
    return steps * means[steps - 1] - (steps - 1) * means[steps - 2]
