"""What is an image file and what is a class folder: one rule for folders, shards and tables.

A file is an image by its suffix, in any case. What hides (its name begins with a dot) and what
operating systems leave behind is neither an image nor a class.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "PPM", "TIFF", "WEBP", "JPEG2000", "AVIF")
"""What Pillow may take a file for. Some of its other formats start programs (EPS), or are no
pictures to look at."""

SUFFIXES = {
    *("apng", "avif", "bmp", "dib", "gif", "j2c", "j2k", "jfif", "jp2", "jpc", "jpe", "jpeg"),
    *("jpf", "jpg", "jpx", "mpo", "pbm", "pgm", "png", "pnm", "ppm", "tif", "tiff", "webp"),
}
"""Suffixes of image files, without the dot."""

_FOREIGN = {
    *("ai", "arw", "cr2", "cr3", "cur", "dcm", "dng", "eps", "fits", "hdr", "heic", "heif", "ico"),
    *("jxl", "nef", "orf", "pcx", "pdf", "pfm", "psd", "qoi", "raf", "raw", "rw2", "sgi", "svg"),
    *("tga", "wmf", "xcf"),
}
_LEFT_BEHIND = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "__pycache__", "@eadir"),
    *("@recycle", "#recycle", "$recycle.bin", "system volume information", "lost+found"),
}


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is nobody's data."""
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def is_image(name: str) -> bool:
    """Whether a file of this name is an image."""
    return _suffix(name) in SUFFIXES and not is_hidden(name)


def is_foreign_image(name: str) -> bool:
    """Whether a file of this name is a picture of a kind that is not read."""
    return _suffix(name) in _FOREIGN


def _suffix(name: str) -> str:
    # By hand, for it is asked of a million names: pathlib takes ten times as long.
    return name.rpartition(".")[2].lower() if "." in name else ""


def shown(path: str | os.PathLike[str]) -> str:
    """A path that can be printed and written into JSON, whatever its bytes are."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def a_few(names: Iterable[str], most: int = 3) -> str:
    """The first few of some names, quoted, for a message."""
    names = list(names)
    quoted = ", ".join(repr(shown(name)) for name in names[:most])
    return f"{quoted}, …" if len(names) > most else quoted
