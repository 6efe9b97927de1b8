"""A study from recipe to report: teachers, arms, findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from deploy_targets.device.facts import usable_cores
from foundation.errors import CompressError
from foundation.files import write_json, write_text
from foundation.records import as_dict
from pipeline.preflight.labels import check_comparable
from pipeline.preflight.names import check_names
from pipeline.preflight.trust import check_code, check_scheduler
from pipeline.recipe.file import RecipeFile
from pipeline.recipe.sections.recipe import Recipe
from pipeline.run_folder.folder import DEFAULT_ROOT, RunFolder
from pipeline.shown.console import progress_console, remarks_on
from pipeline.shown.outcome import Outcome
from pipeline.study.arms import Arm, chosen_arms
from pipeline.study.crew import Failure, Workplace, carry_out_all, error_for
from pipeline.study.earlier import EarlierResults, known_results
from pipeline.study.findings import Findings, gather
from pipeline.study.folder import StudyFolder, start_study
from pipeline.study.planned import proving_arms
from pipeline.study.processes import Processes
from pipeline.study.progress import study_display
from pipeline.study.render import findings_table, planned_table, render_html, render_markdown
from pipeline.study.tasks import Task


def study(file: RecipeFile, path: Path | None) -> tuple[Outcome | None, CompressError | None]:
    """Train all arms with all seeds, or go on with that, and report.

    Args:
        file: the recipe.
        path: the study's folder; None takes runs/NAME.

    Returns:
        What was found, None when nothing was; and what to tell at the end when something failed.

    Raises:
        UnknownNameError: when the recipe names something that there is not.
        RunMismatchError: when the folder holds something else.
        BusyError: when another process is at work in it.
        HostError: when there is no scheduler or no worker where the recipe names one.
        UntrustedCodeError: when nobody said yes to code or to a scheduler that a file names.
        CorruptFileError: when the results file is none of ours.
    """
    path = path or DEFAULT_ROOT / file.recipe.name
    console = progress_console()
    say = remarks_on(console)
    check_code(file, path, say)
    check_scheduler(file)
    check_names(file)
    check_comparable(file, "compress study")
    arms = chosen_arms(file)
    results_file, known = known_results(file.recipe)
    folder = start_study(path, file.recipe)
    with RunFolder(folder.path).locked():
        tasks = list_tasks(file, folder, arms)
        earlier = EarlierResults(results_file, known, folder, tasks, say)
        remaining, settled = earlier.remaining, [task for task, _ in earlier.settled]
        with study_display(console, len(settled) + len(remaining)) as display:
            for task in settled:
                display.ended(task, None)
            watcher, retries = earlier.watched(display), file.recipe.study.retries
            failures = []
            if remaining:
                failures = carry_out_all(remaining, _place_for(file, folder), watcher, retries)
        results, teachers, subject = earlier.all_results({one.task.name for one in failures})
        if not results or subject is None:
            return None, _failed(failures, len(settled) + len(remaining))
        findings = gather(file, subject, arms, results, teachers, failures=failures)
        _write(folder, findings)
    record = replace(findings.record(), study=str(folder.path), report=_reports(folder))
    lines = [f"report: {report}" for report in _reports(folder)]
    tables = filter(None, [findings_table(findings), planned_table(findings)])
    outcome = Outcome(as_dict(record), [*tables, *lines])
    return outcome, _failed(failures, len(settled) + len(remaining))


def list_tasks(file: RecipeFile, folder: StudyFolder, arms: Mapping[str, Arm]) -> list[Task]:
    """Seed by seed its teacher and its arms, so that early seeds are whole early."""
    recipe, settings = file.recipe, file.recipe.study
    shared, few = settings.teacher_seed, settings.explaining_seeds
    proving = proving_arms(file, arms)
    tasks = [] if shared is None else [Task(file, folder, None, shared)]
    for seed in range(recipe.seed, recipe.seed + settings.seeds):
        if shared is None:
            tasks.append(Task(file, folder, None, seed))
        explained = few is None or seed < recipe.seed + few
        asked = [arm for name, arm in arms.items() if explained or name in proving]
        tasks += [Task(file, folder, arm, seed) for arm in asked]
    return tasks


def _place_for(file: RecipeFile, folder: StudyFolder) -> Workplace[Task]:
    """Where the recipe has its tasks carried out."""
    settings = file.recipe.study
    if settings.scheduler is None:
        return Processes(jobs_of(file.recipe), settings.threads)
    from pipeline.study.cluster import Cluster  # noqa: PLC0415 - few have one

    return Cluster(file.recipe, folder)


def jobs_of(recipe: Recipe) -> int:
    """How many tasks run at once."""
    settings = recipe.study
    return settings.jobs or max((usable_cores() or 1) // settings.threads, 1)


def _write(folder: StudyFolder, findings: Findings) -> None:
    write_json(folder.findings, as_dict(findings.record()))
    write_text(folder.page, render_html(findings))
    write_text(folder.summary, render_markdown(findings))


def _reports(folder: StudyFolder) -> list[str]:
    return [str(folder.page), str(folder.summary)]


def _failed(failures: list[Failure], tasks: int) -> CompressError | None:
    """One error for all that failed, of the first one's kind; a line each was shown before."""
    if not failures:
        return None
    first = failures[0]
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return error_for(
        first,
        f"{len(failures)} of {tasks} failed: {first.task.name}: {first.message}{more}; the same "
        "command tries these again",
    )
