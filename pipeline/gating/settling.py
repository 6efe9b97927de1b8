"""Measuring again what was inconclusive, without asking until the answer is yes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from pipeline.gating.verdict import INCONCLUSIVE, Check, Verdict, after_another_look

logger = logging.getLogger(__name__)

MeasureAgain = Callable[[Sequence[Check], int], None]
"""Makes new measurements for checks; told the number of the look, from 2."""


def settle(
    judge: Callable[[], Verdict],
    measure_again: MeasureAgain,
    retries: int,
) -> Verdict:
    """Judge, and look again at what could not be told, a bounded number of times.

    Each look rests on new data alone, and only on what is still open: a limit that was once kept
    or broken stays so. A look's bounds hold at 99 % each, so that four of them, and a stored
    reference that all share, are wrong at most five times in a hundred: what a verdict promises.

    Args:
        judge: holds what was measured last against the budget.
        measure_again: makes new measurements for checks; told the number of the look, from 2.
        retries: looks after the first, at most.
    """
    verdict = judge()
    for look in range(2, retries + 2):
        undecided = [
            check for check in verdict.checks if check.verdict == INCONCLUSIVE and check.repeatable
        ]
        if not undecided:
            break
        logger.info("look %d: %d checks are undecided", look, len(undecided))
        measure_again(undecided, look)
        verdict = after_another_look(verdict, judge(), look)
    return verdict
