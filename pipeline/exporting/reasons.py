"""Why a bundle ships, in a sentence, and what could be tried for more."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipeline.exporting.candidates import (
    FULL,
    SAME_ANSWERS,
    ShippingCandidate,
    latency_of,
    size_of,
)


def reason_for(
    best: ShippingCandidate, candidates: Sequence[ShippingCandidate], max_drop: float | None
) -> str:
    """Why `best` is the one that ships, and why lower precision is not: one sentence."""
    limit = limit_words(max_drop, best.metric)
    if not best.meets_limit:
        return (
            f"{best.bundle} comes closest to the limit of {limit}, which none "
            f"keeps: it is {best.drop_words}, {_excess_words(best, max_drop)}"
        )
    keeps = "" if max_drop is None else f" that keeps the limit of {limit}"
    if best.p50_ms is None and len(candidates) == 1:
        return f"{best.bundle} is all that could be made{keeps}: {best.model_bytes / 1e3:,.0f} kB"
    if best.p50_ms is None and _was_picked_by_what_is_published(best, candidates):
        return (
            f"{best.bundle} is published as the fastest in {best.precision} on such a core"
            f"{keeps}, {best.published:.2f} of the time of ONNX Runtime in FP32, and "
            f"{best.drop_words}; it is not measured, for want of a host"
        )
    if best.p50_ms is None:
        return (
            f"{best.bundle} is the smallest{keeps}: {best.model_bytes / 1e3:,.0f} kB and "
            f"{best.drop_words}; whether it is faster is not measured, for want of a host"
        )
    if best.ratio is not None and best.precision != FULL:
        main = f"{best.ratio.words} as fast as FP32 and {best.drop_words}"
    else:
        main = f"{best.p50_ms:.3g} ms for one image"
    why_not_lower = _why_lower_is_not_shipped(best, candidates, max_drop)
    return "; ".join([f"{best.bundle} is the fastest{keeps}: {main}", *why_not_lower])


def _was_picked_by_what_is_published(
    best: ShippingCandidate, candidates: Sequence[ShippingCandidate]
) -> bool:
    return best.published is not None and any(
        candidate.published is not None
        for candidate in candidates
        if candidate.meets_limit and candidate.precision == best.precision and candidate != best
    )


def limit_words(max_drop: float | None, metric: str | None = None) -> str:
    """A limit in points: "0.5 points", "1 point"; or of a metric: "0.5 of macro_f1"."""
    if max_drop is None:
        return "none"
    if metric == SAME_ANSWERS:
        return f"{max_drop:g} % of other answers"
    if metric is not None:
        return f"{max_drop:g} of {metric}"
    return f"{max_drop:g} point{'' if max_drop == 1 else 's'}"


def _why_lower_is_not_shipped(
    best: ShippingCandidate, candidates: Sequence[ShippingCandidate], max_drop: float | None
) -> list[str]:
    """Why lower precision than the chosen one's does not ship."""
    if best.precision == "int8":
        return []
    return [
        _why_not_shipped(candidate, max_drop)
        for candidate in _best_of_lower_precision(candidates)
        if candidate != best
    ]


def _best_of_lower_precision(candidates: Sequence[ShippingCandidate]) -> list[ShippingCandidate]:
    """The best INT8 candidate of each format; where there is none, the best of lower precision."""
    reduced = [candidate for candidate in candidates if candidate.precision != FULL]
    reduced = [candidate for candidate in reduced if candidate.precision == "int8"] or reduced
    best: dict[str, ShippingCandidate] = {}
    for candidate in sorted(
        reduced,
        key=lambda candidate: (not candidate.meets_limit, latency_of(candidate), candidate.drop),
    ):
        best.setdefault(candidate.format, candidate)
    return list(best.values())


def _why_not_shipped(candidate: ShippingCandidate, max_drop: float | None) -> str:
    if not candidate.meets_limit:
        return f"{candidate.bundle} is {candidate.drop_words}, {_excess_words(candidate, max_drop)}"
    if candidate.ratio is None:
        return f"{candidate.bundle} was not timed"
    if candidate.is_faster:
        return (
            f"{candidate.bundle} is {candidate.ratio.words} as fast as FP32 of its format, yet "
            "slower"
        )
    shown = "slower than" if candidate.ratio.high < 1 else "not faster than"
    return f"{candidate.bundle} is {shown} FP32 on this host, {candidate.ratio.words} as fast"


def advice_for(
    best: ShippingCandidate,
    candidates: Sequence[ShippingCandidate],
    max_drop: float | None,
    *,
    trained_in_int8: bool = False,
) -> str | None:
    """What could be tried where `best` is not what one would wish for.

    `trained_in_int8`: the run has a stage for that already.
    """
    beyond = [
        candidate
        for candidate in candidates
        if not candidate.meets_limit and _would_win(candidate, best)
    ]
    if beyond:
        nearest = min(
            beyond,
            key=lambda candidate: (candidate.drop, latency_of(candidate), size_of(candidate)),
        )
        stage = 'a last stage with quantize = "int8", more images in data.calibration_images'
        if trained_in_int8:
            stage = "more epochs of the stage that trains in INT8"
        return (
            f"for {nearest.bundle}, {_excess_words(nearest, max_drop)}: {stage}, or a limit of "
            f"{limit_words(_rounded_up(nearest.drop), nearest.metric)}"
        )
    if best.p50_ms is None and len(candidates) > 1:
        return "name a machine of the target's kind (--host), and the bundles are timed there"
    if best.precision == FULL:
        same = [
            candidate
            for candidate in candidates
            if _is_as_fast(candidate) and candidate.format == best.format
        ]
        for candidate in sorted(same, key=size_of)[:1]:
            share = candidate.model_bytes / best.model_bytes
            return (
                f"{candidate.bundle} was not shown to be slower and is {share:.2f}× the size, "
                "should size count for more"
            )
    return None


def _would_win(candidate: ShippingCandidate, best: ShippingCandidate) -> bool:
    """Whether it would have shipped, had it kept the limit."""
    if not best.meets_limit:
        return True
    if best.p50_ms is None:
        return candidate.p50_ms is None and size_of(candidate) < size_of(best)
    return candidate.is_faster and latency_of(candidate) < best.p50_ms


def _is_as_fast(candidate: ShippingCandidate) -> bool:
    ratio = candidate.ratio
    return candidate.meets_limit and ratio is not None and ratio.low <= 1 <= ratio.high


def _excess_words(candidate: ShippingCandidate, max_drop: float | None) -> str:
    assert max_drop is not None, "without a limit there is none to miss"
    return f"{candidate.drop - max_drop:.2f} more than allowed"


def _rounded_up(drop: float) -> float:
    """To hundredths, so that the limit lets it in; what floats add to a sum does not count."""
    return math.ceil(round(100 * drop, 6)) / 100
