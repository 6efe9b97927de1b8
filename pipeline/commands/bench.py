"""`compress bench`: a run's bundles measured and held against another; without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from deploy_targets.comparison import Comparison, read_comparison
from deploy_targets.measurement import Measurement, read_measurement
from deploy_targets.measuring.sustain import Stop
from deploy_targets.operator_profile import OperatorProfile, read_operator_profile
from deploy_targets.submission import submission_of, write_submission
from deploy_targets.sustained import Sustained, read_sustained
from foundation.bundle import Manifest, read_manifest
from foundation.errors import CompressError, MissingFileError, UsageError
from foundation.files import user_path
from foundation.records import as_dict
from pipeline.benching.bench import bench
from pipeline.benching.in_turns import is_bundle, time_against
from pipeline.benching.profiled import profile_bundles
from pipeline.benching.sustained import sustain_bundles
from pipeline.gating.evidence import read_baseline
from pipeline.gating.ratios import RatioShown, ratios_in_turns, stored_ratios
from pipeline.recipe.sections.bench import BenchRecipe
from pipeline.run_folder.folder import RunFolder, open_run, release_of
from pipeline.shown.console import progress_console
from pipeline.shown.graphs import outputs_table
from pipeline.shown.live import LiveLines, live_lines
from pipeline.shown.measurement_tables import measurement_table, process_table
from pipeline.shown.operators import operator_tables
from pipeline.shown.outcome import Outcome
from pipeline.shown.sustained import sustained_parts
from pipeline.shown.verdicts import ratio_table


@dataclass(frozen=True, kw_only=True)
class BenchOutcome:
    """What `compress bench --json` prints.

    Attributes:
        run: the run folder.
        measurements: of every bundle that was asked for.
        ratios: to what `--against` named.
        comparisons: the turns that they come from, where there were some.
        submissions: records to give away that were written.
        operators: where the time of each bundle goes, where that was asked for.
        sustained: each bundle kept at work for long, where that was asked for.
    """

    schema_version: int = 1
    kind: str = "bench"
    run: str
    measurements: list[Measurement]
    ratios: list[RatioShown]
    comparisons: list[Comparison]
    submissions: list[str] = field(default_factory=list)
    operators: list[OperatorProfile] = field(default_factory=list)
    sustained: list[Sustained] = field(default_factory=list)


@dataclass(frozen=True)
class LookedInto:
    """What was looked at besides latencies; see `BenchOutcome`.

    Attributes:
        stop: what ended a series before its time.
    """

    operators: list[OperatorProfile] = field(default_factory=list)
    sustained: list[Sustained] = field(default_factory=list)
    stop: Stop | None = None

    @property
    def shown(self) -> list[RenderableType]:
        """Tables and lines."""
        profiles = [part for profile in self.operators for part in operator_tables(profile)]
        series = [part for sustained in self.sustained for part in sustained_parts(sustained)]
        return [*profiles, *series]


@dataclass(frozen=True)
class HeldAgainst:
    """Bundles held against another; see `BenchOutcome`."""

    ratios: list[RatioShown] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)


def bench_only(
    path: Path | None,
    changes: Mapping[str, Any],
    only: Sequence[str] | None,
    submit: Path | None = None,
) -> tuple[Outcome, CompressError | KeyboardInterrupt | None]:
    """Measure a run's bundles.

    Args:
        path: the run folder; None takes the one used last.
        changes: what the command line gave of the recipe, by place.
        only: names of bundles; None takes all.
        submit: a folder for records to give away; None writes none.

    Returns:
        What to show, and the error to end with after that: a measurement that is not given away, or
        what stopped a series under sustained load.
    """
    run = open_run(path)
    settings = run.recipe_with(changes).bench
    check_against(settings)
    console = progress_console()
    with run.locked():
        measurements = bench_shown(run, settings, console, only)
        held = HeldAgainst()
        if settings.against:
            held = _held_shown(run, settings, console, only, measurements)
        looked_into = looked_into_shown(run, settings, console, only)
    written, refused = submitted(run, measurements, submit) if submit else ([], [])
    outcome = BenchOutcome(
        run=str(run.path),
        measurements=measurements,
        ratios=held.ratios,
        comparisons=held.comparisons,
        submissions=written,
        operators=looked_into.operators,
        sustained=looked_into.sustained,
    )
    shown: list[Any] = [measurement_table(measurements), process_table(measurements)]
    of_graphs = [measurement for measurement in measurements if measurement.parity.outputs]
    shown += [outputs_table(of_graphs)] if of_graphs else []
    shown += [ratio_table(held.ratios)] if held.ratios else []
    shown += looked_into.shown
    shown += [escape(f"to give away: {name}") for name in written]
    refusal = UsageError("; ".join(refused)) if refused else None
    return Outcome(as_dict(outcome), shown), looked_into.stop or refusal


def submitted(
    run: RunFolder, measurements: Sequence[Measurement], folder: Path
) -> tuple[list[str], list[str]]:
    """Write a record to give away of each measurement that is fit for it.

    Returns:
        The files, and why others were not written.
    """
    program = release_of("edge-compress") or "from its sources"
    written: list[str] = []
    refused: list[str] = []
    for measurement in measurements:
        manifest = read_manifest(run.bundles / measurement.bundle.name)
        if not isinstance(manifest, Manifest):
            refused.append(
                f"{manifest.name}: is no classifier, and records to give away are of those"
            )
            continue
        try:
            submission = submission_of(measurement, manifest, program)
        except UsageError as error:
            refused.append(str(error))
        else:
            written.append(str(write_submission(user_path(folder), submission)))
    return written, refused


def bench_shown(
    run: RunFolder, settings: BenchRecipe, console: Console, only: Sequence[str] | None = None
) -> list[Measurement]:
    """Measure with a live line, and give what was measured."""
    with _shown_as(console, "measuring") as show:
        paths = bench(run, settings, show, lambda line: console.print(f"  {line}"), only)
    return [read_measurement(path) for path in paths]


def looked_into_shown(
    run: RunFolder, settings: BenchRecipe, console: Console, only: Sequence[str] | None = None
) -> LookedInto:
    """Profile operators and keep bundles at work, where that was asked for, with a live line.

    What stops a series before its time is no error here: what was measured until then is kept.
    """

    def say(line: str) -> None:
        """What is left out has been told when latencies were measured."""

    operators: list[Path] = []
    if settings.per_layer:
        with _shown_as(console, "profiling") as show:
            operators = profile_bundles(run, settings, show, say, only)
    profiles = [read_operator_profile(path) for path in operators]
    if settings.sustain is None:
        return LookedInto(profiles)
    with _shown_as(console, "at work") as show:
        files = sustain_bundles(run, settings, show, say, only)
    return LookedInto(profiles, [read_sustained(path) for path in files.paths], files.stop)


@contextmanager
def _shown_as(console: Console, doing: str) -> Iterator[Callable[[str, dict[str, Any]], None]]:
    """A live line that says of which bundle something is done, and what is told of it."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with LiveLines(console, *columns) as progress:
        task = progress.add_task(doing, total=None)
        seen: set[str] = set()

        def show(bundle: str, facts: dict[str, Any]) -> None:
            if bundle not in seen:
                seen.add(bundle)
                console.print(f"  {doing} {bundle}")
            progress.update(task, description=f"{doing} {bundle}: {_step_words(facts)}")

        yield show


def _step_words(facts: dict[str, Any]) -> str:
    """What is being done; of a bundle at work, since when and how fast."""
    if "p50_ms" not in facts:
        return str(facts.get("step", ""))
    return f"{facts['number']} of {facts['of']} s, p50 {facts['p50_ms']:.3g} ms"


def check_against(settings: BenchRecipe) -> None:
    """Make sure that what bundles are to be held against is there, before anything is measured.

    Raises:
        MissingFileError: when it is not.
    """
    if settings.against and not user_path(settings.against).exists():
        raise MissingFileError(
            f"{settings.against}: no such bundle or measurement to hold this run against"
        )


def held_against(
    run: RunFolder,
    settings: BenchRecipe,
    on_progress: Callable[[str, dict[str, Any]], None],
    only: Sequence[str] | None,
    measurements: Sequence[Measurement],
) -> HeldAgainst:
    """Hold a run's bundles against another bundle, in turns, or against a stored measurement."""
    baseline = user_path(settings.against or "")
    if not is_bundle(baseline):
        return HeldAgainst(stored_ratios(measurements, read_baseline(baseline).measurements))
    comparisons = [
        read_comparison(path) for path in time_against(run, baseline, settings, on_progress, only)
    ]
    return HeldAgainst(
        [r for comparison in comparisons for r in ratios_in_turns(comparison)], comparisons
    )


def _held_shown(
    run: RunFolder,
    settings: BenchRecipe,
    console: Console,
    only: Sequence[str] | None,
    measurements: Sequence[Measurement],
) -> HeldAgainst:
    with live_lines(console) as lines:
        task = lines.add_task("in turns", total=settings.rounds, figures="")

        def show(bundle: str, facts: dict[str, Any]) -> None:
            done = facts["number"] - 1 if facts["step"] == "round" else 0
            lines.update(task, description=f"{bundle} in turns", completed=done)

        return held_against(run, settings, show, only, measurements)
