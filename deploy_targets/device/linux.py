"""Reading what Linux says in small files. What is not there, or is no number, is None, never 0."""

from __future__ import annotations

from pathlib import Path

ROOT = Path("/")


def text(path: Path) -> str | None:
    """A file's text without the blanks around it; None where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \t\n") or None
    except OSError:
        return None


def number(raw: str | None) -> float | None:
    """What a text says, if that is a number."""
    try:
        return float(raw) if raw is not None else None
    except ValueError:
        return None


def number_in(path: Path) -> float | None:
    """The number that a file holds."""
    return number(text(path))


def fields(path: Path) -> dict[str, str]:
    """`key : value` lines; of a repeated key (one a core) the first counts."""
    values: dict[str, str] = {}
    for line in (text(path) or "").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            values.setdefault(key.strip(), value.strip())
    return values


def mib(size: str | None) -> float | None:
    """MiB of a text such as "1234 kB"."""
    kib = number(size.removesuffix("kB")) if size else None
    return None if kib is None else kib / 1024
