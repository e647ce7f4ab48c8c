"""Peak memory of a torch process that has no Keras."""

import sys


def reset() -> None:
    """Forget the memory of loading, where the device can."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak() -> int:
    """Bytes: allocated on the GPU at most, or resident on a CPU (0 on Windows)."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if sys.platform == "win32":
        return 0
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
