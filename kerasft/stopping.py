"""Ctrl-C and SIGTERM while training: the first saves and stops, the second stops at once."""

import signal
import threading
from types import FrameType
from typing import Any

from kerasft.console import Reporter


class StopRequests:
    """A context in which the signals set `asked` instead of ending the process.

    Outside the main thread, where Python delivers no signals, it does nothing.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, reporter: Reporter) -> None:
        self.asked = False
        self._reporter = reporter
        self._former: dict[int, Any] = {}

    def __enter__(self) -> "StopRequests":
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                self._former[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._reporter.note(
            "stopping after this step; a checkpoint is saved. Once more stops at once"
        )
