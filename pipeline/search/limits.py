"""What a bundle must keep to be picked, or a trial to be worth training: "latency_p95<=20ms"."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from foundation.errors import UsageError, unknown_name
from pipeline.gating.metrics import Figure

# Of each figure the unit in which it is kept, and what others come to in it.
UNITS: Mapping[str, Mapping[str, float]] = {
    **{
        f"latency_p{name}": {"ms": 1, "us": 1e-3, "µs": 1e-3, "s": 1e3}
        for name in ("50", "90", "95", "99")
    },
    "size": {"MB": 1, "kB": 1e-3, "B": 1e-6},
    "memory": {"MiB": 1, "MB": 1e6 / 2**20, "GiB": 1024, "GB": 1e9 / 2**20},
    "energy": {"J": 1, "mJ": 1e-3},
    "accuracy": {"%": 1},
    "accuracy_drop": {"points": 1, "%": 1},
    "metric": {"": 1},
}
HIGHER_IS_BETTER = {"accuracy", "metric"}

_SPLIT = re.compile(r"\s*(?:,|&&|\band\b)\s*")
_LIMIT = re.compile(r"([a-z][a-z0-9_]*)\s*(<=|>=|<|>)\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*(\S*)")
_EXAMPLE = '"latency_p95<=20ms"'

Holds = Literal["kept", "undecided", "broken"]


@dataclass(frozen=True)
class PointLimit:
    """One limit.

    Attributes:
        figure: which; a key of `UNITS`.
        sign: "<=", ">=", "<" or ">".
        bound: in the figure's own unit.
    """

    figure: str
    sign: str
    bound: float

    @property
    def words(self) -> str:
        """As it can be read again."""
        unit = next(iter(UNITS[self.figure]))
        return f"{self.figure}{self.sign}{self.bound:.10g}{unit}"

    def holds(self, figure: Figure | None) -> Holds:
        """Whether a figure's whole interval keeps it, breaks it, or neither; without one, neither
        can be told."""
        if figure is None:
            return "undecided"
        ends = [self._keeps(figure.low), self._keeps(figure.high)]
        if all(ends):
            return "kept"
        return "undecided" if any(ends) else "broken"

    def _keeps(self, value: float) -> bool:
        return {
            "<=": value <= self.bound,
            "<": value < self.bound,
            ">=": value >= self.bound,
            ">": value > self.bound,
        }[self.sign]


def parse_limits(text: str, where: str = "--pick") -> list[PointLimit]:
    """All limits in a text, which "and" or a comma parts.

    Raises:
        UnknownNameError: when there is no such figure.
        UsageError: when one is not written as a limit, in a unit of its figure.
    """
    parts = _SPLIT.split(text.strip())
    return [_parsed(part, where) for part in parts]


def parse_all(texts: Sequence[str], where: str) -> list[PointLimit]:
    """The limits in several texts; errors as `parse_limits`."""
    return [limit for text in texts for limit in parse_limits(text, where)]


def _parsed(text: str, where: str) -> PointLimit:
    match = _LIMIT.fullmatch(text)
    if not match:
        raise UsageError(f"{where}: {text!r} is no limit; write it like {_EXAMPLE}")
    figure, sign, number, unit = match.groups()
    if figure not in UNITS:
        raise unknown_name("figure", figure, UNITS, where)
    units = UNITS[figure]
    if unit and unit not in units:
        known = " or ".join(filter(None, units)) or "a unit of its own, which is not written"
        raise UsageError(f"{where}: {text!r} is in {unit}, but {figure} is in {known}")
    try:
        bound = float(number) * units[unit or next(iter(units))]
    except ValueError as error:
        raise UsageError(f"{where}: {number!r} in {text!r} is no number") from error
    return PointLimit(figure, sign, bound)
