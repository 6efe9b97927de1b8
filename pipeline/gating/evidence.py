"""What there is to judge: measurements, comparisons and, by leave, estimates; and the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy_targets.comparison import KIND as COMPARISON
from deploy_targets.comparison import Comparison, comparison_in, read_comparison
from deploy_targets.estimating.estimate import KIND as ESTIMATE
from deploy_targets.estimating.estimate import Estimate, estimate_in, read_estimate
from deploy_targets.measurement import KIND as MEASUREMENT
from deploy_targets.measurement import (
    BundleMeasured,
    Measurement,
    describe,
    measurement_in,
    read_measurement,
)
from deploy_targets.sustained import KIND as SUSTAINED
from deploy_targets.sustained import Sustained, read_sustained, sustained_in
from foundation.bundle import MANIFEST
from foundation.errors import CorruptFileError, MissingFileError, UsageError
from foundation.files import read_json, sha256_of
from foundation.packing import opened
from pipeline.gating.vouching import Vouching, check_as_listed
from pipeline.run_folder.folder import RunFolder

# What `compress bench --json` and `compress estimate --json` print, and where in it records are.
_PRINTED = {
    "bench": ("measurements", "comparisons", "sustained"),
    "fleet-bench": ("measurements", "comparisons"),
    "estimates": ("estimates",),
}


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on.

    Attributes:
        measurements: those to judge and those to hold them against.
        comparisons: bundles timed in turns.
        estimates: to be judged too.
        runs: folders that these come from, where they do: they have the test images' labels, and
            what the runs' own metric says of bundles.
        sustained: bundles that were kept at work for long.
    """

    measurements: list[Measurement] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    estimates: list[Estimate] = field(default_factory=list)
    runs: list[RunFolder] = field(default_factory=list)
    sustained: list[Sustained] = field(default_factory=list)


@dataclass(frozen=True)
class Baseline:
    """What regressions are counted from: an older release's measurements, or its bundle alone.

    Attributes:
        measurements: of the older release.
        bundle: the older release, where nothing but the bundle is at hand.
        comparisons: that came with it.
        runs: as of `Evidence`.
    """

    measurements: list[Measurement] = field(default_factory=list)
    bundle: BundleMeasured | None = None
    comparisons: list[Comparison] = field(default_factory=list)
    runs: list[RunFolder] = field(default_factory=list)


def evidence_of(run: RunFolder, *, allow_estimate: bool = False) -> Evidence:
    """All that a run folder has, as the run made it.

    Raises:
        MissingFileError: when nothing was measured, a measurement is gone or of an earlier export,
            or its bundle is not there.
        CorruptFileError: when a file cannot be understood, or was changed or put there.
    """
    vouching = Vouching(run)
    vouching.check_none_is_gone()
    estimates = _estimates_of(run, vouching) if allow_estimate else []
    measurements = _measurements_of(run, vouching)
    if not measurements and not estimates:
        raise MissingFileError(f"{run.bench}: nothing measured yet; run `compress bench`")
    comparisons, sustained = _comparisons_of(run, vouching), _sustained_of(run, vouching)
    return Evidence(measurements, comparisons, estimates, [run], sustained)


def _measurements_of(
    run: RunFolder, vouching: Vouching, *, with_bundles: bool = True
) -> list[Measurement]:
    """Measurements of a run, and of bundles that are there; of a baseline these may be gone."""
    measurements = []
    for path in run.measurement_paths():
        vouching.check_file(path)
        measured = read_measurement(path)
        if with_bundles or (run.bundles / measured.bundle.name).exists():
            vouching.check_bundle(measured.bundle, path)
        measurements.append(measured)
    return measurements


def _estimates_of(run: RunFolder, vouching: Vouching) -> list[Estimate]:
    estimates = []
    for path in run.estimate_paths():
        vouching.check_file(path, "compress estimate")
        estimate = read_estimate(path)
        vouching.check_bundle(
            estimate.bundle, path, f"compress estimate --target {estimate.target}"
        )
        estimates.append(estimate)
    return estimates


def _comparisons_of(run: RunFolder, vouching: Vouching) -> list[Comparison]:
    comparisons = []
    for path in run.comparison_paths():
        vouching.check_file(path, "compress bench --against")
        comparisons.append(read_comparison(path))
    return comparisons


def _sustained_of(run: RunFolder, vouching: Vouching) -> list[Sustained]:
    """Series of a run's bundles as they are now; of one that was exported anew it says nothing."""
    series = []
    for path in run.sustained_paths():
        vouching.check_file(path, "compress bench --sustain")
        sustained = read_sustained(path)
        if is_current(run, sustained.bundle):
            series.append(sustained)
    return series


def evidence_in(paths: Sequence[Path], *, allow_estimate: bool = False) -> Evidence:
    """What lies in files of measurements, comparisons, estimates and series under sustained load,
    or of all that `compress bench --json` printed. A file that a run folder lists must be as it is
    listed there.

    Raises:
        MissingFileError: when a file is not there.
        CorruptFileError: when one cannot be understood.
        UsageError: when one is an estimate, which nobody allowed.
    """
    evidence = Evidence()
    for path in paths:
        run = check_as_listed(path)
        if run is not None:
            evidence.runs.append(run)
        for record in _records_in(read_json(path), path):
            _add(evidence, record, path, allow_estimate=allow_estimate)
    return evidence


def _records_in(raw: object, path: Path) -> list[object]:
    """The file's own record, or those in it where it is what a command printed."""
    kind = _kind_of(raw)
    if kind not in _PRINTED:
        return [raw]
    assert isinstance(raw, dict)
    lists = [raw.get(name, []) for name in _PRINTED[kind]]
    if not all(isinstance(records, list) for records in lists):
        raise CorruptFileError(f"{path}: not the whole of what `--json` printed; print it again")
    return [record for records in lists for record in records]


def _add(evidence: Evidence, raw: object, path: Path, *, allow_estimate: bool) -> None:
    kind = _kind_of(raw)
    if kind == MEASUREMENT:
        evidence.measurements.append(measurement_in(raw, path))
    elif kind == COMPARISON:
        evidence.comparisons.append(comparison_in(raw, path))
    elif kind == SUSTAINED:
        evidence.sustained.append(sustained_in(raw, path))
    elif kind == ESTIMATE and allow_estimate:
        evidence.estimates.append(estimate_in(raw, path))
    elif kind == ESTIMATE:
        raise UsageError(
            f"{path}: an estimate, which was measured on nothing; bench a device, or judge it "
            "all the same with --allow-estimate"
        )
    else:
        raise CorruptFileError(
            f"{path}: neither a measurement nor a comparison (its kind is {kind!r}); name "
            "files that `compress bench` wrote"
        )


def read_baseline(path: Path) -> Baseline:
    """A baseline: a measurement, a run folder, a bundle's folder or a packed bundle.

    Raises:
        MissingFileError: when there is nothing, or nothing was measured.
        CorruptFileError: when it cannot be understood.
    """
    if (path / "run.json").is_file():
        run = RunFolder(path)
        vouching = Vouching(run)
        measurements = _measurements_of(run, vouching, with_bundles=False)
        if not measurements:
            raise MissingFileError(f"{run.bench}: nothing measured yet; run `compress bench`")
        return Baseline(measurements, comparisons=_comparisons_of(run, vouching), runs=[run])
    if path.suffix == ".json":
        evidence = evidence_in([path])
        if not evidence.measurements:
            raise UsageError(f"{path}: a comparison is no baseline; name a measurement")
        return Baseline(evidence.measurements, comparisons=evidence.comparisons, runs=evidence.runs)
    if not path.exists():
        raise MissingFileError(f"{path}: no such baseline; name a measurement, a run or a bundle")
    with opened(path) as bundle:
        return Baseline(bundle=describe(bundle))


def _kind_of(raw: object) -> str | None:
    kind = raw.get("kind") if isinstance(raw, dict) else None
    return kind if isinstance(kind, str) else None


def is_current(run: RunFolder, bundle: BundleMeasured) -> bool:
    """Whether what is known of a bundle is of the run's bundle of that name, if it has one."""
    manifest = run.bundles / bundle.name / MANIFEST
    return not manifest.is_file() or sha256_of(manifest) == bundle.manifest_sha256
