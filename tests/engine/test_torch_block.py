"""The frozen tensors of a block, laid out for the step."""

from __future__ import annotations

import keras
import numpy as np
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("the step of the other backend", allow_module_level=True)

from kerasft.engine.torch_block import GROUPS, lay_out
from kerasft.models.architecture import blocks_of
from kerasft.models.families import FAMILIES
from tests.engine.tuning import small_model, with_lora

pytestmark = pytest.mark.keras


@pytest.mark.parametrize("family", list(FAMILIES))
def test_kernels_laid_side_by_side_are_the_same_kernels_and_no_copies(family):
    causal_lm = small_model(family)
    table = FAMILIES[family]
    config = table.config_of(causal_lm.backbone)
    specs = {spec.name: spec for spec in table.tensors(config)}
    before = {
        name: np.array(spec.variable(causal_lm.backbone).numpy()) for name, spec in specs.items()
    }
    lora = with_lora(causal_lm, family, target_layers=["query"])
    blocks = blocks_of(causal_lm.backbone, specs.values(), table.architecture(config).kinds, lora)
    laid = [lay_out(block) for block in blocks]
    for name, spec in specs.items():
        np.testing.assert_array_equal(
            spec.variable(causal_lm.backbone).numpy(), before[name], err_msg=name
        )
    # As many bytes as the model has: the joined matrices are all that is kept.
    adapter = {id(variable) for variable in lora.variables}
    variables = [v.value for v in causal_lm.backbone.weights if id(v) not in adapter]
    joined = [tensor for tensors in laid for tensor in tensors.values()]
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in variables + joined
    }
    assert sum(storages.values()) == sum(4 * value.size for value in before.values())
    for index, tensors in enumerate(laid):
        for group, targets in GROUPS.items():
            matrices = [
                spec.to_hf(before[spec.name]).T
                for target in targets
                for spec in specs.values()
                if spec.layer == index and spec.target == target
            ]
            np.testing.assert_array_equal(tensors[group].numpy(), np.concatenate(matrices, 1))
    # Assigning, as loading weights does, reaches the matrix that the step reads.
    spec = next(spec for spec in specs.values() if spec.target == "key" and spec.layer == 0)
    spec.variable(causal_lm.backbone).assign(before[spec.name] + 1)
    whole = laid[0]["attention"].numpy()
    assert whole.shape[1] == sum(blocks[0].projections[t].outputs for t in GROUPS["attention"])
    start = blocks[0].projections["query"].outputs
    found = whole[:, start : start + blocks[0].projections["key"].outputs]
    np.testing.assert_array_equal(found, spec.to_hf(before[spec.name] + 1).T)
