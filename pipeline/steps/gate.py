"""Gate: hold what was measured against the budget, and keep the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deploy_targets.measurement import Measurement, read_measurement
from foundation.errors import MissingFileError
from foundation.files import write_json
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
    """Judge a run's measurements and write gate.json."""
    verdict = judge(read_measurements(run), budget)
    write_json(run.verdict_path, verdict.as_dict())
    return verdict
