"""Whether torch can compile, said in words, and how compilations are counted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch._inductor import config, cpp_builder

from kerasft.engine.compiler import Compilations, compiled, obstacle


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def fresh_search() -> Iterator[None]:
    """torch remembers the compiler that it found."""
    cpp_builder.cpp_compiler_search.cache_clear()
    yield
    cpp_builder.cpp_compiler_search.cache_clear()


def test_a_missing_compiler_is_said(no_gpu, fresh_search, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with config.patch({"cpp.cxx": (None, "g++")}):
        assert obstacle() == "there is no C++ compiler (g++ or clang++) on the PATH"


def test_a_compiler_is_no_obstacle(no_gpu, fresh_search, monkeypatch, tmp_path):
    found = tmp_path / "some-c++"
    found.write_text("#!/bin/sh\necho some-c++ 1.0\n")
    found.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with config.patch({"cpp.cxx": (None, "some-c++")}):
        assert obstacle() is None
        # torch goes on believing in a compiler that went away.
        found.unlink()
        assert obstacle() == "there is no C++ compiler some-c++ on the PATH"


def test_what_a_gpu_lacks_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "triton", None)
    assert obstacle() == "Triton is not installed"
    monkeypatch.setitem(sys.modules, "triton", SimpleNamespace())
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (6, 1))
    assert "compute capability 7.0" in obstacle()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert obstacle() is None


def test_a_library_that_a_kill_left_half_written_is_made_anew(monkeypatch, tmp_path):
    library = tmp_path / "cache" / "ci7" / "abc.main.so"
    library.parent.mkdir(parents=True)
    library.touch()
    elsewhere = tmp_path / "elsewhere.so"
    elsewhere.touch()
    named = [library]

    def compile_(function, **_):
        def run(*arguments):
            if named[0].exists():
                raise torch._dynamo.exc.TorchDynamoException(
                    f"ImportError: {named[0]}: file too short"
                )
            return function(*arguments)

        return run

    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    assert compiled(lambda x: x + 1)(1) == 2
    assert not library.exists()
    # A library that is not of the cache is not ours to remove.
    named[0] = elsewhere
    with pytest.warns(UserWarning, match="file too short"):
        assert compiled(lambda x: x + 1)(1) == 2
    assert elsewhere.exists()


@pytest.fixture
def captured_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dynamo's graphs run as they are; counting them needs no compiler."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    torch._dynamo.reset()


def seen_by(function, lengths: list[int]) -> list[str]:
    watch = Compilations()
    for length in lengths:
        given = torch.ones(length, 3)
        result = watch.watch(f"length {length}", lambda given=given: function(given))
        assert torch.equal(result, torch.full((length, 3), 3.0))
    assert all(seconds > 0 for _, seconds in watch.found)
    return [what for what, _ in watch.found]


def add_twice(given: torch.Tensor) -> torch.Tensor:
    return given + 2


def test_only_calls_that_compile_are_noted(captured_only):
    function = compiled(add_twice)
    assert seen_by(function, [4, 4, 4]) == ["length 4"]
    assert seen_by(function, [4]) == []


def test_a_function_has_two_forms_at_most_for_its_lengths(captured_only):
    assert seen_by(compiled(add_twice), [4, 8, 4, 12, 16, 20]) == ["length 4", "length 8"]


def test_a_size_that_is_said_to_vary_has_one_form(captured_only):
    assert seen_by(compiled(add_twice, (0,)), [4, 8, 4, 12]) == ["length 4"]


def test_many_forms_are_compiled_and_not_refused(captured_only):
    """By default torch gives up at eight and fails where a whole graph is asked for."""

    def repeat(given: torch.Tensor, count: tuple[int, ...]) -> torch.Tensor:
        return torch.cat([given * len(count)] * len(count))

    function, watch = compiled(repeat), Compilations()
    for count in range(1, 13):
        names = tuple(range(count))
        result = watch.watch(str(count), lambda names=names: function(torch.ones(2), names))
        assert result.tolist() == [float(count)] * 2 * count
    assert len(watch.found) == 12


def test_compiled_code_gives_the_same_numbers():
    reason = obstacle()
    if reason is not None:
        pytest.skip(f"nothing can be compiled here: {reason}")
    given = torch.linspace(-3, 3, 40).reshape(8, 5)

    def function(x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x).mul(2).sum(-1)

    torch.testing.assert_close(compiled(function)(given), function(given))


def test_a_compiler_that_fails_costs_speed_and_not_the_run(monkeypatch):
    calls = []

    def broken(function, **options):
        def call(*arguments):
            calls.append(arguments)
            raise torch._dynamo.exc.TorchDynamoException("no Python.h\nand more")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    made = compiled(lambda x: x + 1)
    with pytest.warns(UserWarning, match=r"eagerly: compiling it failed: no Python\.h$"):
        assert made(torch.zeros(2)).tolist() == [1, 1]
    assert made(torch.ones(2)).tolist() == [2, 2]
    assert len(calls) == 1
