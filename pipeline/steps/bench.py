"""Bench: run every bundle on a host, each in a process of its own, and keep what came back."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deploy_targets.hosts import open_host
from deploy_targets.measure import Measurement, MeasureOptions, measure, write_measurement
from deploy_targets.targets import Target, load_target
from foundation.bundle import MANIFEST, open_bundle
from foundation.errors import MissingFileError, UnknownNameError, unknown_name
from foundation.files import sha256_of
from pipeline.data.facts import FACTS, TEST, read_facts
from pipeline.recipe import BenchRecipe
from pipeline.recipe_file import recipe_values
from pipeline.runs import RunFolder

Progress = Callable[[str, dict[str, Any]], None]


def bench(
    run: RunFolder,
    asked: BenchRecipe,
    on_progress: Progress,
    say: Callable[[str], None],
    only: Sequence[str] | None = None,
) -> list[Path]:
    """Measure the run's bundles; those measured before in the same way are not measured again.

    A bundle for another architecture than the host's is left out unless it is named: its times
    there would say nothing about its target.

    Args:
        run: the run folder, with bundles in it.
        asked: where and how.
        on_progress: told the bundle's name and what is happening.
        say: told what is left out.
        only: names of bundles; None takes all that are for the host's architecture.

    Returns:
        The measurements' files.

    Raises:
        MissingFileError: when there are no bundles for this host.
        CorruptFileError: when a bundle is not what was exported.
        HostError: when the host fails.
    """
    paths = []
    for folder, target in _chosen(run, only, asked.host, say):
        path = run.bench / f"{folder.name}@{_file_name(asked.host)}.json"
        how = {"manifest": sha256_of(folder / MANIFEST), **recipe_values(asked)}
        with run.step(f"bench {path.stem}", **how) as step:
            if step.needed:
                write_measurement(path, _measure(run, folder, target, asked, on_progress))
                step.products = [path]
        paths.append(path)
    return paths


def _chosen(
    run: RunFolder, only: Sequence[str] | None, host: str, say: Callable[[str], None]
) -> list[tuple[Path, str]]:
    """Folder and target of every bundle to measure."""
    folders = {folder.name: folder for folder in run.bundle_folders()}
    if not folders:
        raise MissingFileError(f"{run.bundles}: no bundles yet; make some with `compress export`")
    for name in only or []:
        if name not in folders:
            raise unknown_name("bundle", name, folders)
    names = only or list(folders)
    targets = {name: open_bundle(folders[name]).manifest.target for name in names}
    if not only:
        targets = _of_architecture(open_host(host).facts().arch, targets, say)
    if not targets:
        raise MissingFileError(
            f"{run.bundles}: no bundle for the architecture of host {host!r}; export for a target "
            "that it is, or name a bundle with --bundle"
        )
    return [(folders[name], target) for name, target in targets.items()]


def _of_architecture(
    arch: str, targets: dict[str, str], say: Callable[[str], None]
) -> dict[str, str]:
    kept = {}
    for name, target in targets.items():
        profile = _profile(target)
        if profile is None or profile.arch == arch:
            kept[name] = target
        else:
            say(f"left out {name}: made for {profile.arch}, this host is {arch}")
    return kept


def _measure(
    run: RunFolder, folder: Path, target: str, asked: BenchRecipe, on_progress: Progress
) -> Measurement:
    profile = _profile(target)
    options = MeasureOptions(
        threads=asked.threads or (profile.threads if profile else None),
        precision_hint=asked.precision_hint,
        queries=asked.queries,
        max_seconds=asked.max_seconds,
        throughput_batch=asked.throughput_batch,
        evaluation=_evaluation_images(run, open_bundle(folder).manifest.role),
    )
    return measure(folder, asked.host, options, lambda facts: on_progress(folder.name, facts))


def _evaluation_images(run: RunFolder, role: str) -> Path | None:
    """Test images at the size that the network sees; None where the run's data did not travel."""
    if not (run.data / FACTS).exists():
        return None
    path = run.data / read_facts(run.data).images_for(role, TEST)
    return path if path.exists() else None


def _profile(target: str) -> Target | None:
    """The target's profile; None where it lies in a file of the user's, which is not recorded."""
    try:
        return load_target(target)
    except UnknownNameError:
        return None


def _file_name(host: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", host)
