"""What a reporter prints of counted work."""

import io

import pytest
from rich.console import Console

from kerasft import console as module
from kerasft.console import RichReporter, SilentReporter


@pytest.mark.parametrize("terminal", [False, True])
def test_counted_work_is_told_now_and_then_and_at_its_end(terminal, monkeypatch):
    monkeypatch.setattr(module, "LINE_SECONDS", 0)
    out = io.StringIO()
    reporter = RichReporter(Console(file=out, force_terminal=terminal, width=100))
    with reporter.counting("Answering, base", 40) as told:
        told(16)
    assert "16" in out.getvalue() and "40" in out.getvalue()
    assert "Answering, base: 40 in " in out.getvalue()


def test_a_silent_reporter_can_be_told():
    with SilentReporter().counting("Answering", 3) as told:
        told(3)
