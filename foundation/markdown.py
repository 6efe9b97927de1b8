"""Text as GitHub-flavoured Markdown shows it, letter for letter.

A name of other people's making draws no picture, makes no link, calls nobody and leaves no cell.
"""

from __future__ import annotations

import re

from foundation.words import one_line

_NOTHING_WIDE = "&#8203;"

_ESCAPES = (
    (re.compile(r"&(?=#?\w+;)"), "&amp;"),
    (re.compile(r"<"), "&lt;"),
    (re.compile(r">"), "&gt;"),
    (re.compile(r"[\\`\[\]|~$]"), r"\\\g<0>"),
    # Within a word, and between spaces, these are themselves.
    (re.compile(r"(?<![^\W_])_|_(?![^\W_])|\*(?=\S)|(?<=\S)\*"), r"\\\g<0>"),
    # At the beginning of a line these make headings and lists.
    (re.compile(r"^(#{0,5}|\d{0,9})([#+.)-])(?=\s|$)"), r"\1\\\2"),
    (re.compile(r"^(=*|-*)([=-])$"), r"\1\\\2"),
    # An address becomes a link, and @name a message to somebody, unless they are interrupted.
    (re.compile(r"(?i)\b(https?|ftp):(?=//)|\bwww(?=\.)"), rf"\g<0>{_NOTHING_WIDE}"),
    (re.compile(r"(?<![\w.])@(?=\w)"), rf"@{_NOTHING_WIDE}"),
)


def escaped(text: str) -> str:
    """Text for any place within a line of Markdown, a table's cell too."""
    line = one_line(text)
    for pattern, replacement in _ESCAPES:
        line = pattern.sub(replacement, line)
    return line
