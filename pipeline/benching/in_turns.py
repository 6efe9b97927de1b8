"""Against: time bundles of a run in turns with another bundle, and keep the comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deploy_targets.comparison import SCHEMA_VERSION, Comparison
from deploy_targets.device.timing import MIN_QUERIES
from deploy_targets.hosts.host_names import name_with_host
from deploy_targets.measuring.compare import CompareOptions, compare, write_comparison
from foundation.bundle import AnyBundle, open_any_bundle
from foundation.errors import MissingFileError, UsageError, unknown_name
from foundation.packing import opened
from foundation.records import part_of
from pipeline.benching.bench import left_to_target
from pipeline.benching.timed_step import timed_step
from pipeline.recipe.sections.bench import BenchRecipe
from pipeline.run_folder.folder import RunFolder
from pipeline.run_folder.target_profiles import target_of

Progress = Callable[[str, dict[str, Any]], None]

# Of the queries that a measurement has: each round has four turns.
_SHARE_A_TURN = 5


def is_bundle(path: Path) -> bool:
    """Whether a path is a bundle's, a folder or a packed file; the alternative is a measurement."""
    return path.is_dir() or path.suffix != ".json"


def time_against(
    run: RunFolder,
    baseline: Path,
    settings: BenchRecipe,
    on_progress: Progress,
    only: Sequence[str] | None = None,
    *,
    again: bool = False,
) -> list[Path]:
    """Time bundles of a run in turns with another bundle, on the host that was asked for.

    What was timed before in the same way is not timed again.

    Args:
        run: the run folder, with bundles in it.
        baseline: a bundle's folder or a packed bundle.
        settings: where and how.
        on_progress: told the bundle's name and what is happening.
        only: names of the run's bundles; None takes the one of that name, or the only one.
        again: time them anew all the same.

    Returns:
        The comparisons' files.

    Raises:
        MissingFileError, CorruptFileError: when a bundle is not there or not whole.
        UsageError: when it is not clear which bundles are meant.
        HostError: when the host fails.
    """
    with opened(baseline) as baseline_bundle:
        names = list(only) if only else [_counterpart(run, baseline_bundle)]
        return [
            _timed(run, name, baseline_bundle, settings, on_progress, again=again) for name in names
        ]


def comparison_path(run: RunFolder, name: str, host: str, baseline_sha256: str) -> Path:
    """Where the comparison of a run's bundle with another lies."""
    return run.comparisons / f"{name_with_host(name, host)}--{baseline_sha256[:12]}.json"


def _timed(
    run: RunFolder,
    name: str,
    baseline: AnyBundle,
    settings: BenchRecipe,
    on_progress: Progress,
    *,
    again: bool,
) -> Path:
    bundle = open_any_bundle(_folder(run, name))
    manifests = [baseline.manifest_sha256, bundle.manifest_sha256]
    path = comparison_path(run, name, settings.host, manifests[0])
    profile = target_of(run, bundle.manifest.target)
    options = part_of(
        CompareOptions,
        settings,
        **left_to_target(settings, profile),
        queries=max(MIN_QUERIES, settings.queries // _SHARE_A_TURN),
    )
    depends_on = {
        "manifests": manifests,
        "host": settings.host,
        "options": asdict(options),
        "schema": SCHEMA_VERSION,
    }

    def time_it(*, journal: Path, remark: Callable[[str], None]) -> Comparison:
        def tell(facts: dict[str, Any]) -> None:
            on_progress(name, facts)

        return compare([baseline, bundle], settings.host, options, tell, journal, remark=remark)

    step = f"compare {path.stem}"
    return timed_step(
        run, step, path, time_it, write_comparison, depends_on=depends_on, again=again
    )


def _folder(run: RunFolder, name: str) -> Path:
    folders = {folder.name: folder for folder in run.bundle_folders()}
    if name not in folders:
        raise unknown_name("bundle", name, folders)
    return folders[name]


def _counterpart(run: RunFolder, baseline: AnyBundle) -> str:
    """The run's bundle of the same name, or its only student."""
    folders = run.bundle_folders()
    if not folders:
        raise MissingFileError(f"{run.bundles}: no bundles yet; make some with `compress export`")
    names = [folder.name for folder in folders]
    if baseline.manifest.name in names:
        return baseline.manifest.name
    roles = {folder.name: open_any_bundle(folder).manifest.role for folder in folders}
    students = [name for name, role in roles.items() if role == "student"]
    if len(students) == 1:
        return students[0]
    raise UsageError(
        f"{run.path}: has no bundle named {baseline.manifest.name}; say with --bundle which of "
        f"these to time against it: {', '.join(names)}"
    )
