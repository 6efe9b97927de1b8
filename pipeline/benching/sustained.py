"""Sustain: keep each bundle at work on a host for a while, and keep what that showed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from deploy_targets.device.options import sustained_seconds
from deploy_targets.hosts.host_names import name_with_host
from deploy_targets.measuring.sustain import Stop, SustainOptions, sustain
from deploy_targets.sustained import SCHEMA_VERSION, write_sustained
from foundation.bundle import AnyBundle
from foundation.durations import span_words
from foundation.records import part_of
from pipeline.benching.bench import Progress, chosen_bundles, left_to_target, variant_of
from pipeline.recipe.sections.bench import BenchRecipe
from pipeline.run_folder.folder import RunFolder
from pipeline.run_folder.process_output import process_output_kept
from pipeline.run_folder.target_profiles import target_of


@dataclass(frozen=True)
class SustainedFiles:
    """What came of keeping bundles at work.

    Attributes:
        paths: the files of the series, those of before where nothing changed.
        stop: what ended the last of them before its time; the bundles after it had no turn.
    """

    paths: list[Path] = field(default_factory=list)
    stop: Stop | None = None


def sustain_bundles(
    run: RunFolder,
    settings: BenchRecipe,
    on_progress: Progress,
    say: Callable[[str], None],
    only: Sequence[str] | None = None,
) -> SustainedFiles:
    """Keep the run's bundles at work, one after the other; those that were so before, in the same
    way and to the end, are not again.

    Args:
        run: the run folder, with bundles in it.
        settings: where, how, and in `sustain` for how long.
        on_progress: told the bundle's name and what is happening.
        say: told what is left out.
        only: names of bundles; None takes all that are for the host's architecture.

    Raises:
        MissingFileError: when there are no bundles for this host.
        CorruptFileError: when a bundle is not what was exported.
        HostError, KeyboardInterrupt: when that came before a series had begun.
    """
    paths: list[Path] = []
    for bundle in chosen_bundles(run, only, settings, say):
        path, stop = _sustain(run, bundle, settings, on_progress)
        paths.append(path)
        if stop is not None:
            return SustainedFiles(paths, stop)
    return SustainedFiles(paths)


def _sustain(
    run: RunFolder, bundle: AnyBundle, settings: BenchRecipe, on_progress: Progress
) -> tuple[Path, Stop | None]:
    assert settings.sustain is not None
    target = target_of(run, bundle.manifest.target)
    options = part_of(
        SustainOptions,
        settings,
        **left_to_target(settings, target),
        seconds=sustained_seconds(settings.sustain),
        power=target.power if target else {},
    )
    name = f"{name_with_host(bundle.folder.name, settings.host)}{variant_of(settings)}"
    path = run.sustained / f"{name}.json"
    depends_on = {
        "manifest": bundle.manifest_sha256,
        "host": settings.host,
        "options": asdict(options),
        "schema": SCHEMA_VERSION,
    }
    with run.step(f"sustained {path.stem}", **depends_on) as step:
        if not step.needed:
            return path, None
        tell = partial(on_progress, bundle.folder.name)
        with process_output_kept(run, f"sustained-{path.stem}"):
            sustained, stop = sustain(bundle, settings.host, options, tell)
        write_sustained(path, sustained)
        step.products = [path]
        if stop is not None:
            # Heat that is lost cannot be gone on with: asked again, it begins anew.
            step.depends_on["stopped"] = sustained.stopped
            step.remark(
                f"{bundle.folder.name} was at work for {span_words(sustained.lasted_s)} of "
                f"{span_words(sustained.asked_s)}: {sustained.stopped}; what was measured until "
                f"then is kept in {path}"
            )
    return path, stop
