"""Standard streams that bear whatever is behind them: a closed one, a pipe whose reader has gone,
a full disk, an encoding that knows few characters. What a command found out, and its exit code,
must not depend on where its words go.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from typing import Any, TextIO

# What our tables and messages have beyond ASCII; of a name, every character matters.
_ALIKE = {
    "·": "*", "×": "x", "−": "-", "–": "-", "—": "-", "…": "...", "→": "->", "←": "<-", "•": "*",
    "²": "^2", "³": "^3", "½": "1/2", "÷": "/", "±": "+-", "≤": "<=", "≥": ">=", "≈": "~",
    "‖": "||", "∠": "angle", "∘": "o", "∞": "inf", "°": "deg", "ᵀ": "^T", "ₜ": "_t", "₂": "_2",
    "µ": "u", "μ": "mu", "τ": "tau", "σ": "sigma", "Σ": "sum", "γ": "gamma", "λ": "lambda",
    "α": "alpha", "β": "beta", "ρ": "rho", "✓": "ok", "’": "'", "“": '"', "”": '"',
}  # fmt: skip
_LIKENESS = "likeness"


class LenientFile(io.FileIO):
    """A descriptor to which writing never fails; the first trouble is remembered.

    Attributes:
        trouble: of the first write that went wrong, after which nothing more is written.
    """

    trouble: OSError | None = None

    def write(self, content: Any, /) -> int:
        """Write, unless that failed before."""
        if self.trouble is None:
            try:
                return super().write(content)
            except OSError as error:
                self.trouble = error
        return memoryview(content).nbytes


def take_standard_streams() -> None:
    """Make standard output and standard error lenient, and open those that are closed.

    A descriptor from 0 to 2 that is closed would be that of the next file to be opened, into which
    a library would print.
    """
    codecs.register_error(_LIKENESS, _likeness)
    opened = [_open_if_closed(number) for number in range(3)]
    if opened[0] or sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = _lenient(1, sys.stdout)
    sys.stderr = _lenient(2, sys.stderr)


def loss_of(stream: TextIO) -> OSError | None:
    """What kept a stream's words from whoever wanted them; None for a reader that has gone."""
    stream.flush()
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    trouble = raw.trouble if isinstance(raw, LenientFile) else None
    return None if trouble is None or trouble.errno == errno.EPIPE else trouble


def _open_if_closed(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        os.set_inheritable(number, True)
        return True
    return False


def _lenient(number: int, stream: TextIO | None) -> TextIO:
    if stream is not None:
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(LenientFile(number, "wb", closefd=False)),
        encoding=getattr(stream, "encoding", None) or "utf-8",
        errors=_LIKENESS,
        line_buffering=os.isatty(number) or number == 2,
    )


def _likeness(error: UnicodeError) -> tuple[str, int]:
    """A codec's error handler: what looks alike, or else the character's number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    alike = (
        _ALIKE.get(letter) or letter.encode("ascii", "backslashreplace").decode()
        for letter in letters
    )
    return "".join(alike), error.end
