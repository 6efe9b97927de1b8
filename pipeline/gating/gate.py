"""Gate: hold what was measured against the budget, and keep the verdict."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from deploy_targets.device.percentiles import fewest_queries
from deploy_targets.device.pinning import ANY
from deploy_targets.device.timing import PERCENTS
from deploy_targets.measurement import Measurement, read_measurement
from foundation.bundle import MANIFEST
from foundation.errors import CompressError, MissingFileError, NoSpaceError
from foundation.files import user_path
from foundation.limits import bounded
from pipeline.benching.bench import Progress, bench, measured_as
from pipeline.benching.in_turns import is_bundle, time_against
from pipeline.gating.answering import subject_of
from pipeline.gating.evidence import Baseline, evidence_of, read_baseline
from pipeline.gating.history import HISTORY, add_to_history
from pipeline.gating.judging import judge
from pipeline.gating.metrics import percentile_in
from pipeline.gating.settling import settle
from pipeline.gating.verdict import Check, Verdict, write_verdict
from pipeline.recipe.sections import BenchRecipe, GateRecipe
from pipeline.run_folder.folder import RunFolder, Say

logger = logging.getLogger(__name__)

MeasureAgain = Callable[[Sequence[Check], int], None]


def gate(
    run: RunFolder,
    budget: GateRecipe,
    measure_again: MeasureAgain | None = None,
    warn: Say | None = None,
) -> Verdict:
    """Judge a run's measurements and write gate.json, where the folder can be written.

    Args:
        run: the run folder.
        budget: what to hold it against.
        measure_again: makes new measurements of what is inconclusive, where the budget asks for it.
        warn: is told what did not go as it should; if unset as the run's remarks.

    Raises:
        MissingFileError: when there are no measurements, or one is of an earlier export.
        CorruptFileError: when one is not as run.json lists it, or the bundle not as measured.
        UsageError, UnknownNameError: when the budget makes no sense here.
    """
    baseline = baseline_of(budget)

    def look() -> Verdict:
        return judge(evidence_of(run, allow_estimate=budget.allow_estimate), budget, baseline)

    retries = budget.retries if measure_again else 0
    if retries and not run.is_writable:
        run.say(f"{run.path} cannot be written, so nothing is measured again")
        retries = 0
    verdict = settle(look, measure_again or _measure_nothing, retries)
    verdict = replace(verdict, judged=[str(run.path)])
    for check in verdict.checks:
        logger.info("%s: %s of %s: %s", check.metric, check.verdict, check.subject, check.reason)
    _write_if_writable(run, verdict)
    keep_in_history(verdict, budget, run, warn or run.say)
    return verdict


def keep_in_history(verdict: Verdict, budget: GateRecipe, run: RunFolder | None, say: Say) -> None:
    """Add a verdict to the history, where that can be done: the verdict stands without it too.

    Args:
        verdict: the gate's.
        budget: says where the history lies.
        run: the run that was judged; None where files of measurements were.
        say: is told where it could not be added.
    """
    path = history_path(budget, run)
    if path is None:
        return
    commit = None if run is None else run.record()["commit"]
    try:
        add_to_history(path, verdict, release=budget.release, commit=commit)
    except (OSError, CompressError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        say(f"{path}: this verdict could not be added to the history: {reason}")


def history_path(budget: GateRecipe, run: RunFolder | None) -> Path | None:
    """Where the history of a run lies; None where none is kept."""
    if budget.history_file is not None:
        return None if budget.history_file == "none" else user_path(budget.history_file)
    # Beside the folder, also where it is "." that was named.
    return None if run is None else run.path.absolute().parent / HISTORY


def _write_if_writable(run: RunFolder, verdict: Verdict) -> None:
    """Write gate.json where that can be done: the verdict stands without it too."""
    try:
        write_verdict(run.verdict_path, verdict)
    except OSError as error:
        run.say(f"{run.verdict_path} could not be kept: {error.strerror or error}")
    except NoSpaceError:
        run.say(f"{run.verdict_path} could not be kept: no space left on the device")


def baseline_of(budget: GateRecipe) -> Baseline | None:
    """The budget's baseline, read; None if it names none."""
    return read_baseline(user_path(budget.baseline)) if budget.baseline else None


def measuring_again(
    run: RunFolder, budget: GateRecipe, on_progress: Progress, say: Callable[[str], None]
) -> MeasureAgain:
    """Makes new measurements of a run's bundles: as before, and as many times longer as the look
    is late; what was timed in turns is timed in turns again."""

    def measure(checks: Sequence[Check], look: int) -> None:
        settings = run.recipe().bench
        for subject in dict.fromkeys(check.subject for check in checks):
            bundle, own_checks = subject[0], [check for check in checks if check.subject == subject]
            say(f"inconclusive, look {look}: measuring {bundle} again")
            longer = _longer_settings(run, settings, own_checks, look)
            not_in_turns = [check for check in own_checks if check.basis != "interleaved"]
            if not_in_turns:
                bench(run, longer, on_progress, say, [bundle], again=True)
            in_turns = {(c.against, c.reference) for c in own_checks if c.basis == "interleaved"}
            for path in {_bundle_of(run, budget, settings, *names) for names in in_turns}:
                if path is not None:
                    time_against(run, path, longer, on_progress, [bundle], again=True)

    return measure


def _longer_settings(
    run: RunFolder, settings: BenchRecipe, checks: Sequence[Check], look: int
) -> BenchRecipe:
    """How to measure the bundle of these checks again: as it was, but longer."""
    percentiles = (percentile_in(check.metric) for check in checks)
    percents = [float(percentile) for percentile in percentiles if percentile is not None]
    path, before = next(
        (path, measurement)
        for path in run.measurement_paths()
        if subject_of(measurement := read_measurement(path)) == checks[0].subject
    )
    taken, limited = measured_as(run, path), partial(bounded, BenchRecipe)
    needed = max([settings.queries * look, *map(fewest_queries, percents)])
    return replace(
        taken,
        # Of what was left open, what it came to.
        threads=before.runtime.threads,
        pin=",".join(map(str, before.runtime.pinned)) if before.runtime.pinned else ANY,
        against=settings.against,
        percentiles=_percentiles(taken.percentiles, percents),
        queries=limited("queries", max(taken.queries, needed)),
        min_seconds=limited("min_seconds", max(_least_s(taken), _least_s(settings) * look)),
        max_seconds=limited("max_seconds", max(taken.max_seconds, settings.max_seconds * look)),
        rounds=limited("rounds", settings.rounds * look),
    )


def _least_s(settings: BenchRecipe) -> float:
    """Seconds that are timed at least."""
    return min(settings.min_seconds, settings.max_seconds)


def _percentiles(requested: Sequence[float] | None, more: Sequence[float]) -> list[float] | None:
    """Those asked for, and more; None where the usual ones have them all."""
    usual = PERCENTS if requested is None else requested
    together = sorted({*usual, *more})
    return None if requested is None and len(together) == len(usual) else together


def _bundle_of(
    run: RunFolder,
    budget: GateRecipe,
    settings: BenchRecipe,
    against: str | None,
    name: str | None,
) -> Path | None:
    """A bundle that can be timed again: the run's own, or the older release's."""
    if against != "baseline":
        own = run.bundles / (name or "")
        return own if (own / MANIFEST).is_file() else None
    candidates = (user_path(path) for path in (settings.against, budget.baseline) if path)
    return next((path for path in candidates if is_bundle(path) and path.exists()), None)


def _measure_nothing(_checks: Sequence[Check], _look: int) -> None:
    """Nothing can be measured here."""


def read_measurements(run: RunFolder) -> list[Measurement]:
    """All measurements of a run.

    Raises:
        MissingFileError: when there are none.
        CorruptFileError: when one cannot be understood.
    """
    paths: Sequence[Path] = run.measurement_paths()
    if not paths:
        raise MissingFileError(f"{run.bench}: nothing measured yet; run `compress bench`")
    return [read_measurement(path) for path in paths]
