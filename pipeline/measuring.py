"""The second half of the road: measure, report, judge. No torch is imported here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from deploy_targets.comparison import Comparison, read_comparison
from deploy_targets.measurement import Measurement, read_measurement
from deploy_targets.records import as_dict
from foundation.errors import MissingFileError, UsageError
from foundation.files import user_path
from pipeline.display import (
    Outcome,
    live_lines,
    measurement_table,
    process_table,
    progress_console,
    ratio_table,
    remarks_on,
    safe,
    verdict_table,
)
from pipeline.gating.evidence import evidence_in, read_baseline
from pipeline.gating.judging import judge
from pipeline.gating.ratios import RatioShown, ratios_in_turns, stored_ratios
from pipeline.gating.verdict import INCONCLUSIVE, Verdict, verdict_of
from pipeline.outcomes import ReportOutcome
from pipeline.recipe import BenchRecipe, GateRecipe, Recipe
from pipeline.recipe_file import Source, load_recipe, read_toml, recipe_values, validated
from pipeline.runs import RunFolder, open_run
from pipeline.steps.against import is_bundle, time_against
from pipeline.steps.bench import bench
from pipeline.steps.gate import again_in, baseline_of, gate


@dataclass(frozen=True, kw_only=True)
class BenchOutcome:
    """What `compress bench --json` prints.

    Attributes:
        run: the run folder.
        measurements: of every bundle that was asked for.
        ratios: to what `--against` named.
        comparisons: the turns that they come from, where there were some.
    """

    schema_version: int = 1
    kind: str = "bench"
    run: str
    measurements: list[Measurement]
    ratios: list[RatioShown]
    comparisons: list[Comparison]


@dataclass(frozen=True)
class HeldAgainst:
    """Bundles held against another; see `BenchOutcome`."""

    ratios: list[RatioShown] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)


def bench_only(
    path: Path | None, changes: Mapping[str, Any], only: Sequence[str] | None
) -> Outcome:
    """Measure a run's bundles.

    Args:
        path: the run folder; None takes the one used last.
        changes: keys of the recipe's bench section that the command line gave.
        only: names of bundles; None takes all.
    """
    run = open_run(path)
    asked = changed_section(run, "bench", changes).bench
    check_against(asked)
    console = progress_console()
    with run.locked():
        measurements = bench_shown(run, asked, console, only)
        held = HeldAgainst()
        if asked.against:
            held = _held_shown(run, asked, console, only, measurements)
    found = BenchOutcome(
        run=str(run.path),
        measurements=measurements,
        ratios=held.ratios,
        comparisons=held.comparisons,
    )
    shown = [measurement_table(measurements), process_table(measurements)]
    shown += [ratio_table(held.ratios)] if held.ratios else []
    return Outcome(as_dict(found), shown)


def report_only(path: Path | None, out: Path | None = None) -> Outcome:
    """Write a run's report from what lies in its folder.

    Args:
        path: the run folder; None takes the one used last.
        out: where to write it; None takes the run folder.
    """
    from pipeline.report.content import gather  # noqa: PLC0415
    from pipeline.report.terminal import shown_of  # noqa: PLC0415
    from pipeline.steps.report import report  # noqa: PLC0415 - matplotlib, which a gate needs not

    run = open_run(path)
    with run.locked(to_read=True):
        content = gather(run)
        written = report(run, out)
    measured = [measurement_table(content.measurements)] if content.measurements else []
    outcome = ReportOutcome(
        run=str(run.path), remarks=content.remarks, written=[str(file) for file in written]
    )
    return Outcome(
        as_dict(outcome),
        [*measured, *shown_of(content), *(safe(f"written: {file}") for file in written)],
    )


def gate_only(
    paths: Sequence[Path], budget: Path | None, changes: Mapping[str, Any]
) -> tuple[Verdict, Outcome]:
    """Judge runs and files of measurements by a budget file, or by each recipe's own.

    Args:
        paths: run folders and files; none takes the run used last.
        budget: a TOML file; None takes the recipe's, which files alone do not have.
        changes: keys of the gate section that the command line gave.
    """
    console = progress_console()
    say = remarks_on(console)
    files = [path for path in paths if path.is_file() or path.suffix == ".json"]
    folders = [path for path in paths if path not in files]
    runs = [open_run(path, say) for path in folders] or ([] if files else [open_run(None, say)])
    asked = None if budget is None else read_budget(budget)
    verdicts = []
    for run in runs:
        rules = changed_budget(asked or run.recipe().gate, changes)
        with run.locked(to_read=True):
            verdicts.append(gate_shown(run, rules, console))
    if files:
        verdicts.append(_gate_files(files, asked, changes))
    verdict = _joined(verdicts)
    outcome = Outcome(
        as_dict(verdict),
        [verdict_table(verdict)],
        passed=verdict.passed,
        inconclusive=verdict.verdict == INCONCLUSIVE,
    )
    return verdict, outcome


def check_against(asked: BenchRecipe) -> None:
    """Make sure that what bundles are to be held against is there, before anything is measured.

    Raises:
        MissingFileError: when it is not.
    """
    if asked.against and not user_path(asked.against).exists():
        raise MissingFileError(
            f"{asked.against}: no such bundle or measurement to hold this run against"
        )


def held_against(
    run: RunFolder,
    asked: BenchRecipe,
    on_progress: Callable[[str, dict[str, Any]], None],
    only: Sequence[str] | None,
    measurements: Sequence[Measurement],
) -> HeldAgainst:
    """Hold a run's bundles against another bundle, in turns, or against a stored measurement."""
    other = user_path(asked.against or "")
    if not is_bundle(other):
        return HeldAgainst(stored_ratios(measurements, read_baseline(other).measurements))
    comparisons = [
        read_comparison(path) for path in time_against(run, other, asked, on_progress, only)
    ]
    return HeldAgainst([r for one in comparisons for r in ratios_in_turns(one)], comparisons)


def _held_shown(
    run: RunFolder,
    asked: BenchRecipe,
    console: Console,
    only: Sequence[str] | None,
    measurements: Sequence[Measurement],
) -> HeldAgainst:
    with live_lines(console) as lines:
        task = lines.add_task("in turns", total=asked.rounds, figures="")

        def show(bundle: str, facts: dict[str, Any]) -> None:
            done = facts["number"] - 1 if facts["step"] == "round" else 0
            lines.update(task, description=f"{bundle} in turns", completed=done)

        return held_against(run, asked, show, only, measurements)


def gate_shown(run: RunFolder, rules: GateRecipe, console: Console) -> Verdict:
    """Judge a run, measuring again where the budget asks for it, and say so."""

    def say(line: str) -> None:
        console.print(f"  {safe(line)}")

    return gate(run, rules, again_in(run, rules, lambda _bundle, _facts: None, say))


def changed_budget(rules: GateRecipe, changes: Mapping[str, Any]) -> GateRecipe:
    """A budget with some keys replaced, and validated again.

    Raises:
        RecipeError: when one makes no sense.
    """
    return validated(GateRecipe, {**recipe_values(rules), **changes}, Source())


def _gate_files(
    files: Sequence[Path], asked: GateRecipe | None, changes: Mapping[str, Any]
) -> Verdict:
    if asked is None:
        raise UsageError(
            f"{files[0]}: measurements alone have no budget; give one with --budget budget.toml"
        )
    rules = changed_budget(asked, changes)
    if rules.retries:
        raise UsageError(
            f'{files[0]}: on_inconclusive = "{rules.on_inconclusive}" measures again, for which '
            "there must be a run folder; name the run, or leave it out"
        )
    evidence = evidence_in(files, allow_estimate=rules.allow_estimate)
    verdict = judge(evidence, rules, baseline_of(rules))
    return replace(verdict, judged=[str(file) for file in files])


def _joined(verdicts: Sequence[Verdict]) -> Verdict:
    """One verdict over all; they differ in their words for inconclusive only by their recipes."""
    if len(verdicts) == 1:
        return verdicts[0]
    asked = {one.on_inconclusive for one in verdicts}
    checks = [check for one in verdicts for check in one.checks]
    joined = verdict_of(checks, asked.pop() if len(asked) == 1 else "report")
    return replace(joined, judged=[path for one in verdicts for path in one.judged])


def bench_shown(
    run: RunFolder, asked: BenchRecipe, console: Console, only: Sequence[str] | None = None
) -> list[Measurement]:
    """Measure with a live line, and give what was measured."""
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task("measuring")
        seen: set[str] = set()

        def show(bundle: str, facts: dict[str, Any]) -> None:
            if bundle not in seen:
                seen.add(bundle)
                console.print(f"  measuring {bundle}")
            progress.update(task, description=f"{bundle}: {facts.get('step', '')}")

        paths = bench(run, asked, show, lambda line: console.print(f"  {line}"), only)
    return [read_measurement(path) for path in paths]


def changed_section(run: RunFolder, section: str, changes: Mapping[str, Any]) -> Recipe:
    """A run's recipe with some keys of one section replaced, and validated again."""
    overrides = {f"{section}.{key}": value for key, value in changes.items()}
    return load_recipe(run.recipe_path, overrides).recipe


def read_budget(path: Path) -> GateRecipe:
    """A budget from a TOML file of its own: the keys of the recipe's gate section.

    Raises:
        MissingFileError: when there is no such file.
        RecipeError: when it is not a budget.
    """
    return validated(GateRecipe, *read_toml(path, "budget"))
