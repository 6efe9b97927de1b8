"""Figures and foreign text as words, for the terminal and for pages."""

from __future__ import annotations

from rich.markup import escape

from foundation.words import plain


def safe(text: str) -> str:
    """Text from elsewhere, that is shown as it is: no markup of rich's, no word to a terminal."""
    return escape(plain(text))


def signed(change: float | None) -> str:
    """A change in percentage points: "−1.50", "+0.20", "±0.00"; a dash where there is none."""
    if change is None:
        return "–"
    sign = "±" if round(change, 2) == 0 else "+" if change > 0 else "−"
    return f"{sign}{abs(change):.2f}"


def number(value: float | None, digits: int) -> str:
    """A figure, or a dash where there is none."""
    return "–" if value is None else f"{value:,.{digits}f}"
