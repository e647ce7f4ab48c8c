"""Steps of the same bits each time, where the device leaves a choice."""

import os

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
_XLA = "--xla_gpu_deterministic_ops=true"
_XLA_FLAGS = ("--xla_gpu_deterministic_ops", "--xla_gpu_exclude_nondeterministic_ops")


def xla_is_deterministic() -> bool:
    """Whether XLA is told, by `make_deterministic` or by the user, to compute on a GPU with
    one order of sums."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    return any(flag.split("=")[0] in _XLA_FLAGS and not flag.endswith("=false") for flag in flags)


def make_deterministic(backend: str) -> None:
    """Let a GPU use only algorithms whose sums have one order, in this process.

    Call it before anything is computed: cuBLAS reads its workspace when it is loaded, and
    XLA its flags when the device is opened. On torch the backward pass of FlashAttention,
    `index_add` and the like take their deterministic forms, and an operation that has none
    raises: with torch's `warn_only` FlashAttention would keep its other form. On JAX
    attention is written out in products: XLA compiles cuDNN's deterministic backward pass
    only once for equal layers, and fails where there are two (openxla/xla#46500).

    Args:
        backend: torch or jax.
    """
    if backend == "jax":
        flags = os.environ.get("XLA_FLAGS", "")
        if _XLA not in flags.split():
            os.environ["XLA_FLAGS"] = f"{flags} {_XLA}".strip()
        return
    os.environ.setdefault(_CUBLAS, ":4096:8")
    import torch

    torch.use_deterministic_algorithms(True)
    # Filling fresh memory is meant to find reads of it, and costs a pass over each tensor.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
