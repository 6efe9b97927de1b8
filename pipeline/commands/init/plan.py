"""What goes into a recipe: what a user said, what was seen, and what is guessed of the rest."""

from __future__ import annotations

import platform
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy_targets.targets import Target
from pipeline.commands.init import guesses
from pipeline.commands.init.guesses import Guess
from pipeline.commands.init.looking import ImagesSeen, TeacherSeen, look_at_teacher
from pipeline.models import build_model
from pipeline.models.costs import parameter_count
from pipeline.training.foreign_models import is_graph

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_NAME = 100


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a user said; None where it is to be guessed.

    Attributes:
        images: a folder, a table of images, or a dataset's name.
        teacher: a model's name, an ONNX file, a bundle, or weights that note their network.
        weights: of the teacher's model.
        student: a model's name.
        target: a device class, or the path of a profile.
        out: the file to write; None takes one that is called like the images.
        force: whether it may take the place of another file.
    """

    images: str
    teacher: str | None
    weights: str | None
    student: str | None
    target: str
    out: Path | None
    force: bool


@dataclass(frozen=True)
class Plan:
    """All that goes into the recipe."""

    name: str
    images: ImagesSeen
    teacher: TeacherSeen
    student: str
    target: str
    profile: Target
    guessed: list[Guess]

    def why(self, key: str) -> str | None:
        """Why a key is what it is, where nobody gave it."""
        return next((guess.why for guess in self.guessed if guess.key == key), None)

    def value(self, key: str) -> Any:
        """What was guessed of a key."""
        return next(guess.value for guess in self.guessed if guess.key == key)


def planned(asked: Asked, images: ImagesSeen, profile: Target, out: Path) -> Plan:
    guessed = [] if asked.teacher else [guesses.usual_teacher(images)]
    word = asked.teacher or str(guessed[0].value)
    teacher = look_at_teacher(word, asked.weights, images.classes)
    size = guesses.image_size(images, teacher)
    guessed += [size, *guesses.data_guesses(images, size.value)]
    student = asked.student
    if student is None:
        models, why = guesses.students(profile, size.value)
        student, smaller = _smaller_than(teacher, models, images)
        guessed.append(Guess("student.model", student, f"{why}; {smaller}"))
    count, why = guesses.epochs(images)
    if teacher.weights is None and not is_graph(teacher.model):
        guessed.append(Guess("teacher.training.epochs", count, why))
    features = count // 3
    if not is_graph(teacher.model):
        guessed.append(Guess("stages.0.epochs", features, f"a third of {count}"))
    rest = count if is_graph(teacher.model) else count - features
    guessed.append(Guess(f"stages.{last_stage(teacher)}.epochs", rest, why))
    return Plan(name_of(str(out)), images, teacher, student, asked.target, profile, guessed)


def last_stage(teacher: TeacherSeen) -> int:
    """The place of the last stage: of a graph, the logits alone are asked."""
    return 0 if is_graph(teacher.model) else 1


def _smaller_than(
    teacher: TeacherSeen, models: Sequence[str], images: ImagesSeen
) -> tuple[str, str]:
    """The first of some students that has fewer parameters than the teacher, and what it has."""
    if is_graph(teacher.model):
        return models[0], f"how large {teacher.model} is, was not looked at"
    limit = _parameters(teacher.model, images)
    for model in models:
        count = _parameters(model, images)
        if count < limit:
            return model, f"{count / 1e6:.1f} million parameters to the teacher's {limit / 1e6:.1f}"
    return models[-1], f"the teacher, with {limit / 1e6:.1f} million parameters, is no larger"


def _parameters(model: str, images: ImagesSeen) -> int:
    import torch  # noqa: PLC0415

    with torch.device("meta"):  # counts need no numbers
        return parameter_count(build_model(model, len(images.classes), images.channels))


def name_of(word: str) -> str:
    """A name for recipe and run, from that of the images or of a file."""
    path = Path(word.rpartition(":")[2] or word)
    stem = _NOT_IN_A_NAME.sub("-", path.resolve().stem).strip("-._")
    return stem[:_LONGEST_NAME] or "recipe"


def is_here(profile: Target) -> bool:
    return profile.arch == platform.machine()


def next_commands(plan: Plan, out: Path) -> list[str]:
    """Commands to go on with."""
    recipe, run = shlex.quote(str(out)), f"runs/{plan.name}"
    if is_here(plan.profile):
        return [f"compress run {recipe}"]
    host = "ssh://USER@HOST"
    return [
        f"compress distill {recipe}",
        f"compress export {run}",
        f"compress device setup --host {host} --target {shlex.quote(plan.target)}",
        f"compress bench {run} --host {host}",
        f"compress report {run}",
    ]
