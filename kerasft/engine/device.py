"""What the active backend's device is, what it computes in, and what it has used."""

import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from kerasft.backend import selected


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
    if selected() == "torch":
        kind = torch_kind()
        if kind == "cuda":
            import torch

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


def torch_kind() -> str:
    """Where torch runs: as Keras has it, which is not imported where transformers trains."""
    if "keras" not in sys.modules:
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"
    from keras.src.backend.torch.core import get_device

    return get_device().split(":")[0]


def resolve_dtype(dtype: str) -> str:
    """The type of the base that `auto` stands for on this device; others stay.

    bfloat16 where products in it are native: GPUs of compute capability 8 and above,
    TPUs, and under torch CPUs with AVX-512 BF16 or AMX. XLA computes on CPUs in float32
    and converts, which costs more than it saves: a step of the 270M took 3.1 to 3.5 CPU
    seconds in bfloat16 and 2.7 to 3.0 in float32.
    """
    if dtype != "auto":
        return dtype
    return "bfloat16" if "bfloat16" in native_dtypes() else "float32"


def native_dtypes() -> tuple[str, ...]:
    """The types whose products this device computes as they are, not through another one."""
    kind = current().kind
    if kind == "cpu":
        flags = cpu_flags() if selected() == "torch" else set()
        native = not flags.isdisjoint({"avx512_bf16", "amx_bf16"})
        return ("float32", "bfloat16") if native else ("float32",)
    if kind == "cuda":
        capability = _compute_capability()
        halves = (("float16", 6), ("bfloat16", 8))
        return ("float32", *(dtype for dtype, least in halves if capability >= least))
    return ("float32", "bfloat16") if kind == "tpu" else ("float32", "float16")


def _compute_capability() -> float:
    if selected() == "torch":
        import torch

        major, minor = torch.cuda.get_device_capability()
        return major + minor / 10
    import jax

    return float(jax.devices()[0].compute_capability)


def chunk_bytes(remat: bool = False) -> int:
    """Memory for one chunk of float32 logits.

    64 MiB on a CPU. On an accelerator 512 MiB, which is 512 tokens of Gemma's vocabulary
    and enough for fast products; half of that where blocks are rematerialised, because
    memory is scarce there.
    """
    if current().kind == "cpu":
        return 2**26
    return 2**28 if remat else 2**29


def peak_memory_bytes() -> int:
    """The most memory that was in use: of the accelerator, or resident on a CPU.

    0 on Windows, whose Python has no `resource`.
    """
    if current().kind == "cuda":
        if selected() == "torch":
            import torch

            return torch.cuda.max_memory_allocated()
        import jax

        return int((jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0))
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def cpu_flags() -> set[str]:
    """What the processor can do, as Linux lists it; empty elsewhere."""
    return set(_cpuinfo("flags").split())


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(field: str) -> str:
    """A field of the first processor in Linux's /proc/cpuinfo; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")
