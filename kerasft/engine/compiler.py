"""torch.compile for the step: whether it can be had, and how it is called."""

import contextlib
import os
import re
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

_SHAPES = 64
"""Compiled forms that a function may have: lengths, with and without gradients."""


def obstacle() -> str | None:
    """Why nothing can be compiled on this device, in words; None where it can."""
    if torch.cuda.is_available():
        try:
            import triton  # noqa: F401
        except ImportError:
            return "Triton is not installed"
        if torch.cuda.get_device_capability() < (7, 0):
            return "Triton needs a GPU of compute capability 7.0 or above"
        return None
    from torch._inductor import cpp_builder, exc

    try:
        compiler = cpp_builder.get_cpp_compiler()
    except (exc.InvalidCxxCompiler, RuntimeError):
        return "there is no C++ compiler (g++ or clang++) on the PATH"
    return None if shutil.which(compiler) else f"there is no C++ compiler {compiler} on the PATH"


def compiled(
    function: Callable[..., Any],
    varying: Sequence[int] = (),
    options: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """The compiled form of a pure function of tensors.

    One shape is compiled as it is; from the second on, sizes that changed become
    variables, so that lengths do not each cost a compilation.

    Args:
        varying: positional arguments whose first axis is a variable from the start.
        options: of Inductor, for this function.

    What a process that was killed while it compiled has left half written in the cache is
    removed and compiled anew.

    Warns:
        UserWarning: compiling failed; the function runs as it is from then on.
    """
    torch._dynamo.config.recompile_limit = _SHAPES
    torch._dynamo.config.accumulated_recompile_limit = _SHAPES * 8
    made: Callable[..., Any] | None = torch.compile(
        function, fullgraph=True, **({} if options is None else {"options": dict(options)})
    )

    def call(*arguments: Any) -> Any:
        nonlocal made
        if made is None:
            return function(*arguments)
        for place in varying:
            torch._dynamo.maybe_mark_dynamic(arguments[place], 0)
        try:
            try:
                return made(*arguments)
            except torch._dynamo.exc.TorchDynamoException as error:
                if not _removed_torn_library(str(error)):
                    raise
            return made(*arguments)
        except torch._dynamo.exc.TorchDynamoException as error:
            # A compiler that is there and does not work, such as one without Python's
            # headers, costs speed and not the run.
            made = None
            why = str(error).strip().partition("\n")[0]
            warnings.warn(f"the step runs eagerly: compiling it failed: {why}", stacklevel=2)
            return function(*arguments)

    return call


def _removed_torn_library(message: str) -> bool:
    """Whether a failure named a damaged library of the cache, which is gone now.

    The linker writes in place: killed there, it leaves a file that torch takes for whole.
    """
    cache = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    named = _LIBRARY.search(message)
    if cache is None or named is None:
        return False
    path = Path(named[1])
    if not path.is_relative_to(cache):
        return False
    with contextlib.suppress(OSError):
        path.unlink()
        return True
    return False


_LIBRARY = re.compile(r"(?:ImportError|OSError): (/\S+\.so)\b")


class Compilations:
    """Counts what was compiled while it is asked to watch.

    Attributes:
        found: (what, seconds) of each call that compiled something.
    """

    def __init__(self) -> None:
        self.found: list[tuple[str, float]] = []

    def watch(self, what: str, run: Callable[[], Any]) -> Any:
        """Run something; note it where it compiled."""
        before = _graphs()
        began = time.monotonic()
        result = run()
        if _graphs() > before:
            self.found.append((what, time.monotonic() - began))
        return result


def _graphs() -> int:
    """Graphs that Dynamo has traced in this process."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])
