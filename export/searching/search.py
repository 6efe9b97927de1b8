"""Accuracy under a limit: the fastest model whose accuracy falls by no more than allowed.

How a model is made and measured is the caller's: `make` turns a candidate into a trial. The
search begins with FP32, so there always is a result. Then come the other precisions, then INT8
under the target's scheme, under others, and with the most sensitive operators in floating point.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from export._libraries import failing_as
from export.quantization import QuantizationScheme
from export.searching.trials import ModelVariant, Trial, TrialFiles, TrialResult, paired_drop
from foundation.errors import ExportError

logger = logging.getLogger(__name__)

# Where nothing is timed: the usual order, the fastest first.
_USUAL_ORDER = ("int8", "bf16", "fp16", "fp32")
_FEW_IMAGES = 200


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found.

    Attributes:
        best: the fastest trial that meets the limit; FP32 always does.
        limit: allowed drop, in points.
        met: whether an INT8 model meets it.
        gap: by how many points the most accurate INT8 model misses it; 0 if met, None if no
            INT8 model could be made.
        advice: what to try next, in one sentence; empty if INT8 meets the limit and is the best.
        trials: all of them, in the order they were made.
        notes: what did not go as it should, and why.
    """

    best: TrialResult
    limit: float
    met: bool
    gap: float | None
    advice: str
    trials: list[TrialResult]
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        return {
            "best": self.best.as_dict(),
            "limit": self.limit,
            "met": self.met,
            "gap": self.gap,
            "advice": self.advice,
            "trials": [trial.as_dict() for trial in self.trials],
            "notes": self.notes,
        }


def search(
    make: Callable[[ModelVariant], Trial],
    rank: Callable[[QuantizationScheme], Sequence[str]],
    *,
    schemes: Sequence[QuantizationScheme],
    limit: float,
    precisions: Sequence[str] = (),
    max_trials: int = 12,
    tolerated_drop: float = math.inf,
    folder: Path | None = None,
    context: str = "",
    calibration_images: int | None = None,
    trained_in_int8: bool = False,
    alternative: Callable[[TrialResult], ModelVariant | None] | None = None,
    on_trial: Callable[[TrialResult, int], None] | None = None,
) -> SearchResult:
    """Find the fastest model whose accuracy falls by at most `limit` points.

    Args:
        make: makes and measures a candidate. An ExportError of it is a trial that failed.
        rank: operators by what they cost, the first to stay in floating point first; asked
            once at most, and only if no scheme alone meets the limit. Where it fails, none stays
            in floating point, and a note says why.
        schemes: for INT8, the target's own first; what comes after it is tried where it fails.
        limit: allowed drop of accuracy, in points (0.5 is half a percent of the images).
        precisions: others to try besides FP32 and INT8, such as "fp16" and "bf16".
        max_trials: how many candidates are made at most, FP32 included, at least 1.
        tolerated_drop: a trial whose drop's whole interval is above so many points has failed.
        folder: keeps each finished trial as a file; those in it are not made again.
        context: what a trial depends on besides the candidate (checksums of the weights and the
            images, versions); trials of another context are made anew.
        calibration_images: how many there are, for the advice.
        trained_in_int8: whether the network was, for the advice.
        alternative: another form of an INT8 model that meets the limit, which may be faster and is
            tried too; None where there is none.
        on_trial: told each result and how many trials are left at most.

    Raises:
        ExportError: when FP32 itself cannot be made.
        ValueError: when `limit` is negative or `max_trials` is below 1.
    """
    if not limit >= 0 or max_trials < 1:
        raise ValueError(
            f"limit must be at least 0 and max_trials at least 1, but got {limit=}, {max_trials=}"
        )
    files = TrialFiles(folder, context)
    run = _Run(
        make, limit, max_trials, files, on_trial or (lambda *_: None), tolerated_drop=tolerated_drop
    )
    if run.baseline is None:
        raise ExportError(f"FP32 itself cannot be made: {run.results[0].error}")
    for precision in precisions:
        run.try_one(ModelVariant(precision))
    for scheme in schemes:
        if (result := run.try_one(ModelVariant("int8", scheme))) and result.meets(limit):
            break
    _keep_operators(run, rank)
    if alternative and (made := run.int8()) and made[0].meets(limit):
        variant = alternative(_first_choice(made, limit))
        if variant is not None:
            run.try_one(variant)
    return _concluded(run, calibration_images, trained_in_int8=trained_in_int8)


def _first_choice(made: Sequence[TrialResult], limit: float) -> TrialResult:
    """Of those that meet the limit the one with fewest operators kept."""
    meeting = [result for result in made if result.meets(limit)]
    return min(meeting, key=lambda result: len(result.candidate.scheme.excluded))


class _Run:
    """The trials so far; FP32 is made at once."""

    def __init__(
        self,
        make: Callable[[ModelVariant], Trial],
        limit: float,
        max_trials: int,
        files: TrialFiles,
        on_trial: Callable[[TrialResult, int], None],
        *,
        tolerated_drop: float,
    ) -> None:
        self.limit = limit
        self.left = max_trials
        self.results: list[TrialResult] = []
        self.notes: list[str] = []
        self.baseline: Trial | None = None
        self._make, self._files, self._on_trial = make, files, on_trial
        self._tolerated_drop = tolerated_drop
        first = self.try_one(ModelVariant("fp32"))
        self.baseline = first.trial if first else None

    def try_one(self, candidate: ModelVariant) -> TrialResult | None:
        """Make and judge a candidate, or take what an earlier run found; None if none is left."""
        if self.left <= 0:
            return None
        self.left -= 1
        finished = self._files.read(candidate)
        trial, error = finished or self._make_or_error(candidate)
        if not finished:
            self._files.write(candidate, trial, error)
        result = self._compared_to_fp32(
            TrialResult(candidate, trial, error=error, resumed=bool(finished))
        )
        drop = error or f"{result.drop:+.2f} points lost"
        before = " (done before)" if finished else ""
        logger.info("trial %s%s: %s, %d left", candidate.label, before, drop, self.left)
        self.results.append(result)
        self._on_trial(result, self.left)
        return result

    def int8(self) -> list[TrialResult]:
        """The INT8 models that could be made, the most accurate first."""
        made = [
            result
            for result in self.results
            if result.candidate.precision == "int8" and result.trial
        ]
        return sorted(made, key=lambda result: result.drop)

    def _make_or_error(self, candidate: ModelVariant) -> tuple[Trial | None, str]:
        try:
            return self._make(candidate), ""
        except ExportError as error:
            return None, str(error)

    def _compared_to_fp32(self, result: TrialResult) -> TrialResult:
        if result.trial is None:
            return result
        baseline = self.baseline or result.trial
        drop, low, high = paired_drop(baseline.correct, result.trial.correct)
        if low > self._tolerated_drop:
            lost = f"{drop:.2f} points lost ({low:.2f} to {high:.2f})"
            return replace(
                result, trial=None, error=f"{lost}, tolerated are {self._tolerated_drop:g}"
            )
        metric, before = result.trial.metric, baseline.metric
        if metric is not None and before is not None:
            lost_of_it = metric.drop_from(before, metric.first)
            drop, low, high = lost_of_it.value, lost_of_it.low, lost_of_it.high
        return replace(result, drop=drop, low=low, high=high)


def _keep_operators(run: _Run, rank: Callable[[QuantizationScheme], Sequence[str]]) -> None:
    """Keep ever more of the ranking in floating point until the limit holds, then as few as do.

    The number doubles first (most often very few operators do the harm), then it is halved.
    """
    made = run.int8()
    if run.left <= 0 or (made and made[0].meets(run.limit)):
        return
    # A model so bad that its checks refuse it is no trial, but still may hold with some kept.
    refused = [result for result in run.results if result.candidate.precision == "int8"]
    if not (made or refused):
        return
    scheme = (made or refused)[0].candidate.scheme
    try:
        with failing_as("the operators could not be ranked", "none stays in floating point"):
            order = [name for name in rank(scheme) if name not in scheme.excluded]
    except ExportError as error:
        run.notes.append(str(error))
        return

    def meets(count: int) -> bool | None:
        excluded = (*scheme.excluded, *order[:count])
        result = run.try_one(ModelVariant("int8", replace(scheme, excluded=excluded)))
        return None if result is None else result.meets(run.limit)

    too_few, enough = 0, None
    for count in _doubling(len(order)):
        answer = meets(count)
        if answer is None:
            return
        if answer:
            enough = count
            break
        too_few = count
    while enough is not None and enough - too_few > 1:
        middle = (too_few + enough) // 2
        answer = meets(middle)
        if answer is None:
            return
        too_few, enough = (too_few, middle) if answer else (middle, enough)


def _doubling(length: int) -> Iterator[int]:
    """1, 2, 4, ... below `length`: to keep all of them is FP32."""
    count = 1
    while count < length:
        yield count
        count *= 2


def _concluded(run: _Run, calibration_images: int | None, *, trained_in_int8: bool) -> SearchResult:
    best = _fastest([result for result in run.results if result.meets(run.limit)])
    int8 = run.int8()
    met = bool(int8) and int8[0].meets(run.limit)
    gap = (0.0 if met else int8[0].drop - run.limit) if int8 else None
    advice = _advice(run, best, gap, _next_step(run, calibration_images, trained_in_int8))
    return SearchResult(best, run.limit, met, gap, advice, run.results, run.notes)


def _fastest(results: Sequence[TrialResult]) -> TrialResult:
    """By time if all have one; else by what usually is faster, with fewer operators kept."""

    def usual(result: TrialResult) -> tuple[int, int]:
        precision = result.candidate.precision
        known = precision in _USUAL_ORDER
        place = _USUAL_ORDER.index(precision) if known else len(_USUAL_ORDER) - 1
        return place, len(result.candidate.scheme.excluded)

    times = [result.trial.milliseconds for result in results if result.trial]
    if all(time is not None for time in times):
        return min(zip(times, results, strict=True), key=lambda pair: pair[0] or 0.0)[1]
    return min(results, key=usual)


def _advice(run: _Run, best: TrialResult, gap: float | None, next_step: str) -> str:
    name = best.candidate.precision
    if gap is None:
        errors = [
            result.error
            for result in run.results
            if result.candidate.precision == "int8" and result.error
        ]
        return f"No INT8 model could be made, so {name} is the result" + "".join(
            f": {error}" for error in errors[:1]
        )
    if gap == 0.0:
        slower = "INT8 keeps to the limit but is no faster here, so"
        return "" if name == "int8" else f"{slower} {name} is the result."
    missed = f"INT8 misses the limit of {run.limit:g} points by {gap:.2f}, so {name} is the result"
    return f"{missed}; {next_step}."


def _next_step(run: _Run, calibration_images: int | None, trained_in_int8: bool) -> str:
    train = 'train a last stage with quantize = "int8", which lets the weights adapt'
    if trained_in_int8:
        train = "give the stage that trains in INT8 more epochs"
    nearest = next(iter(run.int8()), None)
    if nearest and nearest.trial and nearest.low <= run.limit:
        return (
            f"but {len(nearest.trial.correct)} validation images cannot tell (the drop may be "
            f"anywhere from {nearest.low:.2f} to {nearest.high:.2f}): give more of them, or {train}"
        )
    if calibration_images is not None and calibration_images < _FEW_IMAGES:
        few = f"{calibration_images} calibration images are few"
        return f"{few}: give {_FEW_IMAGES} or more, then {train}"
    return f"allow more trials, or {train}" if run.left <= 0 else train
