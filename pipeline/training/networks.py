"""The teacher and the student of a run, built from what lies in its folder."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from foundation.errors import (
    MissingFileError,
    RunMismatchError,
    WeightsMismatchError,
    nearest,
    unknown_name,
)
from foundation.files import user_path
from pipeline.data.facts import DataFacts, read_facts
from pipeline.models import (
    LIBRARIES,
    build_model,
    classes_of,
    names_weights,
    pretrained_tensors,
    settings_for,
    unstored_settings,
)
from pipeline.models.pruned_form import PRUNED, read_form, reform
from pipeline.models.teachers import NamedTeacher, TeacherRequest, asked_teacher
from pipeline.models.teachers.asking import AskedTeacher
from pipeline.recipe.code import code_identity
from pipeline.recipe.noted import noted_network
from pipeline.recipe.sections.networks import NetworkRecipe, TeacherRecipe
from pipeline.run_folder.folder import RunFolder, Say, code_changed, to_nobody
from pipeline.training.heads import blank_images, fit_head, logit_count
from pipeline.training.network_checks import bare_network
from pipeline.training.network_classes import check_class_count, order_advice
from smskd.checkpoints.files import load_model, load_tensors, save_tensors
from smskd.checkpoints.foreign import Loaded, load_state
from smskd.engine import derive_seed
from smskd.stage import stage_folder
from smskd.training.stage_files import WEIGHTS

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NetworkSpec:
    """A network as a recipe names it: all that decides what its weights mean.

    Attributes:
        model: its name.
        weights: a checkpoint, or pretrained weights by name; None where it has none from elsewhere.
        weights_key: names one of several sets of weights in a checkpoint.
        settings: what its factory is told.
        head: name of the layer that gives its logits, where that is not to be found.
        begins_with: weights that a training of it begins with; None where it begins with none.
    """

    model: str
    weights: str | None = None
    weights_key: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    head: str | None = None
    begins_with: str | None = None

    @classmethod
    def of(cls, section: NetworkRecipe) -> NetworkSpec:
        """What a section of the recipe names."""
        weights = section.weights or None
        spec = cls(section.model, weights, section.weights_key, section.settings)
        if not isinstance(section, TeacherRecipe):
            return spec
        begins_with = None if weights else section.begins_with
        return replace(spec, head=section.head, begins_with=begins_with)

    @property
    def all_settings(self) -> dict[str, Any]:
        """What its factory is told, with what a library's pretrained weights need."""
        return {**settings_for(self.model, self.weights or self.begins_with), **self.settings}

    @property
    def may_have_a_new_head(self) -> bool:
        """Whether its factory need not know the classes of the data."""
        return self.head is not None or self.begins_with is not None


def new_network(
    spec: NetworkSpec,
    facts: DataFacts,
    seed: int,
    role: str,
    *,
    say: Say = to_nobody,
) -> nn.Module:
    """A fresh network for the data, its weights drawn from the run's seed and its role.

    Args:
        spec: what the recipe says of it.
        facts: what the data is.
        seed: the run's seed.
        role: "teacher" or "student".
        say: told what was decided about it that nobody asked for.

    Raises:
        ModelMismatchError: when it does not run on images of this size and kind.
    """
    network = built_network(spec, facts, len(facts.classes), seed, role, say=say)
    if spec.may_have_a_new_head:
        fit_head(network, spec.model, facts, seed, role, head=spec.head)
    if spec.weights is not None:
        remark_on_unstored_settings(network, spec, role, say)
    check_runs(network, spec.model, facts, role)
    return network


def built_network(
    spec: NetworkSpec,
    facts: DataFacts,
    classes: int,
    seed: int,
    role: str,
    *,
    say: Say = to_nobody,
) -> nn.Module:
    """A network as its factory makes it for so many classes; other arguments as `new_network`."""
    channels, settings = facts.seen_by(role).channels, spec.all_settings
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, role))
        network = build_model(spec.model, classes, channels, settings=settings)
    return bare_network(network, spec.model, say)


def remark_on_unstored_settings(network: nn.Module, spec: NetworkSpec, role: str, say: Say) -> None:
    """Say with which settings a network was built that its weights do not carry."""
    for setting in unstored_settings(spec.model):
        if setting in spec.settings:
            continue
        value, key = getattr(network, setting), f"{role}.settings.{setting}"
        of_library = names_weights(str(spec.weights))
        say(
            f"{spec.model}: built with {setting} = {str(value).lower()}, as "
            + (
                "these published weights want it"
                if of_library
                else "for weights of one's own; weights do not tell, so if yours began from the "
                f"published ones, set {key} = {str(not value).lower()}"
            )
        )


def check_runs(network: nn.Module, model: str, facts: DataFacts, role: str = "student") -> None:
    """Make sure that a network takes the data's images and knows its classes.

    Raises:
        ModelMismatchError: when it does not.
    """
    count = logit_count(network, model, blank_images(facts, role))
    check_class_count(f"model {model!r}", count, facts.classes)


def load_weights_for(
    spec: NetworkSpec, network: nn.Module, classes: Sequence[str], say: Say = to_nobody
) -> Loaded:
    """As `load_weights`; weights of more classes than the data has are told of with the known order
    that these are from.

    Args:
        spec, network, say: as `load_weights`.
        classes: the data's.
    """
    try:
        return load_weights(spec, network, say)
    except WeightsMismatchError as error:
        advice = order_advice(error.known_classes, classes)
        if advice is None:
            raise
        raise WeightsMismatchError(f"{error}; {advice}") from error


def load_weights(spec: NetworkSpec, network: nn.Module, say: Say = to_nobody) -> Loaded:
    """Read weights from elsewhere into a network, all or nothing.

    Args:
        spec: what the recipe says of it; its weights are a .safetensors or torch checkpoint, or a
            library's pretrained weights by name: "torchvision:IMAGENET1K_V1", "timm:pretrained".
        network: the network.
        say: told what was taken and what was left out.

    Returns:
        What else the checkpoint tells.

    Raises:
        MissingFileError: when there is no such file, and none can be fetched.
        UnknownNameError: when there is no such library, or it has no such weights.
        WeightsMismatchError: when they are of another architecture or class count, or several sets
            fit.
        CorruptFileError: when a file cannot be read, or holds code or values that are no numbers.
    """
    weights = spec.weights
    if weights is None:
        return Loaded()
    library = weights.partition(":")[0]
    if names_weights(weights):
        if spec.weights_key is not None:
            raise WeightsMismatchError(
                f"{weights}: published weights are one set; leave out weights_key"
            )
        loaded = load_state(network, pretrained_tensors(weights, spec.model), weights)
        return replace(loaded, classes=tuple(classes_of(spec.model, weights)) or None)
    if (
        library != weights
        and nearest(library, LIBRARIES.names())
        and not user_path(weights).exists()
    ):
        raise unknown_name("model library", library, LIBRARIES.names(), f"weights {weights!r}")
    logger.info("%s: read into %s", weights, spec.model)
    path = user_path(weights)
    loaded = load_model(path, network, spec.weights_key)
    noted = noted_network(path)
    if noted is not None:
        loaded = replace(loaded, classes=tuple(noted.classes))
    for line in loaded.remarks:
        say(line)
    if loaded.architecture and not _may_be_model(loaded.architecture, spec.model):
        say(
            f"{weights}: was saved as of {loaded.architecture!r}, and is read into {spec.model!r}: "
            "its names and shapes fit, but not all that a network does shows in these"
        )
    return loaded


def _may_be_model(architecture: str, model: str) -> bool:
    """Whether a name that a training script noted can be of a model of the recipe's."""
    noted_name = re.sub(r"[^a-z0-9]", "", architecture.partition(".")[0].rpartition("/")[2].lower())
    model_name = re.sub(r"[^a-z0-9]", "", re.split(r"[/:]", model)[-1].lower())
    # A factory of one's own may have any name.
    return ":" in model or noted_name in model_name or model_name in noted_name


def trained_teacher(run: RunFolder) -> nn.Module:
    """The run's teacher with its weights."""
    recipe = run.recipe()
    asked = asked_teacher(recipe.teacher.model)
    if asked is not None:
        return _opened_teacher(run, asked).eval()
    spec = NetworkSpec.of(recipe.teacher)
    teacher = _network_for_weights(run, "teacher", spec, run.teacher / WEIGHTS)
    load_model(run.teacher / WEIGHTS, teacher)
    return teacher.eval()


def request_for(run: RunFolder, asked: NamedTeacher) -> TeacherRequest:
    """What a teacher that is asked is told of the run."""
    shape, taps = read_facts(run.data).teacher_preprocessing, run.recipe().teacher.taps or []
    return TeacherRequest(asked.argument, shape, taps, run.teacher)


def _opened_teacher(run: RunFolder, asked: NamedTeacher) -> AskedTeacher:
    """A run's teacher that is asked, as it was when the run was begun.

    Raises:
        RunMismatchError: when it is another one now.
    """
    return open_asked(run, asked, request_for(run, asked))


def open_asked(run: RunFolder, asked: NamedTeacher, request: TeacherRequest) -> AskedTeacher:
    """A teacher that is asked, as it was when the run was begun.

    Args:
        run: the run folder, for messages.
        asked: the teacher.
        request: the same, with the folder in which `save_asked` noted what it is known by.

    Raises:
        MissingFileError: when nothing was noted yet.
        RunMismatchError: when it is another one now.
    """
    weights = request.folder / WEIGHTS
    _check_there(weights, "teacher")
    teacher = asked.kind.open(request)
    state, facts = load_tensors(weights)
    if not torch.equal(state["digest"], teacher.digest):
        raise RunMismatchError(
            f"{run.path}: its teacher {teacher.name} changed since it was first asked; undo that, "
            "choose another folder with --run, or delete this one"
        )
    teacher.gives_probabilities = facts["gives_probabilities"]
    return teacher


def save_asked(path: Path, teacher: AskedTeacher) -> None:
    """Write what a teacher that is asked is known by.

    Raises:
        NoSpaceError: when the disk is full.
    """
    facts = {"gives_probabilities": teacher.gives_probabilities}
    save_tensors(path, teacher.state_dict(), **facts)


def device_of(network: nn.Module) -> torch.device:
    """Where a network computes."""
    parameter = next(network.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def trained_student(run: RunFolder) -> nn.Module:
    """The run's student as the last stage left it, in the form that pruning gave it."""
    student = _network_for_weights(
        run, "student", NetworkSpec.of(run.recipe().student), run.student
    )
    for path in form_paths(run).values():
        reform(student, read_form(path), str(path))
    load_model(run.student, student)
    return student.eval()


def form_paths(run: RunFolder) -> dict[int, Path]:
    """Where the student lies as pruning left it, by the number of the stage that follows."""
    recipe = run.recipe()
    numbered = enumerate(recipe.stages, start=1)
    return {
        number: run.stages / stage_folder(number, stage) / PRUNED
        for number, stage in numbered
        if recipe.pruned_before(number) is not None
    }


def _check_there(weights: Path, role: str) -> None:
    if not weights.is_file():
        raise MissingFileError(
            f"{weights}: no {role} in this run yet; run `compress distill` for it first"
        )


def _network_for_weights(run: RunFolder, role: str, spec: NetworkSpec, weights: Path) -> nn.Module:
    _check_there(weights, role)
    recorded, code = run.record().get("code", {}).get(role), code_identity(spec.model)
    if None not in (recorded, code) and recorded != code:
        raise code_changed(run, role, spec.model)
    recipe = run.recipe()
    return new_network(spec, read_facts(run.data), recipe.seed, role)
