"""The work of one process: an arm with one seed, or a teacher."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.models.teachers import asked_teacher
from pipeline.recipe.file import RecipeFile
from pipeline.study.arms import Arm
from pipeline.study.folder import ArmResult, StudyFolder, arm_fingerprint, read_result
from smskd.training.stage_files import WEIGHTS

if TYPE_CHECKING:
    from pipeline.study.worker import Teller


@dataclass(frozen=True)
class Task:
    """A process' work: one arm with one seed, or a teacher.

    Attributes:
        file: the study's recipe.
        study: its folder.
        arm: what to train; None trains the teacher of the seed.
        seed: the run's seed.
    """

    file: RecipeFile
    study: StudyFolder
    arm: Arm | None
    seed: int

    @property
    def name(self) -> str:
        """What it is called on the screen: "smskd-tcp, seed 1"."""
        return f"{self.arm.name if self.arm else 'teacher'}, seed {self.seed}"

    @property
    def stage_epochs(self) -> tuple[int, ...]:
        """How many epochs each of its stages trains."""
        teacher = self.file.recipe.teacher
        if self.arm:
            return tuple(stage.epochs for stage in self.arm.stages)
        is_finished = teacher.weights or asked_teacher(teacher.model)
        return () if is_finished else (teacher.training.epochs,)

    @property
    def threads(self) -> int:
        """Of its arithmetic. Sums in another order give other last digits, so a teacher that was
        begun goes on with as many as it had."""
        settings = self.file.recipe.study
        if self.arm is not None:
            return settings.threads
        begun_with = self.study.teacher_threads(self.seed)
        return begun_with or settings.teacher_threads or settings.threads

    @property
    def folder(self) -> Path:
        """Where it leaves its files."""
        if self.arm is None:
            return self.study.teacher(self.seed).path
        return self.study.arm(self.arm.name, self.seed)

    @property
    def log(self) -> Path:
        """What libraries print while it is worked on."""
        name = self.arm.name if self.arm else "teacher"
        return self.study.path / "logs" / f"{name}-seed-{self.seed}.txt"

    @property
    def teacher_seed(self) -> int:
        """The seed of the teacher that it needs, or is."""
        shared = self.file.recipe.study.teacher_seed
        return self.seed if shared is None else shared

    def carry_out(self, teller: Teller) -> None:
        """Train what it says, in the process that is its own."""
        from pipeline.study.training import carry_out  # noqa: PLC0415 - not for the parent

        carry_out(self, teller)

    def has_left_its_files(self) -> bool:
        """Whether what comes of it shows here; see `result`."""
        if self.arm is None:
            return (self.study.teacher(self.seed).teacher / WEIGHTS).exists()
        return self.result() is not None

    def result(self) -> ArmResult | None:
        """What the arm came to, or None when it is not done; its teacher must be there."""
        if self.arm is None:
            return None
        return read_result(self.folder, self.fingerprint())

    def fingerprint(self) -> str:
        """Of all that an arm's result depends on."""
        assert self.arm is not None
        teacher = self.study.teacher(self.teacher_seed)
        return arm_fingerprint(self.file.recipe, self.arm, self.seed, teacher)
