"""What is said when something cannot be done on the device."""

from __future__ import annotations

# Exit codes of `foundation.errors`, which is not there yet.
NO_SPACE, HOST = 18, 21


class RefusalError(Exception):
    """What is answered when something cannot be done: one line, and what to do."""

    def __init__(self, message: str, code: int = HOST) -> None:
        super().__init__(message)
        self.code = code


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
