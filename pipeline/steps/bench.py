"""Bench: run every bundle on a host, each in a process of its own, and keep what came back."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deploy_targets.measure import Measurement, MeasureOptions, measure, write_measurement
from deploy_targets.targets import load_target
from foundation.bundle import MANIFEST, open_bundle
from foundation.errors import MissingFileError, UnknownNameError, unknown_name
from foundation.files import sha256_of
from pipeline.data.facts import TEST
from pipeline.recipe import BenchRecipe
from pipeline.recipe_file import recipe_values
from pipeline.runs import RunFolder

Progress = Callable[[str, dict[str, Any]], None]


def bench(
    run: RunFolder,
    asked: BenchRecipe,
    on_progress: Progress,
    only: Sequence[str] | None = None,
) -> list[Path]:
    """Measure the run's bundles; those measured before in the same way are not measured again.

    Args:
        run: the run folder, with bundles in it.
        asked: where and how.
        on_progress: told the bundle's name and what is happening.
        only: names of bundles; None takes all.

    Returns:
        The measurements' files.

    Raises:
        MissingFileError: when there are no bundles.
        CorruptFileError: when a bundle is not what was exported.
        HostError: when the host fails.
    """
    paths = []
    for folder in _chosen(run, only):
        target = open_bundle(folder).manifest.target
        path = run.bench / f"{folder.name}@{_file_name(asked.host)}.json"
        how = {"manifest": sha256_of(folder / MANIFEST), **recipe_values(asked)}
        with run.step(f"bench {path.stem}", **how) as step:
            if step.needed:
                write_measurement(path, _measure(run, folder, target, asked, on_progress))
                step.products = [path]
        paths.append(path)
    return paths


def _chosen(run: RunFolder, only: Sequence[str] | None) -> list[Path]:
    folders = {folder.name: folder for folder in run.bundle_folders()}
    if not folders:
        raise MissingFileError(f"{run.bundles}: no bundles yet; make some with `compress export`")
    for name in only or []:
        if name not in folders:
            raise unknown_name("bundle", name, folders)
    return [folder for name, folder in folders.items() if not only or name in only]


def _measure(
    run: RunFolder, folder: Path, target: str, asked: BenchRecipe, on_progress: Progress
) -> Measurement:
    evaluation = run.data / TEST
    options = MeasureOptions(
        threads=asked.threads or _threads_of(target),
        precision_hint=asked.precision_hint,
        queries=asked.queries,
        max_seconds=asked.max_seconds,
        throughput_batch=asked.throughput_batch,
        evaluation=evaluation if evaluation.exists() else None,
    )
    return measure(folder, asked.host, options, lambda facts: on_progress(folder.name, facts))


def _threads_of(target: str) -> int | None:
    try:
        return load_target(target).threads
    except UnknownNameError:
        # Made for a profile that the user keeps in a file: the host's own cores decide.
        return None


def _file_name(host: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", host)
