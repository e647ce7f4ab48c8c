"""A kerasft window as transformers takes it."""

import numpy as np
import torch

from kerasft.data.batching import Window
from kerasft.hf.batches import IGNORED


def inputs(window: Window, micro_batch: int) -> dict[str, torch.Tensor]:
    """A micro-batch on the CPU: `input_ids`, `position_ids`, `labels`, int64 (B, L) each.

    There is no attention mask: where it is left out and nothing is cached, transformers 5
    confines attention to the segments at whose starts `position_ids` fall back to 0.

    A label stands at its own token, since transformers' losses shift them: after the shift
    the targets are the window's, and all else is -100. The padding at the end of a row is a
    segment of its own, without labels.

    Args:
        window: of A micro-batches.
        micro_batch: index of one of them.
    """
    token_ids = window.token_ids[micro_batch].astype(np.int64)
    labels = np.full(token_ids.size, IGNORED, np.int64)
    used = window.weights[micro_batch] > 0
    # No row's last place has a target, so the next place is of the same row.
    labels[window.gather_indices[micro_batch][used] + 1] = window.targets[micro_batch][used]
    return {
        "input_ids": torch.from_numpy(token_ids),
        "position_ids": torch.from_numpy(window.position_ids[micro_batch].astype(np.int64)),
        "labels": torch.from_numpy(labels.reshape(token_ids.shape)),
    }
