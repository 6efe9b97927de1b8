"""From what a user has to a recipe that runs, and what was guessed of it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deploy_targets.targets import load_target
from foundation.errors import UsageError
from foundation.files import write_text
from foundation.preprocessing import Preprocessing
from foundation.records import as_dict
from pipeline.commands.init.guesses import Guess
from pipeline.commands.init.looking import ImagesSeen, look_at_images
from pipeline.commands.init.plan import Asked, name_of, next_commands, planned
from pipeline.commands.init.tables import text_of
from pipeline.data.facts import DataFacts
from pipeline.preflight.names import check_names
from pipeline.recipe.file import load_recipe
from pipeline.recipe.sections.recipe import Recipe
from pipeline.shown.console import at_work, progress_console
from pipeline.shown.outcome import Outcome, table_of
from pipeline.shown.words import safe
from pipeline.training.foreign_models import is_graph
from pipeline.training.networks import NetworkSpec, load_weights_for, new_network
from pipeline.training.pairing import check_pairing


@dataclass(frozen=True, kw_only=True)
class InitOutcome:
    """What `compress init --json` prints.

    Attributes:
        written: the recipe's file.
        images: what was seen of them.
        guessed: what nobody said, with what it goes by.
        remarks: what the reading of images and teacher told.
        next: commands to go on with, in order.
    """

    schema_version: int = 1
    kind: str = "init"
    written: str
    images: ImagesSeen
    guessed: list[Guess]
    remarks: list[str]
    next: list[str]


def init(asked: Asked) -> Outcome:
    """Look at images and teacher, and write a recipe that `compress run` takes as it is.

    Raises:
        UsageError: when the file is there already.
        MissingFileError, DataLayoutError, UnknownNameError, ModelMismatchError,
        WeightsMismatchError: when what was named is not there, or does not go together.
    """
    console = progress_console()
    out = _file_for(asked)
    profile = load_target(asked.target)
    with at_work(console, "images: read and looked through"):
        images = look_at_images(asked.images)
    with at_work(console, "teacher and student: looked at"):
        plan = planned(asked, images, profile, out)
        text = text_of(plan, out)
        remarks = [*images.remarks, *plan.teacher.remarks, *checked(text, out.name, images)]
    write_text(out, text)
    outcome = InitOutcome(
        written=str(out),
        images=images,
        guessed=plan.guessed,
        remarks=remarks,
        next=next_commands(plan, out),
    )
    return Outcome(as_dict(outcome), _shown(outcome))


def _file_for(asked: Asked) -> Path:
    out = asked.out or Path(f"{name_of(asked.images)}.toml")
    if (out.exists() or out.is_symlink()) and not asked.force:
        raise UsageError(
            f"{out}: is there already; name another file with --out, or say --force to write over "
            "it"
        )
    return out


def checked(text: str, name: str, images: ImagesSeen) -> list[str]:
    """Make sure that a run would take the recipe: its keys, its names, its networks side by side.

    Returns:
        What the reading of weights told.
    """
    remarks: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / name
        path.write_text(text, encoding="utf-8")
        file = load_recipe(path)
    # What is wrong now is of what the user named, and no line of a file that is not there.
    file = replace(file, source=replace(file.source, name="init", text=""))
    check_names(file)
    recipe = file.recipe
    if is_graph(recipe.teacher.model):
        return remarks
    facts = _facts_for(recipe, images)
    spec = NetworkSpec.of(recipe.teacher)
    teacher = new_network(spec, facts, recipe.seed, "teacher", say=remarks.append)
    load_weights_for(spec, teacher, images.classes, remarks.append)
    student = new_network(NetworkSpec.of(recipe.student), facts, recipe.seed, "student")
    check_pairing(recipe, facts, teacher, student)
    return remarks


def _facts_for(recipe: Recipe, images: ImagesSeen) -> DataFacts:
    size, channels = recipe.data.image_size, images.channels
    assert isinstance(size, int), "guessed as one side"
    shape = Preprocessing(size, size, channels, [0.0] * channels, [1.0] * channels)
    count = images.counts["train"]
    parts = {"train": count, "student_train": count, "validation": 1, "test": 1}
    return DataFacts(images.name, images.classes, shape, parts, [])


def _shown(outcome: InitOutcome) -> list[Any]:
    rows = [[guess.key, str(guess.value), guess.why] for guess in outcome.guessed]
    table = table_of("Guessed, for nobody said", ["key", "value", "from"], rows)
    remarks = [safe(f"note: {line}") for line in outcome.remarks]
    commands = [safe(f"next: {command}") for command in outcome.next]
    return [*remarks, table, safe(f"written: {outcome.written}"), *commands]
