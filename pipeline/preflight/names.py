"""Are all names in a recipe known? Asked before any work begins, so that nothing fails late."""

from __future__ import annotations

import json

from pydantic import ConfigDict, TypeAdapter, ValidationError

from deploy_targets.hosts import HOSTS
from deploy_targets.hosts.host_names import scheme_of
from deploy_targets.targets import load_target, target_names
from export.formats import FORMATS
from foundation.errors import (
    MissingFileError,
    ModelMismatchError,
    RecipeError,
    UnknownNameError,
    WeightsMismatchError,
    unknown_name,
)
from foundation.files import user_path
from pipeline.data import DATASETS
from pipeline.data.class_order import check_order_name
from pipeline.data.policies import POLICIES
from pipeline.data.samples import sample_source
from pipeline.exporting.export import requests_for
from pipeline.gating.judging import check_limits
from pipeline.metrics.judging import load_metric
from pipeline.models import check_weights_name, find_factory, names_weights
from pipeline.models.pruning import require_torch_pruning
from pipeline.models.teachers import asked_teacher
from pipeline.preflight.labels import check_labels
from pipeline.preflight.several_teachers import check_several
from pipeline.preflight.stored_teacher import check_stored
from pipeline.recipe.code import function_named
from pipeline.recipe.file import RecipeFile
from pipeline.recipe.sections.export import AUTO
from pipeline.recipe.sections.networks import NetworkRecipe
from pipeline.recipe.sections.training import MethodRecipe
from pipeline.training.foreign_models import is_graph
from smskd.earlier import check_held, held_specs
from smskd.methods import METHODS, settings_of
from smskd.objective import make_method
from smskd.quantization.quantizing import check_quantizable
from smskd.stage import Stage
from smskd.weightings import WEIGHTINGS


def check_names(file: RecipeFile) -> None:
    """Look up every name that the recipe uses.

    Raises:
        UnknownNameError: with the place in the recipe and the nearest name.
        RecipeError: when a method's setting has a wrong type or an impossible value.
    """
    recipe = file.recipe
    DATASETS.get(recipe.data.name.partition(":")[0], file.where("data", "name"))
    if recipe.data.classes is not None:
        check_order_name(recipe.data.classes, file.where("data", "classes"))
    POLICIES.get(recipe.data.augment.policy, file.where("data", "augment", "policy"))
    if recipe.metric is not None:
        load_metric(recipe.metric, file.where("metric"))
    if not recipe.teachers:
        _check_teacher(recipe.teacher, file, "teacher")
    for number, member in enumerate(recipe.teachers):
        _check_teacher(member, file, "teachers", number)
    check_several(file)
    check_stored(file)
    if not is_graph(recipe.student.model):
        find_factory(recipe.student.model, file.where("student", "model"))
    for number, stage in enumerate(recipe.stages):
        WEIGHTINGS.get(stage.weighting, file.where("stages", number, "weighting"))
        for place, method in enumerate(stage.methods):
            where = file.where("stages", number, "methods", place)
            _check_method(method, recipe.data.augment.mix, where)
        _check_quantizable(stage, file.where("stages", number, "methods"))
        _check_held(file, number)
    check_labels(file)
    _check_pruning(file)
    check_export_names(file)
    _check_host(recipe.bench.host, file.where("bench", "host"))
    if recipe.gate.limits:
        check_limits(recipe.gate, lambda metric: file.where("gate", "limits", metric))


def _check_teacher(teacher: NetworkRecipe, file: RecipeFile, *place: str | int) -> None:
    """A teacher that is asked has no weights to read, and none to train."""
    where, asked = file.where(*place, "model"), asked_teacher(teacher.model)
    if asked is None:
        find_factory(teacher.model, where)
        if teacher.is_fine_tuned:
            _check_beginning(str(teacher.begins_with), teacher.model, file)
        return
    asked.kind.check(asked.argument, where)
    if teacher.weights is not None:
        raise RecipeError(
            f"{file.where(*place, 'weights')}: teacher {teacher.model} is asked, and brings "
            "what it knows; leave the weights out"
        )
    if teacher.is_fine_tuned:
        raise RecipeError(
            f"{file.where('teacher', 'training', 'weights')}: teacher {teacher.model} is asked, "
            "and learns nothing; name a network of torch with --teacher (teacher.model)"
        )


def _check_beginning(weights: str, model: str, file: RecipeFile) -> None:
    """The weights that a fine-tuning begins with are published, or there."""
    where = file.where("teacher", "training", "weights")
    if names_weights(weights):
        try:
            check_weights_name(weights, model)
        except (UnknownNameError, WeightsMismatchError) as error:
            raise type(error)(f"{where}: {error}") from error
    elif not user_path(weights).is_file():
        raise MissingFileError(
            f"{where}: {weights}: no such file, and no weights that a library publishes; name a "
            ".safetensors or torch checkpoint, torchvision:DEFAULT or timm:pretrained, or none to "
            "train from the beginning"
        )


def _check_method(method: MethodRecipe, mix: str, where: str) -> None:
    settings = {setting.name: setting for setting in settings_of(METHODS.get(method.name, where))}
    for name, value in method.settings.items():
        if name not in settings:
            raise unknown_name(f"setting of method {method.name!r}", name, settings, where)
        try:
            kind = TypeAdapter(settings[name].type, config=ConfigDict(allow_inf_nan=False))
            # From JSON: an array of the recipe is a tuple too, but "5" is not 5.
            kind.validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise RecipeError(f"{where}: setting {name}: {reason}, but got {value!r}") from error
    try:
        make_method(method)
    except ValueError as error:
        raise RecipeError(f"{where}: {error}") from error
    _check_mix(method.name, mix, where)


def _check_pruning(file: RecipeFile) -> None:
    stages = file.recipe.stages
    if stages[0].prune is not None:
        raise RecipeError(
            f"{file.where('stages', 0, 'prune')}: before the first stage it is the student that is "
            "pruned; write it as student.prune"
        )
    for number, stage in enumerate(stages):
        if stage.prune is not None and stage.anchored and stage.reference_feature_weight:
            raise RecipeError(
                f"{file.where('stages', number, 'prune')}: a pruned student's features cannot be "
                "held against those of the student before; leave reference_feature_weight out"
            )
    if any(file.recipe.pruned_before(number + 1) is not None for number in range(len(stages))):
        require_torch_pruning()


def _check_quantizable(stage: Stage, where: str) -> None:
    try:
        check_quantizable(stage)
    except ModelMismatchError as error:
        raise RecipeError(f"{where}: {error}") from error


def _check_held(file: RecipeFile, number: int) -> None:
    """By what a stage holds on to its reference, once all methods before it are known."""
    where = file.where("stages", number, "reference_methods")
    stages = file.recipe.stages
    mix = file.recipe.data.augment.mix
    try:
        check_held(stages[: number + 1])
        for spec in held_specs(stages, number):
            _check_mix(spec.name, mix, where)
    except ModelMismatchError as error:
        raise RecipeError(f"{where}: {error}") from error
    except UnknownNameError as error:
        raise UnknownNameError(f"{where}: {error}") from error


def _check_mix(method: str, mix: str, where: str) -> None:
    if mix != "none" and "class labels" in METHODS.get(method).needs:
        raise RecipeError(
            f"{where}: method {method!r} needs one true class for each image, but "
            f"data.augment.mix is {mix!r}; choose another method or do not mix"
        )


def check_samples(file: RecipeFile) -> None:
    """Make sure that the samples of a graph, and what scores it, are there; errors as their source
    has them, and ModelMismatchError where there is no such scorer."""
    sample_source(file.recipe.data.name).check(file.where("data", "name"))
    if file.recipe.export.scorer is not None:
        function_named(file.recipe.export.scorer, "scorer", file.where("export", "scorer"))


def check_export_names(file: RecipeFile) -> None:
    """Look up the formats, precisions and targets that a recipe exports for; errors as
    `check_names`."""
    export = file.recipe.export
    for name in export.formats or []:
        FORMATS.get(name, file.where("export", "formats"))().check_installed()
    precisions = {precision for _, each in FORMATS.items() for precision in each.precisions}
    for precision in export.precisions or []:
        if precision not in {*precisions, AUTO}:
            where = file.where("export", "precisions")
            raise unknown_name("precision", precision, {*precisions, AUTO}, where)
    for number, target in enumerate(export.targets):
        if not target.endswith(".toml") and target not in target_names():
            where = file.where("export", "targets", number)
            raise unknown_name("target", target, target_names(), where)
        requests_for(load_target(target), export)
    _check_target_names(file)


def _check_target_names(file: RecipeFile) -> None:
    """Of two profiles of one name, the bundles of one would replace the other's."""
    entry_of: dict[str, str] = {}
    for number, entry in enumerate(file.recipe.export.targets):
        target = load_target(entry)
        namesake = entry_of.setdefault(target.name, entry)
        if load_target(namesake) != target:
            raise RecipeError(
                f"{file.where('export', 'targets', number)}: {namesake} and {entry} are both "
                f"called {target.name!r}, and one's bundles would replace the other's; rename one "
                "of the files"
            )


def _check_host(url: str, where: str) -> None:
    HOSTS.get(scheme_of(url), where)(url)
