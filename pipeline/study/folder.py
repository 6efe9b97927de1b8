"""The folder of a study: what was asked, its teachers, its arms, and what was found.

runs/NAME/
  recipe.toml  teachers/seed-N/ (run folders)  arms/ARM/seed-N/result.json
  data/facts.json  study.json  report.html  report.md

Teachers may lie elsewhere, for several studies to share: study.teachers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from foundation.errors import CorruptFileError, RunMismatchError
from foundation.files import no_space_named, read_json, sha256_of, write_json, write_text
from foundation.records import misfits, record_in
from foundation.sense import above_zero, at_least, shares
from pipeline.data.dataset_files import files_of
from pipeline.data.facts import DataFacts, read_facts
from pipeline.metrics import metric_identity
from pipeline.models import weights_identity
from pipeline.recipe.code import code_identity
from pipeline.recipe.file import dump_recipe, recipe_values
from pipeline.recipe.sections.recipe import Recipe
from pipeline.run_folder.binding import engine_values, first_difference, training_values
from pipeline.run_folder.folder import SEARCH, RunFolder
from pipeline.run_folder.records import Point, RetentionRecord
from pipeline.study.arms import Arm
from smskd.training.stage_files import WEIGHTS

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class StudyFolder:
    """A study on disk, and where each thing in it lies.

    Attributes:
        path: the folder.
        teachers: the folder of its teachers, which other studies may share.
    """

    path: Path
    teachers: Path

    @property
    def recipe_path(self) -> Path:
        return self.path / "recipe.toml"

    @property
    def findings(self) -> Path:
        return self.path / "study.json"

    @property
    def page(self) -> Path:
        return self.path / "report.html"

    @property
    def summary(self) -> Path:
        return self.path / "report.md"

    @property
    def data(self) -> Path:
        """Where the facts of the study's data lie."""
        return self.path / "data"

    def teacher(self, seed: int) -> RunFolder:
        """The run folder that holds the teacher of a seed."""
        return RunFolder(self.teachers / f"seed-{seed}")

    def teacher_threads(self, seed: int) -> int | None:
        """On how many threads the teacher of a seed is trained; None where that is open."""
        run = self.teacher(seed)
        with suppress(CorruptFileError):  # which whoever trains it tells of
            return run.record().get("threads") if run.record_path.exists() else None
        return None

    def arm(self, name: str, seed: int) -> Path:
        """Where an arm works for one seed."""
        return self.path / "arms" / name / f"seed-{seed}"


@dataclass(frozen=True, kw_only=True)
class EpochKnown(Point):
    """An epoch of an arm; of one that was trained elsewhere no more than a point is known."""

    losses: dict[str, float] = field(default_factory=dict)
    seconds: float | None = None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from super().problems()
        yield from at_least(0, seconds=self.seconds)


@dataclass(frozen=True)
class ArmResult:
    """What one arm came to with one seed. Accuracies are shares, 0..1.

    Attributes:
        fingerprint: of all that the result depends on.
        validation_top1, test_top1: of the student that the arm ends with.
        history: a record an epoch over the whole budget: epoch, stage, losses, val_top1, seconds;
            of a result that was trained elsewhere, epoch and val_top1 of some of them.
        after_stage: validation top-1 of the student that each stage hands on.
        seconds_per_epoch: the median.
        seconds: of all epochs together; None where an earlier version left it out.
        retention: see `smskd.retention_matrix`; None for an arm of one stage.
        versions: what trained it: release and commit of this program, and torch's.
    """

    fingerprint: str
    arm: str
    seed: int
    validation_top1: float
    test_top1: float
    history: list[dict[str, Any]]
    after_stage: list[float]
    seconds_per_epoch: float
    retention: dict[str, Any] | None
    seconds: float | None = None
    versions: dict[str, str | None] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(0, seed=self.seed)
        yield from above_zero(seconds_per_epoch=self.seconds_per_epoch, seconds=self.seconds)
        yield from shares(validation_top1=self.validation_top1, test_top1=self.test_top1)
        for top1 in self.after_stage:
            yield from shares(after_stage=top1)
        if not self.history:
            yield "history must have an epoch, but is empty"
        for number, epoch in enumerate(self.history):
            yield from misfits(EpochKnown, epoch, f"history[{number}]")
        if self.retention is not None:
            yield from misfits(RetentionRecord, self.retention, "retention")


def start_study(path: Path, recipe: Recipe) -> StudyFolder:
    """Make a study's folder, or go on with the one that is there.

    Raises:
        RunMismatchError: when it is a run's, or the study of another recipe; [study] may change.
        RecipeError: when the recipe there cannot be read.
    """
    study = StudyFolder(path, Path(recipe.study.teachers or path / "teachers"))
    run = RunFolder(path)
    if run.record_path.exists():
        raise RunMismatchError(f"{path}: a run lies here; choose another folder with --run")
    if (path / SEARCH).exists():
        raise RunMismatchError(f"{path}: a search lies here; choose another folder with --run")
    if run.recipe_path.exists():
        stored, current = training_values(run.recipe()), training_values(recipe)
        if files_of(recipe.data.name) is not None:  # its teachers know the data, wherever it lies
            for values in (stored, current):
                values["data"]["name"] = values["data"]["name"].partition(":")[0]
        difference = first_difference(stored, current)
        if difference:
            raise RunMismatchError(
                f"{path}: a study of another recipe lies here: {difference}; choose another "
                "folder with --run, or delete this one"
            )
    with no_space_named(path):
        path.mkdir(parents=True, exist_ok=True)
    with run.locked():
        write_text(study.recipe_path, dump_recipe(recipe))
    return study


def arm_fingerprint(recipe: Recipe, arm: Arm, seed: int, teacher: RunFolder) -> str:
    """What an arm's result depends on, in one word; the teacher must have been trained."""
    values = arm_values(recipe, arm, seed, read_facts(teacher.data))
    return fingerprint_of({**values, "teacher": sha256_of(teacher.teacher / WEIGHTS)})


def arm_values(recipe: Recipe, arm: Arm, seed: int, facts: DataFacts) -> dict[str, Any]:
    """What an arm's result depends on beside its teacher, as JSON values."""
    student = recipe_values(recipe.student)
    del student["train_alone"]  # its arm is one of its own
    return {
        "stages": [stage.as_dict() for stage in arm.stages],
        "seed": seed,
        "taps": recipe.teacher.taps,
        "student": student,
        "code": code_identity(recipe.student.model),
        "weights": weights_identity(recipe.student.weights),
        "data": recipe_values(recipe.data) | {"name": facts.fingerprint or recipe.data.name},
        "engine": engine_values(recipe),
        "threads": recipe.study.threads,
        **({} if recipe.metric is None else {"metric": metric_identity(recipe.metric)}),
    }


def fingerprint_of(values: dict[str, Any]) -> str:
    """JSON values in one word, a SHA-256."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def write_result(folder: Path, result: ArmResult) -> None:
    """Leave an arm's result, the last file that it writes."""
    write_json(folder / "result.json", asdict(result))


def read_result(folder: Path, fingerprint: str) -> ArmResult | None:
    """An arm's result, or None when that very arm is not done.

    Raises:
        CorruptFileError: when the file is not JSON, or says what cannot be.
    """
    path = folder / "result.json"
    if not path.exists():
        return None
    content = read_json(path)
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        return None
    if content.get("fingerprint") != fingerprint:
        return None
    advice = "delete it to train the arm again"
    return record_in(content, path, ArmResult, "the result of an arm", advice)
