"""What the active backend's device is, what it computes in, and what it has used."""

import platform
import resource
import sys
from dataclasses import dataclass

import keras


@dataclass(frozen=True)
class Device:
    """Where the work runs.

    Attributes:
        kind: `cuda`, `mps`, `tpu` or `cpu`.
        name: as its maker calls it.
        memory_bytes: of the accelerator; None on a CPU.
    """

    kind: str
    name: str
    memory_bytes: int | None


def current() -> Device:
    """The device that the active backend uses."""
    if keras.backend.backend() == "torch":
        import torch
        from keras.src.backend.torch.core import get_device

        kind = get_device().split(":")[0]
        if kind == "cuda":
            properties = torch.cuda.get_device_properties(0)
            return Device("cuda", properties.name, properties.total_memory)
    else:
        import jax

        device = jax.devices()[0]
        kind = {"gpu": "cuda"}.get(device.platform, device.platform)
        if kind != "cpu":
            limit = (device.memory_stats() or {}).get("bytes_limit")
            return Device(kind, device.device_kind, limit)
    return Device(kind, _processor(), None)


def resolve_dtype(dtype: str) -> str:
    """The type of the base that `auto` stands for on this device; others stay.

    bfloat16 where products in it are native: GPUs of compute capability 8 and above,
    TPUs, and CPUs with AVX-512 BF16 or AMX under torch. XLA on a CPU widens bfloat16
    first, so float32 is the faster there.
    """
    if dtype != "auto":
        return dtype
    kind = current().kind
    if keras.backend.backend() == "torch":
        import torch

        if kind == "cuda":
            return "bfloat16" if torch.cuda.get_device_capability()[0] >= 8 else "float32"
        native = kind == "cpu" and (
            torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        )
        return "bfloat16" if native else "float32"
    if kind == "cuda":
        import jax

        return "bfloat16" if float(jax.devices()[0].compute_capability) >= 8 else "float32"
    return "bfloat16" if kind == "tpu" else "float32"


def chunk_bytes() -> int:
    """Memory for one chunk of float32 logits: 1 GiB on an accelerator, 128 MiB on a CPU."""
    return 2**27 if current().kind == "cpu" else 2**30


def peak_memory_bytes() -> int:
    """The most memory that was in use: of the accelerator, or resident on a CPU."""
    if current().kind == "cuda":
        if keras.backend.backend() == "torch":
            import torch

            return torch.cuda.max_memory_allocated()
        import jax

        return int((jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
