"""SMSKD: the student goes through the stages, each anchored by the student of the one before.

Sequential Multi-Stage Knowledge Distillation, arXiv 2601.15657.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from foundation.errors import ModelMismatchError, unknown_name
from foundation.files import check_inside
from smskd.batch import Batches, first_batch, sample_count
from smskd.curve import curves_of, with_schedules
from smskd.earlier import check_held, earlier_methods, held_specs, learned_in_file, needs_taps
from smskd.engine import Engine
from smskd.evaluation import JudgingMetric
from smskd.features.taps import TappedModel
from smskd.job import StageJob
from smskd.listening import Listener
from smskd.pair import Pair, Taps, make_pair
from smskd.quantization.quantizing import check_quantizable
from smskd.stage import Stage, check_sequence, stage_folder
from smskd.teaching.teacher_views import TeacherViews
from smskd.training.loop import train_stage
from smskd.training.stage_files import CONTINUATION, METHOD

logger = logging.getLogger(__name__)


def distill(
    teacher: nn.Module,
    student: nn.Module,
    train: Batches,
    stages: Sequence[Stage],
    folder: Path | str,
    *,
    validation: Batches | None = None,
    agreement: Batches | None = None,
    validate_every: int = 1,
    taps: Taps | None = None,
    seed: int = 0,
    engine: Engine | None = None,
    listener: Listener | None = None,
    views: TeacherViews | None = None,
    teachers: Mapping[str, StageTeacher] | None = None,
    between: Callable[[int, nn.Module], None] | None = None,
    beginning: str | None = None,
    metric: JudgingMetric | None = None,
) -> list[dict[str, Any]]:
    """Take a student through the stages. Called again on the same folder, it goes on.

    What lies there is taken up again where stage, taps, seed, teacher, the student of the stage
    before and the data are the same; a stage for which they changed is done anew. Data is known by
    its `fingerprint`, where it has one, or else by its length and a sample of its dataset.

    Args:
        teacher: maps images to logits (N, classes); left as it is, batch-norm statistics too.
        student: the network that learns, in place.
        train: any iterable of (images, labels) or (images, labels, ids) batches; if it has
            `set_epoch(epoch)`, that is called before each epoch, counted over all stages.
        stages: what to do, in order.
        folder: takes one subfolder a stage: the student after it, its metrics, resume state.
        validation: batches for the accuracy after an epoch.
        agreement: batches of images without labels, in whose place stand the teacher's answers: how
            often the student gives the same one, after an epoch.
        validate_every: after each so many epochs of a stage, and after its last; a stage that keeps
            its best is validated after each.
        taps: names of the student's and the teacher's taps; found by a dry pass if not given.
        seed: decides everything that is drawn at random here.
        engine: device and precision.
        listener: is told what happens.
        views: what the teacher said about fixed views of the samples; then it is not asked again.
        teachers: by their names those that stages name (`Stage.teacher`); the others have
            `teacher`.
        between: is called before every stage but the first, with the stage's number and the
            student, which it may change in place, its shapes too (structured pruning); alike
            each time. The stage's reference is the student before that.
        beginning: what the student is known by as it is given, where it was trained before.
        metric: what the student is judged by beside top-1, and by which a stage that keeps its best
            chooses.

    Returns:
        Each stage's metrics.

    Raises:
        UnknownNameError: when a stage names a teacher that is not there.
        ModelMismatchError: when student and teacher cannot be matched, a stage that quantises has a
            method that needs more than logits, or a method cannot hold a reference.
        ValueError: when stages cannot follow one another as they do.
        WeightsMismatchError: when the folder holds another kind of student.
        TrainingError: when a loss is not a number any more.
        CorruptFileError: when a link in the folder leads out of it, or a file there is damaged.
    """
    # A shared schedule's momentum does not fit a student whose shapes may change.
    stages = with_schedules(stages, apart=range(len(stages)) if between else ())
    check_sequence(stages)
    check_held(stages)
    check_inside(Path(folder))
    for stage in stages:
        check_quantizable(stage)
    named: dict[str | None, StageTeacher] = {None: StageTeacher(teacher, views, taps)}
    named.update(teachers or {})
    pairs = _Pairs(student, train, named)
    pairs.check(stages)
    curves = curves_of(stages)
    folders = [Path(folder) / stage_folder(*numbered) for numbered in enumerate(stages, start=1)]
    results: list[dict[str, Any]] = []

    def learned_before(place: int) -> Mapping[str, Tensor]:
        return learned_in_file(folders[place] / METHOD)

    for index, stage in enumerate(stages, start=1):
        logger.debug("stage %d of %d: %s", index, len(stages), stage)
        pair, one = pairs.of(stage), pairs.teacher_of(stage)
        # What a stage quantises is what it can hold on to, whoever trained it.
        anchored = (index > 1 or stage.quantized) and stage.anchored
        holding = needs_taps(held_specs(stages, index - 1))
        tapped = stage.reference_feature_weight > 0
        reference = pair.student.frozen_copy(with_taps=tapped or holding) if anchored else None
        if between is not None and index > 1:
            between(index, student)
            pair = pairs.anew(stage, has_features=reference is not None and tapped)
        job = StageJob(
            stage=stage,
            index=index,
            student=pair.student,
            pair=pair,
            reference=reference,
            train=train,
            validation=validation,
            agreement=agreement,
            validate_every=validate_every,
            first_epoch=sum(earlier.epochs for earlier in stages[: index - 1]),
            folder=folders[index - 1],
            seed=seed,
            engine=engine or Engine(),
            listener=listener or Listener(),
            views=one.views,
            beginning=beginning,
            metric=metric,
            curve=curves[index - 1],
            continues=folders[index - 2] / CONTINUATION if stage.shares_schedule else None,
            earlier=earlier_methods(stages, index - 1, learned_before),
            continued=any(following.shares_schedule for following in stages[index : index + 1]),
        )
        results.append(train_stage(job))
    return results


@dataclass(frozen=True, eq=False)
class StageTeacher:
    """A teacher of single stages.

    Attributes:
        model: maps images to logits (N, classes); left as it is.
        views: what it said about fixed views of the samples.
        taps: names of the student's and its own; found by a dry pass if not given.
    """

    model: nn.Module
    views: TeacherViews | None = None
    taps: Taps | None = None


class _Pairs:
    """The student beside each teacher that a stage has, tapped when it is first needed."""

    def __init__(
        self, student: nn.Module, train: Batches, teachers: Mapping[str | None, StageTeacher]
    ) -> None:
        self._student, self._train, self._teachers = student, train, dict(teachers)
        self._made: dict[str | None, Pair] = {}

    def check(self, stages: Sequence[Stage]) -> None:
        """Make sure that there is each teacher that a stage names, and that it can be matched.

        Raises:
            UnknownNameError: when there is not.
            ModelMismatchError: when it cannot be.
        """
        for stage in stages:
            if stage.teacher not in self._teachers:
                names = [name for name in self._teachers if name is not None]
                raise unknown_name(f"teacher of stage {stage.name}", str(stage.teacher), names)
            self.of(stage)

    def teacher_of(self, stage: Stage) -> StageTeacher:
        return self._teachers[stage.teacher]

    def of(self, stage: Stage) -> Pair:
        """The student beside the stage's teacher."""
        if stage.teacher not in self._made:
            one = self.teacher_of(stage)
            self._made[stage.teacher] = pair_on(one.model, self._student, self._train, one.taps)
        return self._made[stage.teacher]

    def anew(self, stage: Stage, *, has_features: bool) -> Pair:
        """The same with the shapes that the student has now, at the same taps; errors as
        `_paired_anew`."""
        made = _paired_anew(self.of(stage), self._train, stage, has_features=has_features)
        for name, pair in self._made.items():
            taps = pair.student.taps, pair.teacher.taps
            self._teachers[name] = replace(self._teachers[name], taps=taps)
        self._made = {stage.teacher: made}
        return made


def train_alone(
    model: nn.Module,
    train: Batches,
    stage: Stage,
    folder: Path | str,
    *,
    validation: Batches | None = None,
    validate_every: int = 1,
    seed: int = 0,
    engine: Engine | None = None,
    listener: Listener | None = None,
    metric: JudgingMetric | None = None,
    notes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Train a network on the labels alone: a teacher, or a student without one.

    Takes the same arguments as `distill`, with one stage, and gives that stage's metrics. `notes`
    are JSON-able facts that the file of the weights carries.

    Raises:
        ValueError: when the stage has methods, or its schedule is that of another.
    """
    if stage.methods:
        raise ValueError(f"without a teacher there are no methods, but got {stage.methods=}")
    check_sequence([stage])
    check_inside(Path(folder))
    job = StageJob(
        stage=stage,
        index=0,
        student=TappedModel(model),
        train=train,
        validation=validation,
        validate_every=validate_every,
        folder=Path(folder),
        seed=seed,
        engine=engine or Engine(),
        listener=listener or Listener(),
        metric=metric,
        notes=notes or {},
    )
    return train_stage(job)


def pair_on(
    teacher: nn.Module, student: nn.Module, train: Batches, taps: Taps | None = None
) -> Pair:
    """Student and teacher, tapped and compared on the first batch of the training data.

    Raises:
        ModelMismatchError: when they cannot be matched.
        TrainingError: when the data gives no batch.
    """
    batch = first_batch(train)
    student.to(batch.images.device)
    teacher.to(batch.images.device)
    student_images, teacher_images = batch.images[:2], batch.seen_by_teacher[:2]
    return make_pair(
        student,
        teacher,
        student_images,
        teacher_example=teacher_images,
        taps=taps,
        samples=sample_count(train),
    )


def _paired_anew(old: Pair, train: Batches, stage: Stage, *, has_features: bool) -> Pair:
    """The pair with the shapes that the student has now, at the same taps.

    Raises:
        ModelMismatchError: when its features cannot be held against the reference's any more.
    """
    student, teacher = old.student, old.teacher
    pair = pair_on(teacher.model, student.model, train, (student.taps, teacher.taps))
    if has_features and pair.student_shapes.features != old.student_shapes.features:
        raise ModelMismatchError(
            f"stage {stage.name}: the student's features have other shapes than its reference's "
            f"now, but got {stage.reference_feature_weight=}; leave it out"
        )
    return pair
