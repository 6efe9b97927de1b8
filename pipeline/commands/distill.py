"""`compress distill`: data, teacher and student."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from foundation.records import as_dict
from pipeline.commands.outcomes import DistillOutcome
from pipeline.data.facts import read_facts
from pipeline.gating.labels import check_classes
from pipeline.preflight.trust import check_code
from pipeline.recipe.file import RecipeFile
from pipeline.run_folder.binding import Binding, training_values
from pipeline.run_folder.folder import DEFAULT_ROOT, RunFolder, is_asked_again, start_run
from pipeline.run_folder.torchrun import join_processes
from pipeline.shown.console import at_work, progress_console, remarks_on
from pipeline.shown.outcome import Outcome, table_of
from pipeline.shown.training import training_display
from pipeline.shown.words import number
from pipeline.training.course import CourseLogs, check_log_packages, course_logs
from pipeline.training.prepare import TrainingData, prepare
from pipeline.training.steps import distil, teach, train_student_alone

Figures = dict[str, Any]


def _top1(part: str) -> Callable[[Figures], float | None]:
    return lambda network: (network.get(part) or {}).get("top1")


def _agreement(part: str) -> Callable[[Figures], float | None]:
    return lambda network: network.get("agreement", {}).get(part, {}).get("share")


_SHARES = {
    "validation top-1 %": _top1("validation"),
    "test top-1 %": _top1("test"),
    "validation, as the teacher %": _agreement("validation"),
    "test, as the teacher %": _agreement("test"),
}
"""What is told of each network, by its heading; a column where nothing is told is left out."""

_NAMES = {"teacher": "teacher", "alone": "student alone", "student": "student"}


def distill_only(file: RecipeFile, path: Path | None) -> Outcome:
    """Data, teacher and student."""
    console = progress_console()
    run = begin(file, path, console)
    with run.locked():
        train(run, file, console)
    outcome = DistillOutcome(
        run=str(run.path), networks=run.record()["networks"], remarks=run.remarks()
    )
    content = as_dict(outcome)
    return Outcome(content, [stage_table(run), *pruned_lines(run), f"student: {run.student}"])


def begin(
    file: RecipeFile,
    path: Path | None,
    console: Console,
    binding: Callable[[RunFolder], Binding] = lambda _run: training_values,
) -> RunFolder:
    """Look a recipe through, and make its run folder or go on with the one that is there.

    Args:
        file: the recipe.
        path: the run folder; None takes runs/NAME.
        console: shows what is imported, and the steps' remarks.
        binding: gives the part of the recipe that the folder's content depends on.
    """
    path, say = path or DEFAULT_ROOT / file.recipe.name, remarks_on(console)
    check_code(file, path, say)
    check_log_packages(file)
    if not is_asked_again(RunFolder(path), file.recipe):
        from pipeline.preflight.names import check_names  # noqa: PLC0415 - torch

        check_names(file)
    join_processes(file.recipe.engine)
    return start_run(path, file.recipe, say, binding(RunFolder(path)))


def train(run: RunFolder, file: RecipeFile, console: Console) -> None:
    """Data, teacher, and the student with its stages; what was done before is found done."""
    data = TrainingData(file)
    with at_work(console, "data: read and looked through"):
        prepare(run, data)
    # A class that there is none of is told of now, not after the training.
    limits = file.recipe.gate.limits
    classes = read_facts(run.data).classes
    check_classes(limits, classes, lambda metric: file.where("gate", "limits", metric))
    with course_logs(run, file) as logs:
        train_teacher(run, data, logs, console)
        with (
            at_work(console, "student: got ready, or judged on the test images"),
            training_display(console, "stage ") as display,
        ):
            distil(run, data, logs.listener(display, "student"))
        with (
            at_work(console, "student alone: got ready, or judged on the test images"),
            training_display(console, "student alone: ") as display,
        ):
            train_student_alone(run, data, logs.listener(display, "alone"))


def train_teacher(
    run: RunFolder, data: TrainingData, logs: CourseLogs, console: Console, *, alone: bool = False
) -> None:
    """The teacher; found done where it was.

    Args:
        run: the run folder.
        data: read and looked through.
        logs: of the training's course.
        console: shows its progress.
        alone: whether the recipe's student does not matter.
    """
    with (
        at_work(console, "teacher: got ready, or judged on the test images"),
        training_display(console, "teacher: ") as display,
    ):
        teach(run, data, logs.listener(display, "teacher"), has_student=not alone)


def stage_table(run: RunFolder) -> Table:
    networks = run.record()["networks"]
    there = {role: networks[role] for role in _NAMES if role in networks}
    shares = {
        heading: [read(network) for network in there.values()] for heading, read in _SHARES.items()
    }
    told = {name: column for name, column in shares.items() if set(column) - {None}}
    rows = [
        [
            _NAMES[role],
            network["model"],
            "–" if network["parameters"] is None else f"{network['parameters']:,}",
            _macs(network),
            *(number(_percent(column[place]), 2) for column in told.values()),
        ]
        for place, (role, network) in enumerate(there.items())
    ]
    return table_of("Networks", ["role", "model", "parameters", "million MACs", *told], rows)


def pruned_lines(run: RunFolder) -> list[str]:
    """What each pruning of the student left, a line each."""
    costs = [
        (pruning["before_stage"], pruning["before"], pruning["after"])
        for pruning in run.record()["networks"]["student"].get("pruned", [])
    ]
    return [
        f"pruned before stage {stage}: {before['parameters']:,} → {after['parameters']:,} "
        f"parameters, {_macs(before)} → {_macs(after)} million MACs"
        for stage, before, after in costs
    ]


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _macs(cost: dict[str, Any]) -> str:
    return number(_millions(cost.get("macs")), 1)


def _millions(count: int | None) -> float | None:
    return None if count is None else count / 1e6
