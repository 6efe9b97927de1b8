"""Gate: hold what was measured against the budget, and keep the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deploy_targets.measurement import Measurement, read_measurement
from foundation.bundle import MANIFEST
from foundation.errors import MissingFileError
from foundation.files import sha256_of, write_json
from pipeline.gate import Verdict, judge
from pipeline.recipe import GateRecipe
from pipeline.runs import RunFolder


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


def gate(run: RunFolder, budget: GateRecipe) -> Verdict:
    """Judge a run's measurements and write gate.json.

    Raises:
        MissingFileError: when there are no measurements, or one is of an earlier export.
    """
    measurements = read_measurements(run)
    for one in measurements:
        _check_current(run, one)
    verdict = judge(measurements, budget)
    write_json(run.verdict_path, verdict.as_dict())
    return verdict


def _check_current(run: RunFolder, one: Measurement) -> None:
    manifest = run.bundles / one.bundle.name / MANIFEST
    if manifest.is_file() and sha256_of(manifest) != one.bundle.manifest_sha256:
        raise MissingFileError(
            f"{manifest.parent}: exported anew and not measured since; run `compress bench`"
        )
