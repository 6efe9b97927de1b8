"""What a study is about: its data, its two networks, and what each seed's teacher is worth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from foundation.files import sha256_of
from foundation.sense import at_least, named, sha256, shares
from pipeline.data.facts import DataFacts, read_facts
from pipeline.models.costs import parameter_count
from pipeline.recipe.sections.recipe import Recipe
from pipeline.study.folder import StudyFolder
from pipeline.training.students import new_student
from smskd.training.stage_files import WEIGHTS


@dataclass(frozen=True)
class NetworkSize:
    """A network by its model's name, and its parameters, where these are known."""

    model: str
    parameters: int | None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from named(model=self.model)
        yield from at_least(1, parameters=self.parameters)


@dataclass(frozen=True)
class Networks:
    """Who teaches, and who learns."""

    teacher: NetworkSize
    student: NetworkSize

    def as_dict(self) -> dict[str, dict[str, str | int | None]]:
        """As plain data: model and parameters of "teacher" and "student"."""
        return asdict(self)


@dataclass(frozen=True)
class Subject:
    """What a study is about.

    Attributes:
        data: what is learned from.
        networks: who teaches, and who learns.
    """

    data: DataFacts
    networks: Networks


@dataclass(frozen=True)
class TaughtBy:
    """The teacher of a result.

    Attributes:
        sha256: of its weights.
        validation_top1, test_top1: what it is worth, shares of 0..1.
    """

    sha256: str
    validation_top1: float
    test_top1: float

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from sha256(sha256=self.sha256)
        yield from shares(validation_top1=self.validation_top1, test_top1=self.test_top1)

    def by_part(self) -> dict[str, float]:
        """Top-1 by the part of the images: {"validation": …, "test": …}."""
        return {"validation": self.validation_top1, "test": self.test_top1}


def subject_in(study: StudyFolder, recipe: Recipe, teacher_seed: int) -> Subject:
    """What a study with a trained teacher in its folder is about."""
    facts = read_facts(study.data)
    teacher = study.teacher(teacher_seed).record()["networks"]["teacher"]
    parameters = parameter_count(new_student(recipe, facts))
    networks = Networks(
        teacher=NetworkSize(teacher["model"], teacher["parameters"]),
        student=NetworkSize(recipe.student.model, parameters),
    )
    return Subject(facts, networks)


def teacher_in(study: StudyFolder, seed: int) -> TaughtBy:
    """The trained teacher of a seed in a study's folder."""
    run = study.teacher(seed)
    worth = run.record()["networks"]["teacher"]
    digest = sha256_of(run.teacher / WEIGHTS)
    return TaughtBy(digest, worth["validation"]["top1"], worth["test"]["top1"])
