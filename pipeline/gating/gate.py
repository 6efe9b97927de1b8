"""Gate: hold what was measured against the budget, and keep the verdict."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from deploy_targets.measurement import Measurement, read_measurement
from foundation.errors import CompressError, MissingFileError, NoSpaceError
from foundation.files import user_path
from pipeline.gating.evidence import Baseline, evidence_of, read_baseline
from pipeline.gating.history import HISTORY, add_to_history
from pipeline.gating.judging import judge
from pipeline.gating.settling import MeasureAgain, settle
from pipeline.gating.verdict import Check, Verdict, write_verdict
from pipeline.recipe.sections.gate import GateRecipe
from pipeline.run_folder.folder import RunFolder, Say

logger = logging.getLogger(__name__)


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
