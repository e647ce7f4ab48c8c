"""Memory that does not suffice becomes one sentence, whoever says it and however."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from kerasft.errors import KerasftError, OutOfMemory, RunError
from kerasft.memory_use import MemoryUse
from kerasft.out_of_memory import (
    answer_remedies,
    asked_bytes,
    explained,
    is_out_of_memory,
    sentence,
    smaller_batch,
    step_remedies,
)
from kerasft.recipe import TrainSettings

GIB = 2**30
T4 = MemoryUse("Tesla T4", 15 * GIB, 14 * GIB, GIB // 8)
IDLE = MemoryUse("Tesla T4", 15 * GIB, 2 * GIB, 12 * GIB)

TORCH_CUDA = (
    "CUDA out of memory. Tried to allocate 1.95 GiB. GPU 0 has a total capacity of 14.74 GiB of "
    "which 1.02 GiB is free. Process 2031 has 13.72 GiB memory in use."
)
PLAIN = {
    TORCH_CUDA: round(1.95 * GIB),
    "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 4294967296 bytes.": 4 * GIB,
    "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 3.91GiB.": round(3.91 * GIB),
    "INTERNAL: Failed to allocate request for 2.00GiB (2147483648B) on device ordinal 0": 2 * GIB,
    "CUDA_ERROR_OUT_OF_MEMORY: out of memory": None,
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`": None,
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 4503599627370496 bytes. Error code 12 (Cannot allocate memory)": 2**52,
    "std::bad_alloc": None,
    "MPS backend out of memory (MPS allocated: 8.99 GiB). Tried to allocate 512 MiB": 2**29,
}
OPAQUE = (
    "INTERNAL: No reference output found!",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
)


@pytest.mark.parametrize(("message", "bytes_"), PLAIN.items())
def test_what_names_the_shortage_is_one_whatever_the_device_says(message, bytes_):
    error = RuntimeError(message)
    assert is_out_of_memory(error, lambda: pytest.fail("nothing to ask"))
    assert asked_bytes(error) == bytes_


@pytest.mark.parametrize("message", OPAQUE)
def test_what_is_opaque_is_a_shortage_only_on_a_full_device(message):
    error = RuntimeError(message)
    assert is_out_of_memory(error, lambda: T4)
    assert not is_out_of_memory(error, lambda: IDLE)
    assert not is_out_of_memory(error, lambda: None)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("shapes (2, 3) and (4,) do not match"),
        RuntimeError("CUDA error: device-side assert triggered"),
        KeyError("memory"),
    ],
)
def test_other_errors_stay_what_they_are(error):
    assert not is_out_of_memory(error, lambda: T4)
    with (
        pytest.raises(type(error)),
        explained("training", lambda: pytest.fail("not asked")),
    ):
        raise error


def test_a_shortage_behind_another_error_is_found():
    """A recording that runs out of memory ends in an error of its own."""
    try:
        try:
            raise RuntimeError(TORCH_CUDA)
        except RuntimeError as shortage:
            raise RuntimeError("operation failed due to an error during capture") from shortage
    except RuntimeError as error:
        assert is_out_of_memory(error) and asked_bytes(error) == round(1.95 * GIB)


def test_real_shortages_are_known_by_what_they_say():
    with pytest.raises(MemoryError) as caught:
        np.empty(2**55, np.uint8)
    assert is_out_of_memory(caught.value) and asked_bytes(caught.value) == 2**55


@pytest.mark.keras
def test_the_backend_s_own_shortage_becomes_a_sentence(backend):
    """Four pebibytes on a CPU: nothing is simulated."""
    with (
        pytest.raises(OutOfMemory) as caught,
        explained("training on 8 × 512 tokens", lambda: ["try less"], of_step=True),
    ):
        if backend == "torch":
            import torch

            torch.empty(2**52, dtype=torch.uint8)
        else:
            import jax.numpy as jnp

            jnp.zeros(2**52, jnp.uint8).block_until_ready()
    assert caught.value.of_step
    assert re.fullmatch(
        r"out of memory while training on 8 × 512 tokens \(4194304\.0 GiB more were asked for; "
        r"this machine has [\d.]+ GiB, of which this process holds .* and others .*\): try less",
        str(caught.value),
    )


def test_our_own_errors_pass():
    with pytest.raises(RunError, match=r"^disk$"), explained("training", list):
        raise RunError("disk")
    assert issubclass(OutOfMemory, KerasftError)


def test_the_sentence_says_what_was_asked_what_there_is_and_two_settings():
    text = sentence("training on 8 × 512 tokens", 2 * GIB, T4, ["try a", "b", "c"])
    assert text == (
        "out of memory while training on 8 × 512 tokens (2.0 GiB more were asked for; Tesla T4 "
        "has 15.0 GiB, of which this process holds 14.0 GiB and others 896 MiB): try a, or b"
    )
    assert sentence("x", None, None, ["try a"]) == "out of memory while x: try a"


@pytest.mark.parametrize(
    ("rows", "accumulation", "expected"),
    [(8, 1, (4, 2)), (2, 8, (1, 16)), (6, 1, (3, 2)), (3, 2, (1, 6)), (9, 1, (3, 3))],
)
def test_a_smaller_batch_keeps_the_rows_of_a_step(rows, accumulation, expected):
    found = smaller_batch(TrainSettings(batch_size=rows, gradient_accumulation=accumulation))
    assert tuple(found.values()) == expected
    assert expected[0] * expected[1] == rows * accumulation


def test_one_row_cannot_be_fewer():
    assert smaller_batch(TrainSettings(batch_size=1)) is None


def test_the_remedies_have_values_and_come_in_order_of_harm():
    settings = TrainSettings(batch_size=8, gradient_accumulation=1, sequence_length=512)
    batch, remat, length = step_remedies(settings, remat_helps=True)
    assert "--set train.batch_size=4 --set train.gradient_accumulation=2" in batch
    assert "train.remat=block" in remat and "train.sequence_length=256" in length
    least = TrainSettings(batch_size=1, sequence_length=64)
    assert step_remedies(least, remat_helps=False) == ["choose a smaller model.preset"]
    for remedies in (step_remedies(least, remat_helps=True), answer_remedies(1, 64, None)):
        assert len(remedies) == 1
    assert "eval.batch_size=4" in answer_remedies(8, 128, "eval.batch_size")[0]


def test_a_command_without_a_setting_for_it_says_it_too(monkeypatch, capsys):
    from kerasft.cli import main

    def full(*_, **__):
        raise RuntimeError(TORCH_CUDA)

    monkeypatch.setattr(main, "cli", SimpleNamespace(main=full))
    assert main.run(["ask", "--json"]) == 1
    printed = capsys.readouterr()
    assert "out of memory while running this command (2.0 GiB more" in printed.err
    assert '"OutOfMemory"' in printed.out and "Traceback" not in printed.err
