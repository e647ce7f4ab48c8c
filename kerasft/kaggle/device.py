"""Whether the session has the device that the notebook was written for.

    python -m kerasft.kaggle.device torch gpu

Run before training: a notebook without its accelerator would train on the CPU until its
session ends.
"""

from __future__ import annotations

import sys

from kerasft.errors import KerasftError


def check(backend: str, kind: str) -> str:
    """The device's name, after a product was computed on it.

    Args:
        backend: `torch` or `jax`.
        kind: `gpu` or `tpu`.

    Raises:
        KerasftError: the backend sees no such device or cannot compute on it.
    """
    try:
        name = _torch() if backend == "torch" else _jax(kind)
    except Exception as error:  # of torch's and XLA's own kinds
        reason = " ".join(str(error).split())[:300]
    else:
        if name:
            return name
        reason = "it sees none"
    raise KerasftError(
        f"{backend} cannot use a {kind.upper()} here: {reason}. Choose the accelerator in the "
        "notebook's settings (on Kaggle its quota must not be used up), or put a build of "
        f"{backend} for this machine's driver into PACKAGES."
    )


def _torch() -> str:
    import torch

    if not torch.cuda.is_available():
        return ""
    ones = torch.ones((8, 8), device="cuda")
    float((ones @ ones).sum())
    return torch.cuda.get_device_name(0)


def _jax(kind: str) -> str:
    import jax

    device = jax.devices()[0]
    if device.platform not in (kind, {"gpu": "cuda"}.get(kind)):
        return ""
    ones = jax.numpy.ones((8, 8))
    float((ones @ ones).sum())
    return str(device.device_kind)


def main() -> int:
    """The exit code: 0 where the device can be used."""
    from kerasft.backend import select

    backend, kind = sys.argv[1:]
    select(backend)
    try:
        print(f"{backend} computes on {check(backend, kind)}")
    except KerasftError as error:
        print(f"Error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
