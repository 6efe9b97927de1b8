"""What travels says nothing of where things lie on the machine that it was made on."""

from __future__ import annotations

import re

# From the root or a drive, and at least one folder deep; what stands behind a host's name is none.
_POSIX = r"(?:(?<![\w.])file:/+|(?<![\w./~<-])/(?!/))(?:[^\s/\"'<>|,;:]+/)+"
_HOME = r"(?<![\w/])~[\w.-]*/(?:[^\s/\"'<>|,;:]+/)*"
_WINDOWS = r"(?<!\w)(?:[A-Za-z]:|\\)\\+(?:[^\s\\\"'<>|,;:]+\\+)+"
_FOLDERS = re.compile(f"{_POSIX}|{_HOME}|{_WINDOWS}")


def without_folders(text: str) -> str:
    """A text in which of every absolute path the last component is left."""
    return _FOLDERS.sub("", text)
