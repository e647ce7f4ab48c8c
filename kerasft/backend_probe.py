"""What torch or JAX finds on this machine: `python -m kerasft.backend_probe torch`.

A process of its own for each, since Keras has one backend a process, and since a driver
that does not fit may end the process. It prints one JSON object.
"""

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

SECONDS = 120
_PLUGINS = {"jax-cuda12-plugin": "CUDA 12", "jax-cuda13-plugin": "CUDA 13", "libtpu": "TPU"}


def start(backend: str) -> subprocess.Popen:
    """Begin to probe a backend; `finish` gives what was found."""
    return subprocess.Popen(
        [sys.executable, "-m", "kerasft.backend_probe", backend],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen, seconds: float = SECONDS) -> dict[str, Any]:
    """What a probe found.

    Returns:
        `build` (CPU, CUDA and its version, TPU), `problem` (a sentence, or None); where
        there is none also `device` (kind, name, memory_bytes), `native_dtypes`,
        `auto_dtype` and `compiler` (why torch compiles nothing, or None).
    """
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {"build": None, "problem": f"it did not answer in {seconds:g} s"}
    try:
        return json.loads(out.splitlines()[-1])
    except (IndexError, ValueError):
        said = [line.strip() for line in err.splitlines() if line.strip()]
        return {"build": None, "problem": said[-1] if said else f"exit code {process.returncode}"}


def probe(backend: str) -> dict[str, Any]:
    """Import a backend, ask for its device, and compute something small there."""
    from kerasft import backend as backends

    found: dict[str, Any] = {"build": None, "problem": None}
    try:
        found["build"] = _torch_build() if backend == "torch" else _jax_build()
        backends.select(backend)
        import keras

        from kerasft.engine import device

        here = device.current()
        found["device"] = {"kind": here.kind, "name": here.name, "memory_bytes": here.memory_bytes}
        found["native_dtypes"] = device.native_dtypes()
        found["auto_dtype"] = device.resolve_dtype("auto")
        found["compiler"] = None
        # A build without code for this card fails here, and nowhere before.
        ones = keras.ops.ones((8, 8))
        total = float(keras.ops.sum(keras.ops.matmul(ones, ones)))
        if total != 512:
            found["problem"] = f"a product of ones came out as {total:g} instead of 512"
        elif backend == "torch":
            from kerasft.engine.compiler import obstacle

            found["compiler"] = obstacle()
    except Exception as error:  # whatever is wrong with an installation
        first = (str(error).strip() or type(error).__name__).partition("\n")[0]
        found["problem"] = f"{type(error).__name__}: {first}"
    return found


def _torch_build() -> str:
    import torch

    if torch.version.cuda:
        return f"CUDA {torch.version.cuda}"
    return f"ROCm {torch.version.hip}" if torch.version.hip else "CPU"


def _jax_build() -> str:
    for package, build in _PLUGINS.items():
        try:
            version(package)
        except PackageNotFoundError:
            continue
        return build
    return "CPU"


if __name__ == "__main__":
    print(json.dumps(probe(sys.argv[1])))
