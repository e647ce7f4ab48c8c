"""How much disk a run will write, before it writes any of it."""

from kerasft.memory import trainable_parameters
from kerasft.models.families import FAMILIES
from kerasft.models.sources import describe_base
from kerasft.recipe import Recipe

LEAST = 64 << 20
"""Bytes asked for in any case: a disk with less left has none for logs and caches."""

_ADAPTER_BYTES = 4
"""Of a parameter in adapter.safetensors."""

_STATE_BYTES = 12
"""Of a parameter in a checkpoint: its value and AdamW's two moments, float32."""

_LINE_BYTES = 400
"""Of a line of metrics.jsonl, roughly."""

_REST = 4 << 20
"""run.json, the state beside the tensors, the plots."""


def run_bytes(recipe: Recipe, steps: int) -> int:
    """What a run folder takes at its largest.

    While something is written, the older ones are still there: the adapter twice, and one
    checkpoint more than are kept.

    Args:
        recipe: the resolved recipe.
        steps: optimizer steps of the whole run.

    Returns:
        Bytes; `LEAST` where the base's shapes are not known here.
    """
    base = describe_base(recipe.model.preset)
    if base.family is None or base.config is None:
        return LEAST
    parameters = trainable_parameters(FAMILIES[base.family], base.config, recipe.lora)
    checkpoints = (recipe.train.keep_checkpoints + 1) * _STATE_BYTES * parameters
    adapters = 2 * _ADAPTER_BYTES * parameters
    return max(LEAST, checkpoints + adapters + _LINE_BYTES * steps + _REST)
