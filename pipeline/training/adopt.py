"""Adopt: a network that was trained elsewhere becomes a run's student, as it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.checking.answers import logits_of, predictor_of
from export.formats import Predictor
from export.graphs.adopting import adopt_onnx
from export.graphs.from_onnx import onnx_predictor
from export.graphs.inputs import image_input_of
from export.graphs.recorded_classes import recorded_classes
from foundation.errors import MissingFileError, RecipeError
from foundation.files import replacing, sha256_of
from pipeline.data.facts import TEST, DataFacts, read_facts, read_images
from pipeline.metrics.judging import NamedMetric
from pipeline.models import names_weights, weights_identity
from pipeline.recipe.code import code_identity
from pipeline.recipe.file import RecipeFile
from pipeline.recipe.sections.networks import StudentRecipe
from pipeline.run_folder.folder import RunFolder, Say
from pipeline.run_folder.network_scores import PartScores
from pipeline.training.class_scores import keep_scores, scores_of
from pipeline.training.expected_accuracy import (
    Answered,
    check_expected,
    remark_on_classes,
    remark_on_worth,
)
from pipeline.training.foreign_models import is_graph
from pipeline.training.network_checks import check_answers
from pipeline.training.network_classes import check_class_count
from pipeline.training.preparation_trials import remark_on_preparation
from pipeline.training.prepare import TrainingData
from pipeline.training.steps import judged_by
from pipeline.training.students import unpruned_student
from pipeline.training.teach import first_images, record_network
from smskd.checkpoints.files import content_sha256, save_model
from smskd.checkpoints.foreign import Loaded

_PRUNING = tuple(("student", key) for key in ("prune", "prune_importance", "prune_multiple"))


def check_file_exists(student: StudentRecipe) -> None:
    """Make sure that a foreign network's file is there, before any work is begun.

    Raises:
        MissingFileError: when it is not.
    """
    path = student.model if is_graph(student.model) else student.weights
    if path is not None and not names_weights(path) and not Path(path).is_file():
        raise MissingFileError(f"{path}: no such file; check the path")


def check_as_it_is(file: RecipeFile) -> None:
    """Make sure that nothing is asked of a foreign network that only training would do to it.

    Raises:
        RecipeError: when it is to be pruned, or stages are told anything: none of them is run.
    """
    typed = [place for place in file.source.overridden if place[:1] == ("stages",)]
    typed += [place for place in file.source.overridden if place[:2] in _PRUNING]
    if file.recipe.student.prune is not None:
        typed.append(_PRUNING[0])
    if typed:
        raise RecipeError(
            f"{file.where(*typed[0])}: a network from elsewhere is exported as it is, without "
            "pruning or a stage of training; leave this out, or train it as student.model and "
            "student.weights of `compress distill`"
        )


def adapt_data_to_graph(file: RecipeFile) -> tuple[RecipeFile, list[str]]:
    """A recipe whose data section asks for images as the student's ONNX file takes them.

    What the recipe says already stays; so does all of it where the student is no ONNX file.

    Returns:
        The recipe, and what was taken from the file, a line each.
    """
    model, data = file.recipe.student.model, file.recipe.data
    image = image_input_of(Path(model)) if is_graph(model) else None
    if image is None:
        return file, []
    keys: dict[str, Any] = {}
    if image.height and image.width:
        sides = [image.height, image.width]
        keys["image_size"] = image.height if len(set(sides)) == 1 else sides
    if image.channels in {1, 3}:
        keys["channels"] = image.channels
    if image.takes_pixels and image.channels:
        keys |= {"mean": [0.0] * image.channels, "std": [1 / 255] * image.channels}
    keys = {key: value for key, value in keys.items() if getattr(data, key) is None}
    if not keys:
        return file, []
    settings = ", ".join(f"data.{key} = {_formatted(value)}" for key, value in keys.items())
    recipe = file.recipe.model_copy(update={"data": data.model_copy(update=keys)})
    return replace(file, recipe=recipe), [f"{model} takes such images: {settings}"]


def _formatted(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_formatted, value))}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def check_is_no_graph(file: RecipeFile) -> None:
    """Make sure that nothing is asked of a classifier that only other graphs have.

    Raises:
        RecipeError: when something is.
    """
    recipe = file.recipe
    given = {
        ("export", "scorer"): recipe.export.scorer,
        ("student", "input_shapes"): recipe.student.input_shapes,
    }
    for place, value in given.items():
        if value is not None:
            raise RecipeError(
                f"{file.where(*place)}: goes with a graph that is no classifier, whose samples are "
                "given as --data arrays:PATH or loader:module:function; leave it out"
            )


def adopt(run: RunFolder, data: TrainingData, remarks: Sequence[str] = ()) -> None:
    """Leave a foreign network in the run folder as the student, and what it is worth.

    Raises:
        MissingFileError: when its file is not there.
        UnknownNameError, ModelMismatchError: when there is no such network, or it does not take
            the data's images or know its classes.
        ExportError: when an ONNX file is no classifier of the data's images.
        WeightsMismatchError, CorruptFileError: when weights do not fit, or cannot be read.
        ModelMismatchError: when it does not answer as accurately as it is known to.
    """
    student = data.file.recipe.student
    source = student.weights or student.model
    if is_graph(student.model):
        _adopt_graph(run, data, Path(student.model), remarks)
    else:
        _adopt_network(run, data, source)
    # A report travels: where the file lay on this machine is nobody's business there.
    run.note(adopted=Path(source).name if Path(source).is_file() else source)
    check_expected(run.record()["networks"]["student"].get("test"), student.expect_top1, source)


def _adopt_network(run: RunFolder, data: TrainingData, source: str) -> None:
    recipe = data.file.recipe
    model, weights = recipe.student.model, recipe.student.weights
    facts = read_facts(run.data)
    remarks: list[str] = []
    fresh = unpruned_student(recipe, facts, remarks.append) if weights is None else None
    # A factory may give other weights the next time: only they tell.
    own = content_sha256(fresh[0].state_dict()) if fresh else weights_identity(weights)
    code = code_identity(model)
    known = {"model": [model, own, code], "data": _identity_of(facts), **judged_by(data)}
    with run.step("adopt", **known) as step:
        if step.needed:
            # Not made a second time: a factory may give other weights, and it may take long.
            network, loaded = fresh or unpruned_student(recipe, facts, remarks.append)
            for line in remarks:
                step.remark(line)
            remark_on_classes(facts.classes, loaded, source, step.remark)
            check_answers(network, model, first_images(data, "student"))
            save_model(run.student, network)
            predict = predictor_of(network)
            judged = _judged(run, facts, predict, data.metric)
            record_network(run, "student", model, network.eval(), judged.worth)
            _remark_on_judged(judged, data, predict, loaded, source=source, say=step.remark)
            step.products = [run.student, *_keep_scores(run, data, judged)]


def _adopt_graph(run: RunFolder, data: TrainingData, path: Path, remarks: Sequence[str]) -> None:
    facts = read_facts(run.data)
    known = {"model": sha256_of(path), "data": _identity_of(facts), **judged_by(data)}
    with run.step("adopt", **known) as step:
        if step.needed:
            # One that does not fit leaves the one before it where it was.
            with replacing(run.student_graph) as fresh:
                adopted = adopt_onnx(path, facts.preprocessing, fresh)
                check_class_count(str(path), adopted.classes, facts.classes)
                predict = onnx_predictor(fresh)
                judged = _judged(run, facts, predict, data.metric)
            for line in (*remarks, *adopted.remarks):
                step.remark(line)
            loaded = Loaded(classes=recorded_classes(path))
            remark_on_classes(facts.classes, loaded, str(path), step.remark)
            network = {"model": path.name, "parameters": adopted.parameters, "macs": None}
            networks: dict[str, Any] = run.record().get("networks", {})
            run.note(networks={**networks, "student": network | judged.worth})
            _remark_on_judged(judged, data, predict, loaded, source=str(path), say=step.remark)
            step.products = [run.student_graph, *_keep_scores(run, data, judged)]


def _identity_of(facts: DataFacts) -> list[Any]:
    """What a network's worth depends on of the data: its files, and which class is which logit."""
    classes = hashlib.sha256(json.dumps(facts.classes).encode()).hexdigest()
    return [facts.fingerprint, classes]


@dataclass(frozen=True)
class _Judged:
    """A finished network on the run's test images, which its bundles are judged on too. No choice
    was made by validation images yet.

    Attributes:
        worth: {"test": {"top1": …, "loss": …, "n": …}}; empty where images have no labels.
        answered: what it answers to them; None there.
        scores: class by class, as `worth`.
    """

    worth: dict[str, Any]
    answered: Answered | None
    scores: dict[str, PartScores]


def _judged(
    run: RunFolder, facts: DataFacts, predict: Predictor, metric: NamedMetric | None
) -> _Judged:
    if not facts.has_labels:
        return _Judged({}, None, {})
    images = read_images(run.data / TEST)
    logits = logits_of(predict, images.pixels, facts.preprocessing)
    predicted = logits.argmax(1).astype(np.int64)
    right = predicted == images.labels
    loss = _cross_entropy(logits.astype(np.float64), images.labels)
    figures = {"top1": float(right.mean()), "loss": loss, "n": len(right)}
    scores = {"test": scores_of(logits, images.labels, metric)}
    return _Judged({"test": figures}, Answered(predicted, images.labels, facts.classes), scores)


def _keep_scores(run: RunFolder, data: TrainingData, judged: _Judged) -> list[Path]:
    """Leave what the network is worth class by class; the file, where there is one."""
    path = run.scores("student")
    keep_scores(path, "student", read_facts(run.data).classes, judged.scores, data.metric)
    return [path] if judged.scores else []


def _remark_on_judged(
    judged: _Judged,
    data: TrainingData,
    predict: Predictor,
    loaded: Loaded,
    *,
    source: str,
    say: Say,
) -> None:
    """Say where the answers show that something about a network, or its images, is not as it was.

    Where nobody said how its images were prepared, the guess is held against the usual ways.
    """
    answered = judged.answered
    if answered is None:
        return
    figures = judged.worth["test"]
    remark_on_worth(figures, answered.labels, loaded, source, say, answers=lambda: answered)
    if "student" in data.preparations.guessed:
        splits = data.splits
        remark_on_preparation(predict, splits.test, splits.preprocessing, source, say)


def _cross_entropy(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    shifted = logits - logits.max(1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(1))
    return float((log_sum - shifted[np.arange(len(labels)), labels]).mean())
