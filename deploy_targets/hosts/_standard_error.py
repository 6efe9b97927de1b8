"""What a process writes to standard error, read while it runs, so that it never has to wait."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import IO

_KEPT_AT_START, _KEPT_AT_END = 1 << 14, 1 << 16


class StandardError:
    """The beginning and the end of it, however much it is."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._start, self._end = b"", b""
        self._thread = threading.Thread(target=self._read, args=(pipe,), daemon=True)
        self._thread.start()

    def text(self, seconds: float = 1.0) -> str:
        """All that is kept of it.

        Args:
            seconds: to wait for its end at most.
        """
        # The shared connection of ssh goes on in the background, and holds the pipe open.
        self._thread.join(timeout=seconds)
        return (self._start + self._end).decode(errors="replace")

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe, contextlib.suppress(OSError):
            while chunk := os.read(pipe.fileno(), _KEPT_AT_START):
                room = _KEPT_AT_START - len(self._start)
                self._start += chunk[:room]
                self._end = (self._end + chunk[room:])[-_KEPT_AT_END:]
