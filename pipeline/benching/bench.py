"""Bench: run every bundle on a host, each in a process of its own, and keep what came back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from deploy_targets.device.options import RuntimeOptions
from deploy_targets.device.pinning import ANY
from deploy_targets.device.runtimes import RUNTIMES
from deploy_targets.hosts import open_host
from deploy_targets.hosts.host_names import name_with_host
from deploy_targets.measuring.measure import Measurement, MeasureOptions, measure, write_measurement
from deploy_targets.targets import Target
from foundation.bundle import AnyBundle, open_any_bundle
from foundation.errors import MissingFileError, unknown_name
from foundation.records import part_of
from pipeline.benching.timed_step import timed_step
from pipeline.data.facts import AGREEMENT, FACTS, TEST, read_facts, read_labels
from pipeline.recipe.file import Source, recipe_values, validated
from pipeline.recipe.sections.bench import BenchRecipe
from pipeline.run_folder.folder import RunFolder
from pipeline.run_folder.target_profiles import target_of

Progress = Callable[[str, dict[str, Any]], None]

_COMES_AFTER = frozenset({"against", "rounds", "per_layer", "sustain"})


def bench(
    run: RunFolder,
    settings: BenchRecipe,
    on_progress: Progress,
    say: Callable[[str], None],
    only: Sequence[str] | None = None,
    *,
    again: bool = False,
) -> list[Path]:
    """Measure the run's bundles; those measured before in the same way are not measured again.

    A bundle for another architecture than the host's is left out unless it is named: its times
    there would say nothing about its target.

    Args:
        run: the run folder, with bundles in it.
        settings: where and how.
        on_progress: told the bundle's name and what is happening.
        say: told what is left out.
        only: names of bundles; None takes all that are for the host's architecture.
        again: measure anew all the same.

    Returns:
        The measurements' files.

    Raises:
        MissingFileError: when there are no bundles for this host.
        CorruptFileError: when a bundle is not what was exported.
        HostError: when the host fails.
    """
    paths = []
    for bundle in chosen_bundles(run, only, settings, say):
        name = name_with_host(bundle.folder.name, settings.host)
        path = run.bench / f"{name}{variant_of(settings)}.json"
        how = {"manifest": bundle.manifest_sha256, **_measured_by(settings)}
        time_it = partial(_measure, run, bundle, settings, on_progress=on_progress)
        step = _step_name(path)
        timed_step(run, step, path, time_it, write_measurement, depends_on=how, again=again)
        paths.append(path)
    return paths


def measured_as(run: RunFolder, path: Path) -> BenchRecipe:
    """How a measurement of the run was asked for when it was taken, as its step wrote it down.

    Raises:
        RecipeError: when another version of this program took it, and asked what this one cannot.
    """
    depends_on = run.record()["steps"][_step_name(path)]["depends_on"]
    values = {key: value for key, value in depends_on.items() if key != "manifest"}
    return validated(BenchRecipe, values, Source(f"{run.record_path}: {path.stem}"))


def _step_name(path: Path) -> str:
    return f"bench {path.stem}"


def _measured_by(settings: BenchRecipe) -> dict[str, Any]:
    """What a measurement depends on: what else is looked at comes after it."""
    values: dict[str, Any] = recipe_values(settings)
    return {key: value for key, value in values.items() if key not in _COMES_AFTER}


def chosen_bundles(
    run: RunFolder, only: Sequence[str] | None, settings: BenchRecipe, say: Callable[[str], None]
) -> list[AnyBundle]:
    """Every bundle to measure; arguments and errors as `bench`."""
    folders = {folder.name: folder for folder in run.bundle_folders()}
    if not folders:
        raise MissingFileError(f"{run.bundles}: no bundles yet; make some with `compress export`")
    for name in only or []:
        if name not in folders:
            raise unknown_name("bundle", name, folders)
    names = only or list(folders)
    bundles = {name: open_any_bundle(folders[name]) for name in names}
    if settings.runtime and not only:
        format_taken = RUNTIMES.get(settings.runtime).format
        for name in [name for name in names if bundles[name].manifest.format != format_taken]:
            say(
                f"left out {name}: runtime {settings.runtime} takes models of format {format_taken}"
            )
            del bundles[name]
    if not only:
        bundles = _of_architecture(run, open_host(settings.host).facts().arch, bundles, say)
    if not bundles:
        raise MissingFileError(
            f"{run.bundles}: no bundle for the architecture of host {settings.host!r}"
            f"{f' and runtime {settings.runtime}' if settings.runtime else ''}; export for a "
            "target that it is, or name a bundle with --bundle"
        )
    return list(bundles.values())


def _of_architecture(
    run: RunFolder, arch: str, bundles: dict[str, AnyBundle], say: Callable[[str], None]
) -> dict[str, AnyBundle]:
    fitting = {}
    for name, bundle in bundles.items():
        profile = target_of(run, bundle.manifest.target)
        if profile is None or profile.arch == arch:
            fitting[name] = bundle
        else:
            say(f"left out {name}: made for {profile.arch}, this host is {arch}")
    return fitting


def _measure(
    run: RunFolder,
    bundle: AnyBundle,
    settings: BenchRecipe,
    *,
    on_progress: Progress,
    journal: Path,
    remark: Callable[[str], None],
) -> Measurement:
    profile = target_of(run, bundle.manifest.target)
    options = part_of(
        MeasureOptions,
        settings,
        **left_to_target(settings, profile),
        **(_judged_on(run, bundle.manifest.role) if settings.accuracy else {}),
        power=profile.power if profile else {},
    )

    def tell(facts: dict[str, Any]) -> None:
        on_progress(bundle.folder.name, facts)

    return measure(bundle, settings.host, options, tell, journal, remark=remark)


def left_to_target(options: RuntimeOptions, profile: Target | None) -> dict[str, Any]:
    """Options of the runtime that are the target's where they are unset."""
    return {
        "threads": options.threads or (profile.threads if profile else None),
        "pin": _cores_for(options.pin, profile),
    }


def _cores_for(pin: str | None, profile: Target | None) -> str | None:
    """The cores to run on: those asked for, or else the target's."""
    if pin is None and profile is not None and profile.pin:
        return ",".join(map(str, profile.pin))
    return None if pin == ANY else pin


def variant_of(settings: BenchRecipe) -> str:
    """What tells a file from that of the plain measurement; nothing for that one."""
    plain = BenchRecipe()
    words = [
        settings.scenario if settings.scenario != plain.scenario else "",
        f"batch{settings.batch}" if (settings.batch or 1) > 1 else "",
        settings.runtime or "",
    ]
    return "".join(f".{word}" for word in words if word)


def _judged_on(run: RunFolder, role: str) -> dict[str, Any]:
    """The images that a bundle is asked about, and from which on the teacher's answers stand in
    for labels."""
    answered = run.data / AGREEMENT
    if role == "student" and answered.exists():
        facts = read_facts(run.data)
        labelled = len(read_labels(run.data / TEST)) if facts.has_labels else 0
        return {"evaluation": answered, "agreement_from": labelled}
    return {"evaluation": _evaluation_images(run, role)}


def _evaluation_images(run: RunFolder, role: str) -> Path | None:
    """Test images at the size that the network sees; None where the run's data did not travel, or
    has no labels."""
    if not (run.data / FACTS).exists():
        return None
    facts = read_facts(run.data)
    path = run.data / facts.images_for(role, TEST)
    return path if facts.has_labels and path.exists() else None
