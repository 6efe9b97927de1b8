"""What the values of a record cannot be, in words.

A record tells of its problems in a method `problems`, which `foundation.records.build` asks
when all types are right: numbers are finite by then. What is None is not told, and so no problem.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator

# A percentile that is farther out needs over seven million queries, for which there is no time.
SMALLEST_PERCENT, LARGEST_PERCENT = 0.0001, 99.9999

# Of a mean and the like, which rounding may carry past its bounds.
_ROUNDING = 1e-9
_SHA256 = re.compile(r"[0-9a-f]{64}")


def at_least(least: float, **values: float | None) -> Iterator[str]:
    """Values that lie below the least that can be."""
    for name, value in values.items():
        if value is not None and value < least:
            yield f"{name} must be at least {least:g}, but got {value:g}"


def above_zero(**values: float | None) -> Iterator[str]:
    """Values that are zero or less."""
    for name, value in values.items():
        if value is not None and value <= 0:
            yield f"{name} must be above 0, but got {value:g}"


def shares(**values: float | None) -> Iterator[str]:
    """Values that are no share of a whole (0..1)."""
    for name, value in values.items():
        if value is not None and not 0 <= value <= 1:
            yield f"{name} must be from 0 to 1, but got {value:g}"


def ascending(**values: float) -> Iterator[str]:
    """Neighbours of which the second lies below the first by more than rounding does it."""
    for (name, value), (next_name, next_value) in itertools.pairwise(values.items()):
        if value > next_value + _ROUNDING * max(abs(value), abs(next_value)):
            yield f"{name} ({value:g}) must not lie above {next_name} ({next_value:g})"


def ends_of_interval(low: float | None, high: float | None) -> Iterator[str]:
    """An interval that lacks an end, or whose ends are the wrong way round."""
    if low is None or high is None:
        if low != high:
            yield "must have both low and high, or neither"
    elif low > high:
        yield f"low ({low:g}) must not lie above high ({high:g})"


def is_percentile(percent: float) -> bool:
    """Whether there is a use in asking for it."""
    return SMALLEST_PERCENT <= percent <= LARGEST_PERCENT


def known(names: Collection[str], **values: str) -> Iterator[str]:
    """Values that are none of the known names."""
    for name, value in values.items():
        if value not in names:
            yield f"{name} must be one of {', '.join(names)}, but got {value[:80]!r}"


def named(**values: str | None) -> Iterator[str]:
    """Names that are empty, very long or not printable."""
    for name, value in values.items():
        if value is not None and not (value.strip() and len(value) <= 500 and value.isprintable()):
            yield f"{name} must be a plain name, but got {value[:80]!r}"


def sha256(**values: str | None) -> Iterator[str]:
    """What is no SHA-256 in hexadecimal digits."""
    for name, value in values.items():
        if value is not None and not _SHA256.fullmatch(value):
            yield f"{name} must be a SHA-256, but got {value[:80]!r}"


def bits_set(digits: str, n: int) -> int | None:
    """How many of n bits, written as hexadecimal digits and filled up with zeros, are set.

    Returns:
        None where the digits are not those of n bits.
    """
    try:
        content = bytes.fromhex(digits)
    except ValueError:
        return None
    if len(digits) != 2 * len(content) or len(content) != (n + 7) // 8:
        return None
    number = int.from_bytes(content, "big")
    return None if number & ((1 << (8 * len(content) - n)) - 1) else number.bit_count()
