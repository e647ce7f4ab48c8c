"""Where a base can be rounded for training, by backend and `model.quantization`."""

from kerasft.errors import ModelError


def check_device(backend: str, quantization: str) -> None:
    """See that a backend's device has the products of a quantisation, before a base is loaded.

    Args:
        backend: torch or jax.
        quantization: as `model.quantization`; not none.

    Raises:
        ModelError: it has not.
    """
    why = _obstacle(backend, quantization)
    if why is not None:
        raise ModelError(
            f"model.quantization = {quantization} cannot be had here: {why}; set it to none"
        )


def _obstacle(backend: str, quantization: str) -> str | None:
    if quantization == "int8-backward":
        if backend != "torch":
            return "it is for torch, and the backend is JAX, which multiplies int8 no faster"
        from kerasft.engine.torch_int8 import obstacle
    elif backend == "torch":
        from kerasft.engine.torch_float8 import obstacle
    else:
        from kerasft.engine.jax_float8 import obstacle
    return obstacle()
