"""A bundle that could ship, and what is known of it. No torch is imported here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from deploy_targets import comparison
from foundation.sense import above_zero, ascending, named, shares

FULL = "fp32"
SAME_ANSWERS = "answers as FP32"
"""What drops are of where images have no labels: percent of them that are named as FP32 names
them."""

# Shares of few images differ by less than this only in how they were computed.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Speedup:
    """Latency of FP32 over a bundle's, in the same format: above 1 the bundle is the faster one.

    Attributes:
        low, high: its 95 % confidence interval.
    """

    estimate: float
    low: float
    high: float

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from above_zero(low=self.low)
        yield from ascending(low=self.low, estimate=self.estimate, high=self.high)

    @property
    def words(self) -> str:
        return f"{self.estimate:.2f}× ({self.low:.2f} to {self.high:.2f})"


def speedup_of(to_baseline: comparison.Ratio) -> Speedup:
    """The ratio the other way round: a comparison divides by its baseline's latency."""
    return Speedup(1 / to_baseline.estimate, 1 / to_baseline.high, 1 / to_baseline.low)


@dataclass(frozen=True)
class ShippingCandidate:
    """A bundle that could ship.

    Attributes:
        validation_top1: 0..1; without labels the share of images that are named as FP32 names
            them.
        drop: percentage points, or of `metric`, below FP32 on the same validation images; negative
            when above.
        drop_low, drop_high: its 95 % confidence interval.
        p50_ms: median latency of one image; None where it was not measured.
        ratio: against FP32 of the same format; None for that one, and where it was not measured.
        executed: the precision that the runtime ran most operators in, where it tells.
        meets_limit: whether the drop keeps the limit; see `keeps_limit`.
        excluded: operators that were kept in higher precision.
        metric: what the drop is of, in its own unit, where that is not top-1.
        published: latency divided by that of ONNX Runtime in FP32, as others published it for such
            a core; None where nothing is known, and where it was measured.
    """

    bundle: str
    format: str
    precision: str
    validation_top1: float
    drop: float
    drop_low: float
    drop_high: float
    model_bytes: int
    p50_ms: float | None
    ratio: Speedup | None
    executed: str | None
    meets_limit: bool
    excluded: list[str] = field(default_factory=list)
    metric: str | None = None
    published: float | None = None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from named(bundle=self.bundle, format=self.format, precision=self.precision)
        yield from shares(validation_top1=self.validation_top1)
        yield from ascending(drop_low=self.drop_low, drop=self.drop, drop_high=self.drop_high)
        yield from above_zero(
            model_bytes=self.model_bytes, p50_ms=self.p50_ms, published=self.published
        )

    @property
    def is_faster(self) -> bool:
        """Whether it was shown to be faster than FP32 of the same format."""
        return self.ratio is not None and self.ratio.low > 1

    @property
    def drop_words(self) -> str:
        """Its accuracy against FP32: "0.20 points below FP32 (−0.10 to 0.50)"."""
        if self.metric == SAME_ANSWERS:
            share = (
                f"{_signed(self.drop)} % ({_signed(self.drop_low)} to {_signed(self.drop_high)})"
            )
            return f"of other answers than FP32 for {share} of the images"
        unit = "points" if self.metric is None else f"of {self.metric}"
        if self.metric is None and round(self.drop, 2) == 0:
            return f"as accurate as FP32 ({_signed(self.drop_low)} to {_signed(self.drop_high)})"
        if self.drop < 0:
            interval = f"{_signed(-self.drop_high)} to {_signed(-self.drop_low)}"
            return f"{-self.drop:.2f} {unit} above FP32 ({interval})"
        interval = f"{_signed(self.drop_low)} to {_signed(self.drop_high)}"
        return f"{self.drop:.2f} {unit} below FP32 ({interval})"


def keeps_limit(drop: float, max_drop: float | None) -> bool:
    """Whether a drop, in percentage points, is within the limit; without one, any is."""
    return max_drop is None or drop <= max_drop + _ROUNDING


def latency_of(candidate: ShippingCandidate) -> float:
    """Median latency in milliseconds; infinite where it was not measured, so that it sorts last."""
    return float("inf") if candidate.p50_ms is None else candidate.p50_ms


def size_of(candidate: ShippingCandidate) -> tuple[int, str]:
    """The smallest first; the name decides between equals."""
    return candidate.model_bytes, candidate.bundle


def _signed(points: float) -> str:
    return f"{round(points, 2) + 0.0:.2f}".replace("-", "−")
