"""`compress gate`: runs and measurements judged by a budget; without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from deploy_targets.device.messages import SINGLE_STREAM
from foundation.errors import UsageError
from foundation.records import as_dict
from pipeline.gating.evidence import evidence_in
from pipeline.gating.gate import (
    baseline_of,
    gate,
    history_path,
    keep_in_history,
)
from pipeline.gating.history import (
    FEWEST_FOR_DRIFT,
    HistoryShown,
    MetricHistory,
    read_history,
    series_of,
)
from pipeline.gating.judging import judge
from pipeline.gating.settling import MeasureAgain
from pipeline.gating.verdict import FAIL, INCONCLUSIVE, Verdict, verdict_of
from pipeline.recipe.file import Source, read_toml, recipe_values, validated
from pipeline.recipe.sections.gate import GateRecipe
from pipeline.run_folder.folder import RunFolder, Say, open_run
from pipeline.shown.console import ProgressConsole, at_work, progress_console, remarks_on
from pipeline.shown.outcome import Outcome, table_of
from pipeline.shown.verdicts import verdict_table
from pipeline.shown.words import safe

_SHOWN = 20
"""Releases in a table; the JSON has all."""


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
    common_rules = None if budget is None else read_budget(budget)
    verdicts = []
    for run in runs:
        rules = changed_budget(common_rules or run.recipe_section("gate", GateRecipe), changes)
        with run.locked(to_read=True):
            verdicts.append(gate_shown(run, rules, console))
    if files:
        verdicts.append(_gate_files(files, common_rules, changes))
    verdict = _joined(verdicts)
    outcome = Outcome(
        as_dict(verdict),
        [verdict_table(verdict)],
        passed=verdict.passed,
        inconclusive=verdict.verdict == INCONCLUSIVE,
    )
    return verdict, outcome


def gate_shown(run: RunFolder, rules: GateRecipe, console: ProgressConsole) -> Verdict:
    """Judge a run, measuring again where the budget asks for it, and say so."""

    def say(line: str) -> None:
        console.print(f"  {safe(line)}")

    with at_work(console, "judging") as work:

        def tell(bundle: str, facts: dict[str, Any]) -> None:
            work.now = f"measuring {bundle} again: {facts['step']}"

        verdict = gate(run, rules, _measures_again(run, rules, tell, say), console.warn)
    _say_what_outputs_rest_on(verdict, say)
    return verdict


def _measures_again(
    run: RunFolder, rules: GateRecipe, tell: Callable[[str, dict[str, Any]], None], say: Say
) -> MeasureAgain | None:
    """What makes new measurements, where the budget asks for it."""
    if not rules.retries:
        return None
    from pipeline.gating.measuring_again import measuring_again  # noqa: PLC0415 - it measures

    return measuring_again(run, rules, tell, say)


def _say_what_outputs_rest_on(verdict: Verdict, say: Callable[[str], None]) -> None:
    """Parity is not worth: of a graph that nobody scored, that is all there is to judge."""
    names = {check.bundle for check in verdict.checks if check.metric.startswith("outputs.")}
    scored = {check.bundle for check in verdict.checks if check.metric.startswith("score")}
    if unscored := sorted(names - scored):
        say(
            f"{', '.join(unscored)}: no scorer says what it is worth, so each output is held "
            "against the original's"
        )


def read_budget(path: Path) -> GateRecipe:
    """A budget from a TOML file of its own: the keys of the recipe's gate section.

    Raises:
        MissingFileError: when there is no such file.
        RecipeError: when it is not a budget.
    """
    return validated(GateRecipe, *read_toml(path, "budget"))


def changed_budget(rules: GateRecipe, changes: Mapping[str, Any]) -> GateRecipe:
    """A budget with some keys replaced, and validated again.

    Raises:
        RecipeError: when one makes no sense.
    """
    return validated(GateRecipe, {**recipe_values(rules), **changes}, Source())


def _gate_files(
    files: Sequence[Path], budget: GateRecipe | None, changes: Mapping[str, Any]
) -> Verdict:
    if budget is None:
        raise UsageError(
            f"{files[0]}: measurements alone have no budget; give one with --budget budget.toml"
        )
    rules = changed_budget(budget, changes)
    if rules.retries:
        raise UsageError(
            f'{files[0]}: on_inconclusive = "{rules.on_inconclusive}" measures again, for which '
            "there must be a run folder; name the run, or leave it out"
        )
    evidence = evidence_in(files, allow_estimate=rules.allow_estimate)
    verdict = judge(evidence, rules, baseline_of(rules))
    verdict = replace(verdict, judged=[str(file) for file in files])
    _say_what_outputs_rest_on(verdict, remarks_on(progress_console()))
    keep_in_history(verdict, rules, None, progress_console().warn)
    return verdict


def history_shown(paths: Sequence[Path], file: str | None) -> Outcome:
    """Every limited metric over the releases that were judged, and what got slowly worse.

    Args:
        paths: at most one run folder, beside which the history lies; none takes the run used last.
        file: the history itself; None takes that.

    Raises:
        MissingFileError: when there is none yet.
        CorruptFileError: when it cannot be understood.
        UsageError: when there are several runs.
    """
    if len(paths) > 1:
        raise UsageError("--history is of one run's folder, or of --history-file; name one")
    run = None if file else open_run(paths[0] if paths else None)
    path = history_path(GateRecipe(history_file=file), run)
    if path is None:
        raise UsageError('--history-file "none" keeps no history; name the file')
    series = series_of(read_history(path))
    content = as_dict(HistoryShown(file=str(path), series=series))
    lines = [_drift_words(one) for one in series if one.drift] or [
        f"no metric got worse by more than chance; {FEWEST_FOR_DRIFT} releases are the fewest that "
        "could show it"
    ]
    return Outcome(content, [*map(_history_table, series), *lines])


def _history_table(series: MetricHistory) -> Table:
    title = f"{series.metric} of {series.bundle} on {series.host}"
    if series.scenario != SINGLE_STREAM:
        title += f", {series.scenario}"
    rows = [
        [
            point.release or "–",
            point.at[:16].replace("T", " "),
            (point.commit or "–")[:10],
            f"{point.value:.4g}",
            f"{point.low:.4g} to {point.high:.4g}" if point.low < point.high else "exact",
            point.verdict,
        ]
        for point in series.points[-_SHOWN:]
    ]
    heads = ["release", "judged", "commit", series.unit or "figure", "interval", "limit"]
    return table_of(safe(title), heads, rows)


def _drift_words(series: MetricHistory) -> str:
    drift = series.drift
    assert drift is not None
    unit = "points" if series.unit in ("%", "points") else "%"
    broken = sum(point.verdict == FAIL for point in series.points)
    kept = "no single limit was broken" if not broken else f"{broken} limits were broken"
    return (
        f"[yellow]drift[/yellow]: {safe(series.metric)} of {safe(series.bundle)} on "
        f"{safe(series.host)} got worse by {drift.change:.3g} {unit} ({drift.low:.3g} to "
        f"{drift.high:.3g}) over {drift.releases} releases, Kendall's τ {drift.tau:.2f}, "
        f"p {drift.p:.1g}; {kept}"
    )


def _joined(verdicts: Sequence[Verdict]) -> Verdict:
    """One verdict over all; they differ in their words for inconclusive only by their recipes."""
    if len(verdicts) == 1:
        return verdicts[0]
    reactions = {verdict.on_inconclusive for verdict in verdicts}
    checks = [check for verdict in verdicts for check in verdict.checks]
    joined = verdict_of(checks, reactions.pop() if len(reactions) == 1 else "report")
    return replace(joined, judged=[path for verdict in verdicts for path in verdict.judged])
