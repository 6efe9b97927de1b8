"""What a runtime makes of a roofline, learnt from measurements of the same kind of core.

A model takes its roofline's time divided by an efficiency, and a little for each operator:
`roofline / efficiency + operators × overhead`. Few measurements say little of their own spread,
so it is mixed with what it was between networks elsewhere (docs/targets.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from foundation.sense import above_zero, ascending

CONFIDENCE = 0.9

# Of the roofline, what networks reach where nothing was measured: nothing is faster than all of
# it, and small networks on small boards have been near a twentieth.
UNMEASURED_EFFICIENCY = (0.05, 0.2, 1.0)

# Fewer than these tell the two parts of the time not apart.
_FEWEST_FOR_TWO = 3
# The spread (standard deviation of the logarithm) that one expects before measuring, and as how
# many measurements it counts; it is larger where the two parts are not told apart.
_SPREAD, _COUNTS_AS = 0.25, 4
_DOUBT_OF_ONE_PART = 1.6


@dataclass(frozen=True)
class Range:
    """A value, and what it lies between."""

    value: float
    low: float
    high: float

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from above_zero(low=self.low)
        yield from ascending(low=self.low, value=self.value, high=self.high)

    def scaled(self, factor: float) -> Range:
        return Range(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Observation:
    """A measured model.

    Attributes:
        roofline_ms: its least time.
        operators: how many it has.
        measured_ms: median latency.
    """

    roofline_ms: float
    operators: int
    measured_ms: float


@dataclass(frozen=True)
class Calibration:
    """What was learnt.

    Attributes:
        efficiency: of the roofline, at best.
        overhead_ms: for each operator, besides.
        factor: a new model takes the predicted time, multiplied by this, low and high.
    """

    efficiency: float
    overhead_ms: float
    factor: Range

    def predict(self, roofline_ms: float, operators: int) -> Range:
        """Milliseconds, with the interval that holds at `CONFIDENCE`."""
        return self.factor.scaled(roofline_ms / self.efficiency + operators * self.overhead_ms)


def unmeasured(roofline_ms: float) -> Range:
    """Milliseconds where nothing was measured: wide."""
    low, usual, high = UNMEASURED_EFFICIENCY
    return Range(roofline_ms / usual, roofline_ms / high, roofline_ms / low)


def calibrate(observations: Sequence[Observation], doubt: float = 1.0) -> Calibration:
    """Fit efficiency and overhead to at least one observation, by relative errors.

    Args:
        observations: all of the kind of model and runtime that is to be predicted, or nearly.
        doubt: the spread expected beforehand is multiplied by it, where they are only nearly so.
    """
    slope, overhead = _fit(observations)
    if len(observations) < _FEWEST_FOR_TWO:
        doubt *= _DOUBT_OF_ONE_PART
    errors = [
        math.log(o.measured_ms / (o.roofline_ms * slope + o.operators * overhead))
        for o in observations
    ]
    middle = sum(errors) / len(errors)
    freedom = _COUNTS_AS + len(errors) - 1 - (overhead > 0)
    squares = sum((error - middle) ** 2 for error in errors) + _COUNTS_AS * (_SPREAD * doubt) ** 2
    spread = math.sqrt(squares / freedom * (1 + 1 / len(errors)))
    half = _student_t(freedom) * spread
    factor = Range(math.exp(middle), math.exp(middle - half), math.exp(middle + half))
    return Calibration(1 / slope, overhead, factor)


def _fit(observations: Sequence[Observation]) -> tuple[float, float]:
    """Time for each millisecond of roofline and for each operator; neither is below zero."""
    shares = [(o.roofline_ms / o.measured_ms, o.operators / o.measured_ms) for o in observations]
    if len(shares) >= _FEWEST_FOR_TWO:
        a = sum(x * x for x, _ in shares)
        b = sum(x * y for x, y in shares)
        c = sum(y * y for _, y in shares)
        p, q = sum(x for x, _ in shares), sum(y for _, y in shares)
        determinant = a * c - b * b
        if determinant > 1e-9 * a * c:
            slope, overhead = (p * c - q * b) / determinant, (q * a - p * b) / determinant
            if slope > 0 and overhead > 0:
                return slope, overhead
    return math.exp(-sum(math.log(x) for x, _ in shares) / len(shares)), 0.0


def _student_t(freedom: int) -> float:
    """Student's t that `CONFIDENCE` of all values lie within, by Cornish and Fisher's series."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
