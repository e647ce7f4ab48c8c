"""Asking a run to stop: by Ctrl-C or SIGTERM, or because its time is used up.

The first signal lets the run save and stop after the step that it is in; the second one
stops at once. Where nothing would be lost, while the base is loaded or the base answers,
the first one stops at once too.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kerasft.console import Reporter

SIGNAL = "signal"
TIME_BUDGET = "time budget"


class Stopped(BaseException):
    """Asked to stop where nothing would be lost. No error, so that nothing takes it for one."""


class StopRequests:
    """A context in which the signals set `cause` instead of ending the process.

    Outside the main thread, where Python delivers no signals, it does nothing.

    Attributes:
        cause: `SIGNAL` or `TIME_BUDGET` once the run should stop, else empty.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, reporter: "Reporter") -> None:
        self.cause = ""
        self._reporter = reporter
        self._former: dict[int, Any] = {}
        self._nothing_to_lose = False

    def __enter__(self) -> "StopRequests":
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                self._former[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    @property
    def asked(self) -> bool:
        """Whether the run should stop after this step."""
        return bool(self.cause)

    def ask(self, cause: str) -> None:
        """Let the run stop after this step; the first cause stays."""
        self.cause = self.cause or cause

    @contextlib.contextmanager
    def nothing_to_lose(self) -> Iterator[None]:
        """Inside of this, a signal stops at once.

        Raises:
            Stopped: a signal came, here or before.
        """
        if self.asked:
            raise Stopped
        self._nothing_to_lose = True
        try:
            yield
        finally:
            self._nothing_to_lose = False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.cause == SIGNAL:
            raise KeyboardInterrupt
        self.cause = SIGNAL
        if self._nothing_to_lose:
            raise Stopped
        self._reporter.note(
            "stopping after this step; a checkpoint is saved. Once more stops at once"
        )
