"""Per layer: each bundle's runtime tells where its time goes, beside what the roofline allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from deploy_targets.estimating.roofline import least_times
from deploy_targets.hosts.host_names import name_with_host
from deploy_targets.measuring.profile_operators import ProfileOptions, profile_operators
from deploy_targets.operator_profile import (
    FAMILIES,
    SCHEMA_VERSION,
    OperatorProfile,
    RooflineShown,
    family_of,
    write_operator_profile,
)
from deploy_targets.targets import Target
from foundation.bundle import AnyBundle, Bundle
from foundation.errors import CompressError
from foundation.records import part_of
from pipeline.benching.bench import Progress, chosen_bundles, left_to_target
from pipeline.benching.graph_costs import graph_costs
from pipeline.recipe.sections.bench import BenchRecipe
from pipeline.run_folder.folder import RunFolder
from pipeline.run_folder.process_output import process_output_kept
from pipeline.run_folder.target_profiles import target_of

Say = Callable[[str], None]


def profile_bundles(
    run: RunFolder,
    settings: BenchRecipe,
    on_progress: Progress,
    say: Say,
    only: Sequence[str] | None = None,
) -> list[Path]:
    """Profile the run's bundles; those profiled before in the same way are not profiled again.

    Args:
        run: the run folder, with bundles in it.
        settings: where, and how a runtime runs them; they are asked for one sample after another.
        on_progress: told the bundle's name and what is happening.
        say: told what is left out.
        only: names of bundles; None takes all that are for the host's architecture.

    Returns:
        The profiles' files.

    Raises:
        MissingFileError: when there are no bundles for this host.
        CorruptFileError: when a bundle is not what was exported.
        HostError: when the host fails.
    """
    return [
        _profile(run, bundle, settings, on_progress)
        for bundle in chosen_bundles(run, only, settings, say)
    ]


def _profile(
    run: RunFolder, bundle: AnyBundle, settings: BenchRecipe, on_progress: Progress
) -> Path:
    target = target_of(run, bundle.manifest.target)
    options = part_of(ProfileOptions, settings, **left_to_target(settings, target))
    runtime = f".{settings.runtime}" if settings.runtime else ""
    path = run.operators / f"{name_with_host(bundle.folder.name, settings.host)}{runtime}.json"
    depends_on = {
        "manifest": bundle.manifest_sha256,
        "host": settings.host,
        "options": asdict(options),
        "schema": SCHEMA_VERSION,
    }
    with run.step(f"operators {path.stem}", **depends_on) as step:
        if step.needed:
            tell = partial(on_progress, bundle.folder.name)
            with process_output_kept(run, f"operators-{path.stem}"):
                profile = profile_operators(bundle, settings.host, options, tell)
            beside = roofline_beside(bundle, target, profile, step.remark)
            profile = replace(profile, roofline=beside)
            write_operator_profile(path, profile)
            step.products = [path]
    return path


def roofline_beside(
    bundle: AnyBundle, target: Target | None, profile: OperatorProfile, remark: Say
) -> RooflineShown | None:
    """The least times that a bundle's target allows, families of operators together.

    Args:
        bundle: that was profiled.
        target: that it is for.
        profile: where and with how many threads it was.
        remark: told why there is none, where there could be.

    Returns:
        None where the target's clock or rates are not known, the bundle was profiled on a machine
        of another architecture, or its graph cannot be counted.
    """
    if target is None or target.clock_mhz is None or not isinstance(bundle, Bundle):
        return None
    if profile.profiled.untold or profile.host.facts.arch != target.arch:
        return None
    threads = profile.profiled.runtime.threads
    try:
        work = graph_costs(bundle)
        least = least_times(work, target, threads)
    except CompressError as error:
        remark(f"no roofline beside the times of {bundle.folder.name}: {error}")
        return None
    ms = dict.fromkeys(FAMILIES, 0.0)
    for operator, times in zip(work, least, strict=True):
        ms[family_of(operator.kind)] += max(times)
    return RooflineShown(target.name, threads, ms)
