"""Spans of time as people write them: 90s, 30m, 1h, 1h30m."""

from __future__ import annotations

import re

_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_PARTS = re.compile(
    r"(?:(\d{1,4}(?:\.\d{1,3})?)h)?(?:(\d{1,6}(?:\.\d{1,3})?)m)?(?:(\d{1,7}(?:\.\d{1,3})?)s)?"
)


def seconds_in(text: str) -> float:
    """The seconds of a span such as "90s", "30m" or "1h30m".

    Raises:
        ValueError: when it is no such span: "must be …", without the text itself.
    """
    match = _PARTS.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        raise ValueError("must be a span of time such as 90s, 30m or 1h30m")
    parts = zip(match.groups(), _SECONDS.values(), strict=True)
    return sum(float(number) * unit for number, unit in parts if number)


def span_words(seconds: float) -> str:
    """A span for people: "3.5 s", "90 s", "4.5 minutes", "1.5 hours"."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{_short(minutes)} minutes" if minutes < 120 else f"{_short(minutes / 60)} hours"


def _short(value: float) -> str:
    """One digit behind the point where it tells something."""
    return f"{value:.0f}" if value >= 20 or round(value, 1) == round(value) else f"{value:.1f}"
