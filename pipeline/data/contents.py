"""What a file is by its first bytes, in a person's words."""

from __future__ import annotations

import re

START = 64
"""How many of a file's first bytes say what it is."""

_READ = {
    rb"\xff\xd8\xff": "a JPEG picture",
    rb"\x89PNG\r\n\x1a\n": "a PNG picture",
    rb"GIF8": "a GIF picture",
    rb"BM....\0\0\0\0": "a BMP picture",
    rb"II\*\0|MM\0\*": "a TIFF picture",
    rb"\0\0\0\x0cjP|\xff\x4f\xff\x51": "a JPEG 2000 picture",
    rb"P[1-6]\s": "a PNM picture",
    rb"RIFF....WEBP": "a WebP picture",
    rb"....ftypavi[fs]": "an AVIF picture",
}
_NOT_READ = {
    rb"....ftyp(?:hei|hev|mif1|msf1)": "a HEIC picture",
    rb"\xff\x0a|\0\0\0\x0cJXL ": "a JPEG XL picture",
    rb"8BPS": "a Photoshop file",
    rb"%!PS|\xc5\xd0\xd3\xc6": "a PostScript file",
    rb"%PDF": "a PDF document",
    rb"SIMPLE  =": "a FITS file",
    rb"\xd7\xcd\xc6\x9a": "a Windows metafile",
    rb"\0\0[\x01\x02]\0": "an icon",
    rb"PK\x03\x04": "a zip archive",
    rb"\x1f\x8b": "a gzip archive",
    rb"7z\xbc\xaf": "a 7z archive",
    rb"Rar!": "a RAR archive",
    rb"\x89HDF": "an HDF5 file",
    rb"\0\x05\x16\x07": "a resource fork of macOS",
    rb"version https://git-lfs": "a pointer of Git LFS (git lfs pull fetches the picture)",
    rb"(?:\xef\xbb\xbf)?\s*<(?i:!doctype html|html|head)": "a web page",
    rb"(?:\xef\xbb\xbf)?\s*<(?i:svg|\?xml)": "an SVG drawing or other XML",
}
_SIGNS = [
    (re.compile(sign, re.DOTALL), words, is_read)
    for kinds, is_read in ((_READ, True), (_NOT_READ, False))
    for sign, words in kinds.items()
]


def content_kind(start: bytes) -> tuple[str | None, bool]:
    """What a file is by its first bytes, or None, and whether it is a picture that is read."""
    matches = ((words, is_read) for sign, words, is_read in _SIGNS if sign.match(start))
    return next(matches, (None, False))
