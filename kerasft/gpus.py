"""The machine's NVIDIA GPUs as their driver knows them, without torch or JAX."""

import os
import shutil
import subprocess
from dataclasses import dataclass

_FIELDS = "index,uuid,name,memory.total,memory.free,compute_cap,driver_version"
_SECONDS = 10


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        index, uuid, name: as `nvidia-smi -L` gives them.
        total_bytes, free_bytes: of its memory; free is what no program holds.
        capability: of its compute units: 7.5 is a T4, 6.0 a P100.
        driver: its version.
    """

    index: int
    uuid: str
    name: str
    total_bytes: int
    free_bytes: int
    capability: float
    driver: str

    @property
    def computes_bfloat16(self) -> bool:
        """Whether products in bfloat16 are native."""
        return self.capability >= 8


def gpus() -> list[Gpu]:
    """Those that the driver lists; none where there is no driver, or where it does not answer."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        done = subprocess.run(
            [tool, f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return parsed(done.stdout) if done.returncode == 0 else []


def parsed(listing: str) -> list[Gpu]:
    """The GPUs of nvidia-smi's CSV; a line that is not as expected is left out."""
    found = []
    for line in listing.splitlines():
        fields = [field.strip() for field in line.split(",")]
        try:
            index, uuid, name, total, free, capability, driver = fields
            found.append(
                Gpu(
                    int(index),
                    uuid,
                    name,
                    int(total) << 20,
                    int(free) << 20,
                    float(capability),
                    driver,
                )
            )
        except ValueError:  # `[N/A]`, as cards in parts (MIG) and unified memory have it
            continue
    return found


def visible(found: list[Gpu]) -> list[Gpu]:
    """Those that `CUDA_VISIBLE_DEVICES` lets programs see, in its order."""
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return found
    chosen = []
    for name in filter(None, map(str.strip, wanted.split(","))):
        match = [
            gpu
            for gpu in found
            if (int(name) == gpu.index if name.isdigit() else gpu.uuid.startswith(name))
        ]
        if not match:  # CUDA stops at the first that it does not know
            break
        chosen.append(match[0])
    return chosen
