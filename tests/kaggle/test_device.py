"""The check before training: a device that is not there, or that cannot compute, is told."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from kerasft.errors import KerasftError
from kerasft.kaggle.device import check


class Matrix:
    """Ones that multiply, unless the device has no kernels for it."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault

    def __matmul__(self, other: "Matrix") -> "Matrix":
        if self.fault:
            raise RuntimeError(self.fault)
        return self

    def sum(self) -> float:
        return 64.0


@pytest.fixture
def torch(monkeypatch):
    module = ModuleType("torch")
    module.cuda = SimpleNamespace(is_available=lambda: True, get_device_name=lambda _: "Tesla T4")
    module.ones = lambda shape, device: Matrix()
    monkeypatch.setitem(sys.modules, "torch", module)
    return module


def test_a_gpu_that_computes_is_named(torch):
    assert check("torch", "gpu") == "Tesla T4"


def test_a_session_without_a_gpu_is_told(torch):
    torch.cuda.is_available = lambda: False
    with pytest.raises(KerasftError, match=r"cannot use a GPU here: it sees none\. Choose the acc"):
        check("torch", "gpu")


def test_a_gpu_without_kernels_is_told(torch):
    torch.ones = lambda shape, device: Matrix("CUDA error: no kernel image is available\nmore")
    with pytest.raises(KerasftError, match=r"no kernel image is available more.*PACKAGES"):
        check("torch", "gpu")


@pytest.mark.parametrize(
    ("kind", "platform", "fits"),
    [
        ("tpu", "tpu", True),
        ("tpu", "cpu", False),
        ("gpu", "gpu", True),
        ("gpu", "cuda", True),
        ("gpu", "cpu", False),
    ],
)
def test_jax_must_see_what_the_notebook_was_written_for(kind, platform, fits, monkeypatch):
    jax = ModuleType("jax")
    jax.devices = lambda: [SimpleNamespace(platform=platform, device_kind="its name")]
    jax.numpy = SimpleNamespace(ones=lambda shape: Matrix())
    monkeypatch.setitem(sys.modules, "jax", jax)
    if fits:
        assert check("jax", kind) == "its name"
    else:
        with pytest.raises(KerasftError, match=f"jax cannot use a {kind.upper()} here"):
            check("jax", kind)
