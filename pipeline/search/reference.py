"""The bundle that every trial's is timed in turns with, so that days and machines can be compared.

It is the bundle of the trial that was measured first, as it was then: a trial's latency is its
ratio to the reference, times what the reference took on the first day.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy_targets.comparison import Candidate, Comparison, ratio_to_baseline, read_comparison
from deploy_targets.measurement import Measurement
from foundation.errors import CompressError
from foundation.files import write_json
from foundation.records import as_dict, read_record
from foundation.sense import above_zero, named, sha256
from pipeline.benching.in_turns import time_against
from pipeline.gating.metrics import METRICS, Figure, Missing
from pipeline.recipe.sections.bench import BenchRecipe
from pipeline.run_folder.folder import RunFolder
from pipeline.search.folder import SearchFolder

_PERCENTILES = ("50", "90", "95", "99")
_METRICS = {"size": "size_mb", "memory": "peak_memory_mb", "energy": "energy_j_per_image"}

Progress = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class SearchReference:
    """What all latencies of a search are counted from.

    Attributes:
        trial: whose bundle it is.
        bundle: its name.
        manifest_sha256: stands for all its files.
        host, cpu: where it was timed first.
        ms: by percentile ("p50"), what it took then.
    """

    schema_version: int = 1
    kind: str = "search-reference"
    trial: int
    bundle: str
    manifest_sha256: str
    host: str
    cpu: str | None
    ms: dict[str, float]

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from named(bundle=self.bundle, host=self.host)
        yield from sha256(manifest_sha256=self.manifest_sha256)
        yield from above_zero(**self.ms)


def time_trial(
    search: SearchFolder,
    run: RunFolder,
    trial: int,
    bundle: str,
    *,
    settings: BenchRecipe,
    on_progress: Progress,
) -> tuple[Comparison, SearchReference]:
    """Time a trial's bundle in turns with the reference; the first one becomes it.

    Raises:
        As `time_against`.
    """
    with search.alone("reference"):
        if not search.reference_path.exists():
            _make_reference(search, run, trial, bundle, settings=settings, on_progress=on_progress)
    reference = read_reference_of(search)
    folder = search.reference / reference.bundle
    (path,) = time_against(run, folder, settings, on_progress, [bundle])
    return read_comparison(path), reference


def read_reference_of(search: SearchFolder) -> SearchReference:
    """The reference of a search that has one.

    Raises:
        CorruptFileError: when the file is none of ours.
    """
    advice = "put it back as it was: without it the latencies of the search mean nothing"
    return read_record(search.reference_path, SearchReference, "the reference of a search", advice)


def figures_of(
    measurement: Measurement, comparison: Comparison, reference: SearchReference
) -> dict[str, Figure]:
    """What a bundle was found to take, by the names of `pipeline.search.limits.UNITS`."""
    baseline, candidate = comparison.candidates[0], comparison.candidates[-1]
    figures = {}
    for name in _PERCENTILES:
        latency = _latency(candidate, baseline, reference, f"p{name}")
        if latency is not None:
            figures[f"latency_p{name}"] = latency
    for name, metric in _METRICS.items():
        read = METRICS[metric].read
        assert read is not None
        figure = read(measurement)
        if isinstance(figure, Figure):
            figures[name] = figure
    return figures


def check_figures(
    figures: dict[str, Figure], objectives: tuple[str, ...], measurement: Measurement
) -> None:
    """Make sure that there is a figure for each objective.

    Raises:
        CompressError: when there is none; with what to do.
    """
    for objective in objectives:
        if objective == "accuracy" or objective in figures:
            continue
        if objective in _METRICS:
            read = METRICS[_METRICS[objective]].read
            assert read is not None
            missing = read(measurement)
            reason = missing.reason if isinstance(missing, Missing) else "not measured"
        else:
            reason = (
                "the queries of a turn are too few for that percentile; raise bench.queries and "
                "bench.max_seconds, or search by latency_p50"
            )
        raise CompressError(f"{objective}: {reason}")


def _latency(
    candidate: Candidate, baseline: Candidate, reference: SearchReference, percentile: str
) -> Figure | None:
    own, others = candidate.rounds_of(percentile), baseline.rounds_of(percentile)
    then = reference.ms.get(percentile)
    if own is None or others is None or then is None:
        return None
    ratio = ratio_to_baseline(own, others)
    return Figure(ratio.estimate * then, ratio.low * then, ratio.high * then)


def _make_reference(
    search: SearchFolder,
    run: RunFolder,
    trial: int,
    bundle: str,
    *,
    settings: BenchRecipe,
    on_progress: Progress,
) -> None:
    """Take a bundle as the reference, and time it with itself for what it takes today."""
    folder: Path = search.reference / bundle
    shutil.rmtree(search.reference, ignore_errors=True)  # of a process that was killed meanwhile
    search.reference.mkdir(parents=True)
    shutil.copytree(run.bundles / bundle, folder)
    (path,) = time_against(run, folder, settings, on_progress, [bundle])
    comparison = read_comparison(path)
    baseline = comparison.baseline
    rounds = {f"p{name}": baseline.rounds_of(f"p{name}") for name in _PERCENTILES}
    record = SearchReference(
        trial=trial,
        bundle=bundle,
        manifest_sha256=baseline.bundle.manifest_sha256,
        host=comparison.host.name,
        cpu=comparison.host.facts.cpu,
        ms={name: statistics.median(values) for name, values in rounds.items() if values},
    )
    write_json(search.reference_path, as_dict(record))
