"""One backend a test process: `pytest --backend torch` (the default) or `jax`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.small import TinyRun

GATES = {
    "slow": "takes minutes; give --slow",
    "gpu": "needs a GPU; give --gpu",
    "real_weights": "needs the embedded Gemma (the extra `gemma`); give --real-weights",
}

ONCE = "means the same on both backends: run under torch, under JAX with --slow"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--backend", choices=("torch", "jax"), default="torch")
    for gate, reason in GATES.items():
        parser.addoption(f"--{gate.replace('_', '-')}", action="store_true", help=reason)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"once: {ONCE}")
    # Keras reads the variable at its import, so it must be set before any test module.
    os.environ["KERAS_BACKEND"] = config.getoption("--backend")
    # Tiny models gain nothing from threads, and workers would fight for the cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Tests compile the same small functions again and again, in one process after the
    # other; JAX would keep only the slow ones, and only within a process.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(config.cache.mkdir("jax")))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    # What compiles for seconds runs for milliseconds: LLVM leaves the code as it is, which
    # takes a third off. XLA's own passes, which fuse and order the sums, stay.
    if not any(config.getoption(gate) for gate in GATES):
        os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    once_is_enough = config.getoption("--backend") == "jax" and not config.getoption("--slow")
    for item in items:
        for gate, reason in GATES.items():
            if gate in item.keywords and not config.getoption(f"--{gate.replace('_', '-')}"):
                item.add_marker(pytest.mark.skip(reason=reason))
        if "once" in item.keywords and once_is_enough:
            item.add_marker(pytest.mark.skip(reason=ONCE))


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> str:
    return request.config.getoption("--backend")


@pytest.fixture(scope="session", autouse=True)
def encoded_rows_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests keep encoded rows in a folder of theirs, and find none of another session."""
    from kerasft.data import encoded

    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoded, "cache_dir", lambda: folder)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data sets beside the checkout; not part of the repository."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no data sets at ../shared/data beside the checkout")
    return folder


@pytest.fixture(scope="session")
def tiny_gemma3() -> Path:
    """The tiny random Gemma 3 that the repository holds, in Hugging Face format."""
    return Path(__file__).parents[1] / "weights" / "tiny-gemma3"


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, backend: str) -> TinyRun:
    """A finished run on the tiny Gemma, shared by the tests that only read it."""
    from tests.small import train_tiny

    return train_tiny(tmp_path_factory.mktemp("tiny"), backend)
