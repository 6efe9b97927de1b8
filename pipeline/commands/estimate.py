"""What a run's bundles may take on a target that is not at hand. No torch is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deploy_targets.device import facts
from deploy_targets.device.facts import Facts
from deploy_targets.device.runtimes import runtime_for
from deploy_targets.estimating.calibration import (
    CONFIDENCE,
    UNMEASURED_EFFICIENCY,
    Calibration,
    Observation,
    calibrate,
    unmeasured,
)
from deploy_targets.estimating.estimate import Basis, Estimate, file_name, write_estimate
from deploy_targets.estimating.roofline import roofline
from deploy_targets.measurement import Measurement, describe, read_measurement
from deploy_targets.targets import Target, load_target
from deploy_targets.targets.detection import core_name
from foundation.bundle import MANIFEST, Bundle, open_bundle
from foundation.errors import MissingFileError, UsageError, unknown_name
from foundation.files import sha256_of
from foundation.records import as_dict
from pipeline.benching.graph_costs import graph_costs
from pipeline.run_folder.folder import RunFolder, open_run
from pipeline.shown.console import at_work, progress_console
from pipeline.shown.estimates import estimate_rows
from pipeline.shown.outcome import Outcome, table_of

# Measurements of another precision, runtime or number of threads say less of a model's time.
_NEARLY = 2.5


@dataclass(frozen=True)
class _Known:
    """A measurement of the target's kind of core, and what the model that was measured costs."""

    name: str
    measurement: Measurement
    observation: Observation


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """What `compress estimate --json` prints.

    Attributes:
        run: the run folder.
    """

    schema_version: int = 1
    kind: str = "estimates"
    run: str
    estimates: list[Estimate]


def estimate_only(
    path: Path | None,
    target: str,
    only: Sequence[str] | None,
    threads: int | None,
    calibrate_with: Sequence[Path],
) -> Outcome:
    """Estimate the latency of a run's bundles on a target, and keep it beside the measurements.

    Args:
        path: the run folder; None takes the one used last.
        target: name or path of its profile.
        only: names of bundles; None takes all whose format a runtime of the target takes.
        threads: of the runtime; None for the profile's.
        calibrate_with: other runs whose measurements of the same kind of core count too.
    """
    run, profile = open_run(path), load_target(target)
    used = threads or profile.threads or profile.cores or 1
    bundles = _chosen(run, only, profile)
    known = [
        measurement
        for measured_run in [run, *map(open_run, calibrate_with)]
        for measurement in _measured(measured_run, profile)
    ]
    with at_work(progress_console(), f"estimating on {target}"):
        estimates = [estimate(bundle, profile, used, known) for bundle in bundles]
    with run.locked():
        for bundle_estimate in estimates:
            _keep(run, bundle_estimate)
    content = as_dict(Estimates(run=str(run.path), estimates=estimates))
    columns, rows = estimate_rows(estimates)
    table = table_of("Estimate: computed, not measured", columns, rows)
    return Outcome(content, [table, *_remarks(estimates)])


def _keep(run: RunFolder, estimate: Estimate) -> None:
    """Write an estimate, and list it in run.json: a gate judges no other."""
    path = run.bench / file_name(estimate.bundle.name, estimate.target)
    with run.step(f"estimate {path.stem}", made_at=estimate.made_at) as step:
        write_estimate(path, estimate)
        step.needed, step.products = True, [path]


def estimate(bundle: Bundle, target: Target, threads: int, known: Sequence[_Known]) -> Estimate:
    """Estimate one bundle.

    Args:
        known: measurements of the target's kind of core; the bundle's own are not used.

    Raises:
        UsageError: when the profile says too little, and nothing was measured.
        ModelMismatchError: when the model cannot be read.
    """
    work = graph_costs(bundle)
    least = roofline(work, target, threads)
    manifest, clock = describe(bundle), target.clock_mhz is not None
    others = [
        reference
        for reference in known
        if reference.measurement.bundle.manifest_sha256 != manifest.manifest_sha256
    ]
    alike = [reference for reference in others if _is_alike(reference.measurement, bundle, threads)]
    chosen, calibration = alike or others, None
    if chosen:
        calibration = calibrate(
            [reference.observation for reference in chosen], 1.0 if alike else _NEARLY
        )
        latency = calibration.predict(least.ms, least.operators)
    elif clock:
        latency = unmeasured(least.ms)
    else:
        raise UsageError(
            f"target {target.name}: nothing can be estimated, for its clock is not known and "
            f"nothing of this run was measured on it; `compress bench` a bundle there, or write "
            "clock_mhz into a profile of your own (docs/targets.md)"
        )
    return Estimate(
        bundle=manifest,
        target=target.name,
        runtime=runtime_for(bundle.manifest.format),
        threads=threads,
        latency_ms=latency,
        basis=Basis(
            roofline_ms=least.ms if clock else None,
            macs=sum(operator.macs for operator in work),
            bytes=sum(operator.bytes for operator in work),
            operators=least.operators,
            compute_share=least.compute_share,
            efficiency=_efficiency(calibration) if clock else None,
            overhead_us=calibration.overhead_ms * 1e3 if calibration else 0.0,
            calibrated_by=[reference.name for reference in chosen],
            confidence=CONFIDENCE if calibration else None,
            notes=_notes(target, bool(chosen), bool(alike)),
        ),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _remarks(estimates: Sequence[Estimate]) -> list[str]:
    return list(dict.fromkeys(note for estimate in estimates for note in estimate.basis.notes))


def _notes(target: Target, calibrated: bool, alike: bool) -> list[str]:
    notes = []
    if target.memory_gb_s is None:
        notes.append("how fast its memory is is not known: only arithmetic was counted")
    if calibrated and not alike:
        notes.append(
            "what was measured there had another precision, runtime or number of threads, so the "
            "interval is wide"
        )
    return notes


def _efficiency(calibration: Calibration | None) -> float:
    return (
        calibration.efficiency / calibration.factor.value
        if calibration
        else UNMEASURED_EFFICIENCY[1]
    )


def _chosen(run: RunFolder, only: Sequence[str] | None, target: Target) -> list[Bundle]:
    folders = {folder.name: folder for folder in run.bundle_folders()}
    for name in only or []:
        if name not in folders:
            raise unknown_name("bundle", name, folders)
    bundles = [open_bundle(folders[name]) for name in only or folders]
    runnable = [bundle for bundle in bundles if only or bundle.manifest.format in target.formats]
    # What was made for it says most; without that, what was made for another will do.
    own = [bundle for bundle in runnable if bundle.manifest.target == target.name]
    if not runnable:
        raise MissingFileError(
            f"{run.bundles}: no bundle that target {target.name} takes; make some with "
            f"`compress export --target {target.name}`"
        )
    return runnable if only else own or runnable


def _measured(run: RunFolder, target: Target) -> list[_Known]:
    """The run's measurements of the target's kind of core whose bundles are still there."""
    folders = {sha256_of(folder / MANIFEST): folder for folder in run.bundle_folders()}
    known = []
    for path in run.measurement_paths():
        measurement = read_measurement(path)
        folder = folders.get(measurement.bundle.manifest_sha256)
        p50 = measurement.latency_ms.p50
        if folder is None or p50 is None or not _is_of(measurement.host.facts, target):
            continue
        least = roofline(graph_costs(open_bundle(folder)), target, measurement.runtime.threads)
        name = f"{run.path.name}/{path.stem}"
        known.append(_Known(name, measurement, Observation(least.ms, least.operators, p50)))
    return known


def _is_of(host: Facts, target: Target) -> bool:
    """Whether a machine has the target's kind of core."""
    if host.arch != target.arch or target.cpu is None:
        return False
    if host.cpu == target.cpu:
        return True
    # x86 names its cores by brand alone; of this machine's, more is known.
    here = facts.collect()
    return (host.cpu, host.features) == (here.cpu, here.features) and core_name() == target.cpu


def _is_alike(measurement: Measurement, bundle: Bundle, threads: int) -> bool:
    manifest = bundle.manifest
    return (
        measurement.runtime.name == runtime_for(manifest.format)
        and (measurement.bundle.precision == "int8") == (manifest.precision == "int8")
        and measurement.runtime.threads == threads
    )
