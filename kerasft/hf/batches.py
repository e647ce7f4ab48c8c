"""Examples as transformers takes them: padded to the longest row of a batch."""

from collections.abc import Sequence

import numpy as np
import torch

from kerasft.data.examples import Example

IGNORED = -100
"""The label that transformers' losses leave out."""


def padded(examples: Sequence[Example], pad_id: int = 0) -> dict[str, torch.Tensor]:
    """A micro-batch on the CPU: `input_ids`, `attention_mask`, `labels`, int64 (rows, length).

    Labels stand at their own token; transformers shifts them.
    """
    length = max(len(example.token_ids) for example in examples)
    shape = (len(examples), length)
    input_ids = np.full(shape, pad_id, np.int64)
    attention_mask = np.zeros(shape, np.int64)
    labels = np.full(shape, IGNORED, np.int64)
    for place, example in enumerate(examples):
        count = len(example.token_ids)
        input_ids[place, :count] = example.token_ids
        attention_mask[place, :count] = 1
        labels[place, :count] = np.where(example.loss_weights > 0, example.token_ids, IGNORED)
    return {
        "input_ids": torch.from_numpy(input_ids),
        "attention_mask": torch.from_numpy(attention_mask),
        "labels": torch.from_numpy(labels),
    }


def supervised(batch: dict[str, torch.Tensor]) -> int:
    """Targets of a micro-batch: labels that count, the first of a row left out."""
    return int((batch["labels"][:, 1:] != IGNORED).sum())
