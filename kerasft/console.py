"""What a person sees while something runs; silent unless a command asks for it."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_SECONDS = 15
"""How often a step is printed where the output is no terminal."""


class Reporter(Protocol):
    """Told what happens in a run."""

    def working(self, what: str) -> contextlib.AbstractContextManager[None]:
        """Around a piece of work that has no steps."""

    def counting(
        self, what: str, total: int
    ) -> contextlib.AbstractContextManager[Callable[[int], None]]:
        """Around a piece of work on `total` things; gives what is told how many are done."""

    def training(self, steps: int, done: int) -> contextlib.AbstractContextManager[None]:
        """Around the steps of a run."""

    def step(self, line: Mapping[str, Any]) -> None:
        """A line of metrics.jsonl."""

    def validated(self, step: int, result: Mapping[str, float]) -> None:
        """A validation."""

    def note(self, text: str) -> None:
        """A sentence."""


class SilentReporter:
    """Says nothing."""

    def working(self, what: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def counting(
        self, what: str, total: int
    ) -> contextlib.AbstractContextManager[Callable[[int], None]]:
        return contextlib.nullcontext(lambda done: None)

    def training(self, steps: int, done: int) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def step(self, line: Mapping[str, Any]) -> None: ...

    def validated(self, step: int, result: Mapping[str, float]) -> None: ...

    def note(self, text: str) -> None: ...


class RichReporter:
    """A progress bar on a terminal, a line now and then elsewhere.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._steps = 0
        self._printed = 0.0

    @contextlib.contextmanager
    def working(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        with self._console.status(what) if self._console.is_terminal else contextlib.nullcontext():
            yield
        self._console.print(f"{what}: {time.monotonic() - began:.1f} s", highlight=False)

    @contextlib.contextmanager
    def counting(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        began = time.monotonic()
        if self._console.is_terminal:
            bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            task = bar.add_task(what, total=total)
            with bar:
                yield lambda done: bar.update(task, completed=done)
        else:
            printed = began

            def tell(done: int) -> None:
                nonlocal printed
                if time.monotonic() - printed >= LINE_SECONDS:
                    printed = time.monotonic()
                    self._console.print(f"{what}: {done} of {total}", highlight=False)

            yield tell
        took = time.monotonic() - began
        self._console.print(f"{what}: {total} in {took:.1f} s", highlight=False)

    @contextlib.contextmanager
    def training(self, steps: int, done: int) -> Iterator[None]:
        self._steps = steps
        if not self._console.is_terminal:
            yield
            return
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task = self._bar.add_task("", total=steps, completed=done, numbers="first step …")
        try:
            with self._bar:
                yield
        finally:
            self._bar = None

    def step(self, line: Mapping[str, Any]) -> None:
        numbers = (
            f"loss {line['loss']:.3f}  {line['tokens_per_second']:,.0f} tok/s  "
            f"{line['peak_memory_bytes'] / 2**30:.1f} GiB"
        )
        if self._bar is not None:
            self._bar.update(self._task, completed=line["step"], numbers=numbers)
            return
        now = time.monotonic()
        if now - self._printed >= LINE_SECONDS or line["step"] in (1, self._steps):
            self._printed = now
            self._console.print(f"step {line['step']}/{self._steps}  {numbers}", highlight=False)

    def validated(self, step: int, result: Mapping[str, float]) -> None:
        self._console.print(
            f"validation after step {step}: loss {result['loss']:.4f}, "
            f"token accuracy {result['accuracy']:.1%}",
            highlight=False,
        )

    def note(self, text: str) -> None:
        # Not folded at the console's width: a command in it is there to be copied.
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
