"""A log in which time passes when a test says so."""

from __future__ import annotations

import io

from pipeline.shown.console import ProgressConsole
from pipeline.shown.pulse import Pulse


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Log(ProgressConsole):
    """A log that keeps its lines; its pulse beats when the test says so."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.text = io.StringIO()
        self.file = self.text
        self.clock = clock
        self.pulse = Pulse(self._tell, clock=clock, runs=False)

    def after(self, seconds: float) -> list[str]:
        """What is told after so long, as lines."""
        before = len(self.text.getvalue())
        self.clock.now += seconds
        self.pulse.beat()
        return self.text.getvalue()[before:].splitlines()
