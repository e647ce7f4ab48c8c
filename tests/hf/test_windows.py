"""What transformers is given of a window: the same targets, and rows that stay apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kerasft.hf.batches import IGNORED, supervised
from kerasft.hf.models import random_model
from kerasft.hf.windows import inputs
from kerasft.models.families import FAMILIES
from tests.hf.rows import VOCABULARY, packed
from tests.tiny import WINDOW, tiny_config


@pytest.mark.parametrize("packing", [True, False])
def test_after_transformers_shift_the_targets_are_the_windows(packing: bool) -> None:
    source = packed(packing=packing)
    for index in range(source.steps_per_epoch):
        window = source.window(0, index)
        for micro in range(2):
            batch = inputs(window, micro)
            assert {value.dtype for value in batch.values()} == {torch.int64}
            # transformers puts -100 after the last label and drops the first one.
            shifted = torch.nn.functional.pad(batch["labels"], (0, 1), value=IGNORED)[:, 1:]
            flat = shifted.flatten().numpy()
            used = window.weights[micro] > 0
            places = window.gather_indices[micro][used]
            np.testing.assert_array_equal(flat[places], window.targets[micro][used])
            assert (np.delete(flat, places) == IGNORED).all()
            assert supervised(batch) == used.sum()


@pytest.mark.parametrize("family", ["gemma2", "gemma3", "llama3"])
def test_a_row_of_the_data_sees_no_other_one_beside_it(family: str) -> None:
    """Without a mask: Gemma 3 and 2 with windows of local attention, Llama without."""
    table, config = FAMILIES[family], tiny_config(family)
    model = random_model(
        table.hf_config(config, dtype="float32", bos_id=2, eos_ids=[1], pad_id=0), "float32", 0
    ).eval()
    window = packed().window(0, 0)
    row = next(row for row in range(2) if window.segment_ids[0, row].max() > 2)
    segments = torch.from_numpy(window.segment_ids[0])
    second = segments[row] == 2
    assert second.sum() > 2 * WINDOW or family == "llama3"

    def logits(changed: int) -> torch.Tensor:
        batch = inputs(window, 0)
        where = torch.zeros_like(segments, dtype=torch.bool)
        where[row] = segments[row] == changed
        moved = (batch["input_ids"] + 1) % VOCABULARY
        ids = torch.where(where, moved, batch["input_ids"])
        with torch.no_grad():
            found = model(input_ids=ids, position_ids=batch["position_ids"], use_cache=False)
        return found.logits[row][second]

    alone = logits(changed=-1)
    assert torch.equal(logits(changed=1), alone)  # the one before it
    assert torch.equal(logits(changed=3), alone)  # the one after it, or the padding
    assert not torch.equal(logits(changed=2), alone)
    # And it is what it would be by itself.
    ids = torch.from_numpy(window.token_ids[0, row].astype(np.int64))[second][None]
    with torch.no_grad():
        by_itself = model(input_ids=ids, use_cache=False).logits[0]
    torch.testing.assert_close(alone, by_itself, rtol=1e-4, atol=1e-4)
