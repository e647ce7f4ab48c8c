"""A run's weights from its files agree with the live model, and wrong ones are refused."""

import json

import numpy as np
import pytest

from kerasft.errors import AdapterError
from kerasft.export.safetensors_writer import numpy_dtype
from kerasft.export.trained import answering, open_trained
from kerasft.models import adapter as adapters
from tests.export.live import make_run


@pytest.mark.keras
@pytest.mark.parametrize(("layout", "dtype"), [("keras", "bfloat16"), ("peft", "float32")])
def test_files_and_live_model_hold_the_same_weights(tmp_path, tiny_gemma3, layout, dtype):
    from kerasft.engine.loaded import load_run

    run = make_run(tmp_path / "run", str(tiny_gemma3), dtype=dtype, layout=layout)
    weights = open_trained(run)
    live = answering(weights)
    assert live.causal_lm.backbone.compute_dtype == "float32"
    assert weights.base_dtype == live.base_dtype == dtype
    for spec in weights.family.tensors(weights.config):
        base = weights.base_array(spec)
        assert base.dtype == numpy_dtype(dtype) and base.shape == spec.shape
        np.testing.assert_array_equal(base, live.base_array(spec))
        delta = weights.delta(spec.name)
        assert (delta is None) == (spec.target not in weights.lora_settings.target_layers)
        if delta is not None:
            np.testing.assert_allclose(delta, live.delta(spec.name), rtol=1e-6)
    assert weights.delta("decoder_block_0/nothing/kernel") is None
    loaded = load_run(run)  # as every other command loads it: the fingerprints agree
    assert loaded.fingerprint == weights.fingerprint
    tensors = loaded.adapter_tensors()
    assert tensors.keys() == weights.adapter_tensors().keys()
    for name, value in weights.adapter_tensors().items():
        np.testing.assert_array_equal(value, tensors[name])


def test_another_base_and_an_adapter_that_does_not_fit_are_refused(tmp_path, tiny_gemma3):
    run = make_run(tmp_path / "run", str(tiny_gemma3), dtype="bfloat16")
    folder = run / "adapter"
    info, tensors = adapters.read_info(folder), adapters.read_tensors(folder)
    name = next(iter(tensors))
    fewer = {key: value for key, value in tensors.items() if key != name}
    adapters.save(folder, fewer | {"nowhere/a": tensors[name]}, info)
    with pytest.raises(AdapterError, match=f"{name} is missing") as raised:
        open_trained(run)
    assert "nowhere/a belongs to no layer" in str(raised.value)
    adapters.save(folder, tensors | {name: tensors[name][..., :1]}, info)
    with pytest.raises(AdapterError, match=f"{name} has shape"):
        open_trained(run)
    adapters.save(folder, tensors, info)
    description = json.loads((folder / "adapter.json").read_text())
    (folder / "adapter.json").write_text(json.dumps(description | {"fingerprint": "0" * 64}))
    with pytest.raises(AdapterError, match="belongs to another base"):
        open_trained(run)
