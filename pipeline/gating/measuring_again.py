"""Measuring again what a gate could not decide: as it was measured before, but longer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from deploy_targets.device.percentiles import fewest_queries
from deploy_targets.device.pinning import ANY
from deploy_targets.device.timing import PERCENTS
from deploy_targets.measurement import read_measurement
from foundation.bundle import MANIFEST
from foundation.files import user_path
from foundation.limits import bounded
from pipeline.benching.bench import Progress, bench, measured_as
from pipeline.benching.in_turns import is_bundle, time_against
from pipeline.gating.answering import subject_of
from pipeline.gating.metrics import percentile_in
from pipeline.gating.settling import MeasureAgain
from pipeline.gating.verdict import Check
from pipeline.recipe.sections.bench import BenchRecipe
from pipeline.recipe.sections.gate import GateRecipe
from pipeline.run_folder.folder import RunFolder


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
