"""A line now and then for who reads a log: what is under way, since when, how far it is.

Where nothing can be live, a command that works for half an hour on one thing would write nothing,
and nobody could tell it from one that hangs.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

EVERY_S = 30.0


@dataclass(eq=False)
class Phase:
    """Something that takes its time.

    Attributes:
        status: gives what it is and how far, when that is to be told.
        began_at: on the pulse's clock.
        thread: in which it is worked on.
    """

    status: Callable[[], str]
    began_at: float
    thread: int


class Pulse:
    """Tells of the innermost phase, of each thread, whenever nothing was told for a while.

    Args:
        tell: takes a line; called from a thread of its own.
        every_s: how long nothing may be told.
        clock: gives seconds.
        runs: whether there is a thread that tells; without one, whoever calls `beat` does.
    """

    def __init__(
        self,
        tell: Callable[[str], None],
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
        *,
        runs: bool = True,
    ) -> None:
        self._tell, self._every_s, self._clock, self._runs = tell, every_s, clock, runs
        self._told_at = clock()
        self._phases: list[Phase] = []
        self._lock = threading.Lock()
        self._over = threading.Event()

    def begin(self, status: Callable[[], str]) -> Phase:
        """A phase begins; it is the one to tell of until it ends or its thread begins another."""
        phase = Phase(status, self._clock(), threading.get_ident())
        with self._lock:
            self._phases.append(phase)
            if len(self._phases) == 1:
                self._told_at = self._clock()
                if self._runs:
                    self._over = threading.Event()
                    threading.Thread(target=self._run, args=(self._over,), daemon=True).start()
        return phase

    def end(self, phase: Phase) -> None:
        """A phase is over; so may be any, not the innermost alone."""
        with self._lock:
            if phase in self._phases:
                self._phases.remove(phase)
            if not self._phases:
                self._over.set()

    @contextlib.contextmanager
    def phase(self, status: Callable[[], str]) -> Iterator[None]:
        """A phase for as long as the block lasts."""
        phase = self.begin(status)
        try:
            yield
        finally:
            self.end(phase)

    def was_told(self) -> None:
        """Something was told by somebody else."""
        self._told_at = self._clock()

    def beat(self) -> None:
        """Tell, if it is time to."""
        if self._clock() - self._told_at < self._every_s:
            return
        with self._lock:
            innermost = list({phase.thread: phase for phase in self._phases}.values())
        if innermost:
            now = self._told_at = self._clock()
            since = duration(now - min(phase.began_at for phase in innermost))
            statuses = "; ".join(phase.status() for phase in innermost)
            self._tell(f"under way for {since}: {statuses}")

    def _run(self, over: threading.Event) -> None:
        while not over.wait(max(self._told_at + self._every_s - self._clock(), 0.01)):
            # Of a status that cannot be told, or a stream that has gone, no work must fail.
            with contextlib.suppress(Exception):
                self.beat()


def duration(seconds: float) -> str:
    """Seconds as people say them: "40 s", "2 min 5 s", "3 h 7 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
