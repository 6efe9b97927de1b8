"""Where a user's own code failed, in words for the one line that tells of it."""

from __future__ import annotations

import traceback
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_OURS = [_ROOT / name for name in ("foundation", "smskd", "export", "deploy_targets", "pipeline")]
_LONGEST = 300


def first_line(error: BaseException) -> str:
    """What an error says, kind and all: its first line, of a very long one the beginning."""
    lines = (line.strip() for line in str(error).splitlines())
    first = next(filter(None, lines), "without a message")
    excerpt = first if len(first) <= _LONGEST else f"{first[:_LONGEST]}…"
    return f"{type(error).__name__}: {excerpt}"


def place_of(error: BaseException) -> str:
    """The innermost line that is neither a library's nor ours: " (mine.py line 3)", or ""."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        is_ours = any(folder in path.parents for folder in _OURS)
        if path.is_file() and "site-packages" not in path.parts and not is_ours:
            return f" ({path.name} line {frame.lineno})"
    return ""
