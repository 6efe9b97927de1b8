"""The recipe: the whole road in one TOML file, typed and validated.

Reading a recipe needs neither torch nor a runtime, so every command can do it at once.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.recipe.sections.bench import BenchRecipe
from pipeline.recipe.sections.data import DataRecipe
from pipeline.recipe.sections.export import ExportRecipe
from pipeline.recipe.sections.gate import GateRecipe
from pipeline.recipe.sections.networks import MemberRecipe, StudentRecipe, TeacherRecipe
from pipeline.recipe.sections.search import SearchRecipe
from pipeline.recipe.sections.study import StudyRecipe
from pipeline.recipe.sections.training import EngineRecipe, MethodRecipe, StageRecipe
from pipeline.recipe.sections.values import MIXED, Section, Seed
from smskd.curve import leader_of, own_curve, with_schedules
from smskd.stage import check_sequence


class Recipe(Section):
    """The whole road. Every option that says how something is done has its place here; every key of
    `export` and `bench` has an option of its own, and --set of `run`, `distill`, `export` and
    `study` reaches them all.

    Attributes:
        metric: what networks are judged by beside top-1, and chosen by in its place: macro_f1,
            macro_recall, macro_precision, worst_recall, top5, auroc, or package.module:function.
        teachers: several teachers in place of one: their probabilities are meaned, each by its
            weight, and a stage may name one of them by itself.
        teacher_mix: how much each of several teachers counts for an image, beside its weight:
            average, all alike; confidence, by the probability of what it answers; entropy, by how
            far its answer is from knowing nothing.
    """

    LATER: ClassVar[tuple[str, ...]] = ("teachers", "teacher_mix")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)] = "run"
    seed: Seed = 0
    metric: Annotated[str, Field(min_length=1)] | None = None
    data: DataRecipe = DataRecipe()
    teacher: TeacherRecipe = TeacherRecipe()
    teachers: Annotated[list[MemberRecipe], Field(max_length=32)] = []
    teacher_mix: Literal["average", "confidence", "entropy"] = "average"
    student: StudentRecipe = StudentRecipe()
    stages: Annotated[list[StageRecipe], Field(min_length=1, max_length=100)] = [
        # What measured best: docs/results.md.
        StageRecipe(methods=(MethodRecipe("fitnet"),), epochs=10, hold_epochs=10.0),
        StageRecipe(methods=(MethodRecipe("kd"),), epochs=20),
    ]
    engine: EngineRecipe = EngineRecipe()
    export: ExportRecipe = ExportRecipe()
    bench: BenchRecipe = BenchRecipe()
    gate: GateRecipe = GateRecipe()
    study: StudyRecipe = StudyRecipe()
    search: SearchRecipe | None = None

    @model_validator(mode="after")
    def _has_teachers_that_go_together(self) -> Self:
        names = [member.name for member in self.teachers]
        if len(names) == 1:
            raise ValueError(
                f"teachers are two or more, but got {names[0]!r} alone; write it as [teacher]"
            )
        if len(set(names)) < len(names):
            raise ValueError(f"each of several teachers has a name of its own, but got {names}")
        for number, stage in enumerate(self.stages, start=1):
            if stage.teacher is not None and stage.teacher not in names:
                known = ", ".join(map(repr, names)) or "none, for [[teachers]] has none"
                raise ValueError(
                    f"stage {number} has teacher {stage.teacher!r}, but those with names are "
                    f"{known}"
                )
        own, several = self.teacher, bool(names)
        if not several and own.model == MIXED:
            raise ValueError(f"teacher.model = {MIXED!r} is several: write them as [[teachers]]")
        if several and ("model" in own.model_fields_set and own.model != MIXED):
            raise ValueError(
                f"there are [[teachers]], and teacher.model = {own.model!r} beside them; leave out "
                "one of them"
            )
        if several and (own.weights or own.taps or own.preprocessing or own.settings):
            raise ValueError(
                "weights, settings, taps and preprocessing are those of each of several teachers; "
                "write them in [[teachers]]"
            )
        if several and (own.head is not None or own.is_fine_tuned):
            raise ValueError(
                "several teachers are finished ones, and none has its layers made anew or is "
                "fine-tuned; leave out teacher.head and teacher.training.weights"
            )
        if not several and self.teacher_mix != "average":
            raise ValueError(
                f'teacher_mix = "{self.teacher_mix}" is of several teachers; write them as '
                "[[teachers]], or leave it out"
            )
        if several:
            self.__dict__["teacher"] = own.model_copy(update={"model": MIXED})
        return self

    @model_validator(mode="after")
    def _has_stages_that_go_together(self) -> Self:
        self._name_schedules()
        check_sequence(self.stages)
        for stage in self.stages:
            if stage.shares_schedule and stage.prune is not None:
                raise ValueError(
                    "what a shared schedule carries over, momentum too, does not fit a student "
                    f"that was pruned, but got prune = {stage.prune}; name a schedule of its own"
                )
        if self.student.train_alone and any(stage.prune is not None for stage in self.stages):
            raise ValueError(
                "student.train_alone compares two of one size, but a stage begins with pruning; "
                "leave train_alone out, or prune before the first stage, with student.prune"
            )
        if self.search is not None and "metric" in self.search.objectives and self.metric is None:
            raise ValueError(
                "search.objectives names metric, but the recipe has none; set metric, such as "
                'metric = "macro_f1"'
            )
        last = self.stages[-1]
        if last.quantized and len(self.stages) == 1:
            raise ValueError(
                "a stage that quantises goes on from a trained student, but it is the only stage; "
                "put another before it"
            )
        if last.quantized and last.prune is not None:
            raise ValueError(
                f"a stage that quantises cannot begin with pruning, but got prune = {last.prune}; "
                "prune before an earlier stage"
            )
        return self

    def _name_schedules(self) -> None:
        """Give a stage that names no schedule the one that follows from the stages around it, so
        that whoever reads the recipe finds it there."""
        full = self.study.budget == "per-stage"
        # What a shared schedule carries over, momentum too, does not fit a pruned student.
        apart = {n for n, stage in enumerate(self.stages) if full or stage.prune is not None}
        self.__dict__["stages"] = with_schedules(self.stages, apart)

    @property
    def learns_integers(self) -> bool:
        """Whether the last stage trains the student with 8-bit numbers."""
        return self.stages[-1].quantized

    def spelled_out(self) -> Self:
        """The same with the weights that its stages leave to the methods; this imports torch.

        Raises:
            UnknownNameError: when there is no such method.
        """
        from smskd.objective import spelled_out  # noqa: PLC0415 - torch

        return self.model_copy(update={"stages": [spelled_out(stage) for stage in self.stages]})

    def pruned_before(self, number: int) -> float | None:
        """Share of the student's channels that goes before a stage, counted from 1; or None."""
        return self.student.prune if number == 1 else self.stages[number - 1].prune


def own_schedules(recipe: Recipe) -> dict[str, Any]:
    """Changes to a recipe, by place, that give each stage the whole of the curve that it shares."""
    leaders = [leader_of(recipe.stages, place) for place in range(len(recipe.stages))]
    changes: dict[str, Any] = {}
    for place, leader in enumerate(leaders):
        if leaders.count(leader) > 1:
            curve = own_curve(recipe.stages[leader])
            changes |= {f"stages.{place}.{key}": value for key, value in curve.items()}
    return changes
