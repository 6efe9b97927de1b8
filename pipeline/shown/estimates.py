"""Estimates as rows of words."""

from __future__ import annotations

from collections.abc import Sequence

from deploy_targets.estimating.estimate import Estimate
from pipeline.shown.words import number


def estimate_rows(estimates: Sequence[Estimate]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of a table of estimates, which says of each figure that it is one."""
    heads = ["bundle", "target", "runtime × threads", "estimate ms", "low", "high", "rests on"]
    rows = [
        [
            estimate.bundle.name,
            estimate.target,
            f"{estimate.runtime} × {estimate.threads}",
            *(number(ms, 2) for ms in (value.value, value.low, value.high)),
            estimate.basis.words,
        ]
        for estimate in estimates
        if (value := estimate.latency_ms)
    ]
    return heads, rows
