"""Several finished teachers of a run, each in a folder of its own, which take one's place.

Each is shown its own preparation of the images that all are shown: brought to its size, and
normalised as it was trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from foundation.bundle import Preprocessing
from foundation.errors import ModelMismatchError
from foundation.files import write_json
from foundation.records import read_record
from pipeline.data.batches import renormalised, resized
from pipeline.data.facts import DataFacts, read_facts
from pipeline.data.fitting import member_preparations
from pipeline.data.splits import preprocessing_of_teacher
from pipeline.models.preparation import Preparation
from pipeline.models.teachers import NamedTeacher, TeacherRequest, asked_teacher
from pipeline.models.teachers.asking import notice_probabilities
from pipeline.recipe.sections.networks import MemberRecipe
from pipeline.recipe.sections.recipe import Recipe
from pipeline.run_folder.folder import RunFolder, Say, to_nobody
from pipeline.training.expected_accuracy import remark_on_classes
from pipeline.training.network_checks import check_answers
from pipeline.training.networks import (
    NetworkSpec,
    check_runs,
    load_weights_for,
    new_network,
    open_asked,
    save_asked,
    trained_teacher,
)
from smskd.checkpoints.files import load_model, save_model
from smskd.checkpoints.foreign import Loaded
from smskd.teaching.mixed import MixedTeacher, MixMember
from smskd.training.stage_files import WEIGHTS

_PREPARATION = "preparation.json"
_EXAMPLES = 2


def finished_teacher(run: RunFolder) -> nn.Module:
    """The run's teacher, or several in one's place."""
    return opened_teachers(run) if run.recipe().teachers else trained_teacher(run)


def member_files(run: RunFolder) -> list[Path]:
    """What the folders of several teachers hold; nothing where there is one."""
    folders = [run.teacher / member.name for member in run.recipe().teachers]
    return sorted(path for folder in folders for path in folder.glob("*") if path.is_file())


def adopt_teachers(
    run: RunFolder, recipe: Recipe, facts: DataFacts, images: Tensor, say: Say
) -> MixedTeacher:
    """Several teachers, seen for the first time: what must outlast the user's files is kept.

    Args:
        run: takes a folder for each in the teacher's.
        recipe: names them.
        facts: what the data is.
        images: a few, prepared as all of them see them.
        say: told what was found out about each.

    Raises:
        ModelMismatchError: when one cannot be used, or they know other classes than each other.
    """
    networks, known = dict[str, nn.Module](), dict[str, Sequence[str]]()
    preparations = member_preparations(recipe)
    for member in recipe.teachers:
        folder, known_of_it = run.teacher / member.name, preparations[member.name] or Preparation()
        own = preprocessing_of_teacher(facts.preprocessing, recipe.data, known_of_it)
        write_json(folder / _PREPARATION, asdict(own))
        own_facts = replace(facts, teachers_own=own)
        prepared = _prepared(images, facts.teacher_preprocessing, own)
        asked = asked_teacher(member.model)
        if asked is None:
            network, loaded = _loaded(recipe, member, own_facts, say)
            save_model(folder / WEIGHTS, network)
        else:
            teacher = asked.kind.adopt(_request(member, asked, own_facts, folder), say)
            remark = notice_probabilities(teacher, prepared)
            if remark is not None:
                say(remark)
            save_asked(folder / WEIGHTS, teacher)
            network, loaded = teacher, Loaded(classes=asked.kind.classes(asked.argument))
        check_runs(network, member.model, own_facts, "teacher")
        check_answers(network.eval(), member.model, prepared[:_EXAMPLES])
        remark_on_classes(facts.classes, loaded, member.weights or member.model, say)
        if loaded.classes is not None:
            known[member.name] = loaded.classes
        networks[member.name] = network
    check_one_order(known, facts.classes)
    return _mixed(run, recipe, facts, networks)


def opened_teachers(run: RunFolder) -> MixedTeacher:
    """The run's several teachers, as they were when it was begun.

    Raises:
        MissingFileError: when there are none yet.
        RunMismatchError: when one is another one now.
    """
    recipe, facts = run.recipe(), read_facts(run.data)
    networks: dict[str, nn.Module] = {}
    for member in recipe.teachers:
        folder = run.teacher / member.name
        own_facts = replace(facts, teachers_own=_preparation_in(folder))
        asked = asked_teacher(member.model)
        if asked is None:
            spec = NetworkSpec.of(member)
            networks[member.name] = new_network(spec, own_facts, recipe.seed, "teacher")
            load_model(folder / WEIGHTS, networks[member.name])
        else:
            request = _request(member, asked, own_facts, folder)
            networks[member.name] = open_asked(run, asked, request)
    return _mixed(run, recipe, facts, networks)


def prepared_as(run: RunFolder, name: str | None) -> Any:
    """How images are prepared for one of several teachers, or for all of them, as JSON values;
    None where there is one teacher."""
    names = [member.name for member in run.recipe().teachers if name in (None, member.name)]
    return [asdict(_preparation_in(run.teacher / each)) for each in names] or None


def check_one_order(known: Mapping[str, Sequence[str]], classes: Sequence[str]) -> None:
    """Make sure that teachers which tell their classes have them in one order, and in the data's.

    Args:
        known: the classes of those that tell, by their names.
        classes: the data's. Where a teacher names other things, its names may be in another
            language, which `remark_on_classes` tells of.

    Raises:
        ModelMismatchError: when they have not.
    """
    same = {name: own for name, own in known.items() if sorted(own) == sorted(classes)}
    compared = {"the data": classes, **same} if same else known
    (first, expected), *others = compared.items() or [("", ())]
    for name, own in others:
        moved = [n for n, pair in enumerate(zip(expected, own, strict=False)) if pair[0] != pair[1]]
        if moved or len(own) != len(expected):
            at = moved[0] if moved else min(len(own), len(expected)) - 1
            raise ModelMismatchError(
                f"teacher {name}: its class {at} is {own[at]!r}, and that of {first} is "
                f"{expected[at]!r}; teachers must know the same classes in the same order as each "
                "other and the data (data.classes sets the data's)"
            )


def _mixed(
    run: RunFolder, recipe: Recipe, facts: DataFacts, networks: Mapping[str, nn.Module]
) -> MixedTeacher:
    shown = facts.teacher_preprocessing
    members = {}
    for member in recipe.teachers:
        own = _preparation_in(run.teacher / member.name)
        network = networks[member.name].eval()
        if own != shown:
            network.register_forward_pre_hook(partial(_prepare, shown, own))
        members[member.name] = MixMember(network, member.weight)
    return MixedTeacher(members, recipe.teacher_mix).eval()


def _prepare(
    shown: Preprocessing, own: Preprocessing, _network: nn.Module, args: tuple[Any, ...]
) -> tuple[Any, ...]:
    return (_prepared(args[0], shown, own), *args[1:])


def _prepared(images: Tensor, shown: Preprocessing, own: Preprocessing) -> Tensor:
    return renormalised(resized(images, own), shown, own)


def _preparation_in(folder: Path) -> Preprocessing:
    advice = f"delete {folder.parent} to begin with these teachers anew"
    return read_record(folder / _PREPARATION, Preprocessing, "a preparation of images", advice)


def _request(
    member: MemberRecipe, asked: NamedTeacher, facts: DataFacts, folder: Path
) -> TeacherRequest:
    return TeacherRequest(asked.argument, facts.teacher_preprocessing, member.taps or [], folder)


def _loaded(
    recipe: Recipe, member: MemberRecipe, facts: DataFacts, say: Say = to_nobody
) -> tuple[nn.Module, Loaded]:
    spec = NetworkSpec.of(member)
    network = new_network(spec, facts, recipe.seed, "teacher", say=say)
    return network, load_weights_for(spec, network, facts.classes, say)
