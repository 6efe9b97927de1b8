"""Data: load, split, and leave in the run folder what later steps need."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from foundation.bundle import Preprocessing
from foundation.errors import DataLayoutError, RecipeError, RunMismatchError
from foundation.files import sha256_of, user_path
from pipeline.data import Dataset, load_dataset
from pipeline.data.caching import cache_pictures
from pipeline.data.channels import with_channels
from pipeline.data.class_order import class_order
from pipeline.data.dataset_files import all_files_of
from pipeline.data.facts import (
    CALIBRATION,
    PROBE,
    TEST,
    VALIDATION,
    DataFacts,
    public_name,
    public_place,
    write_facts,
    write_images,
)
from pipeline.data.fingerprint import (
    SEEN,
    Snapshot,
    changes_between,
    read_snapshot,
    take_snapshot,
    write_snapshot,
)
from pipeline.data.fitting import Preparations, preparations
from pipeline.data.framing import Fit
from pipeline.data.images import ImageSet, in_memory, remembered, sample_of
from pipeline.data.parts import parts_to_adopt, parts_to_teach
from pipeline.data.splits import Splits, split
from pipeline.models import names_weights
from pipeline.models.teachers import asked_teacher
from pipeline.recipe.file import RecipeFile, recipe_values
from pipeline.recipe.sections.data import DataRecipe
from pipeline.run_folder.folder import RunFolder, release_of
from pipeline.run_folder.torchrun import leads

if TYPE_CHECKING:
    from pipeline.data.batches import EvaluationBatches, TrainBatches
    from pipeline.data.images import Ids
    from pipeline.metrics.judging import NamedMetric
    from pipeline.models.teachers.stored import StoredAnswers
    from pipeline.training.network_classes import NetworkClasses

logger = logging.getLogger(__name__)

Role = Literal["student", "teacher"]

_PROBE_IMAGES = 32


class TrainingData:
    """The data of a run; loaded when it is first needed, so that a finished run loads nothing.

    Args:
        file: the recipe.
        network: the finished network that is to be adopted on the data; None to teach one.
    """

    def __init__(self, file: RecipeFile, network: NetworkClasses | None = None) -> None:
        self.file, self.network = file, network
        self._snapshot: Snapshot | None = None
        self._seen: dict[tuple[int, Role], ImageSet] = {}

    @cached_property
    def preparations(self) -> Preparations:
        """What is known of how both networks' images are prepared."""
        return preparations(self.file.recipe, is_adopted=self.network is not None)

    @cached_property
    def metric(self) -> NamedMetric | None:
        """What networks are judged by beside top-1, where the recipe names something.

        Raises:
            UnknownNameError, ModelMismatchError: when there is no such metric.
        """
        from pipeline.metrics.judging import load_metric  # noqa: PLC0415 - only where one is used

        name = self.file.recipe.metric
        return None if name is None else load_metric(name, self.file.where("metric"))

    @property
    def recipe(self) -> DataRecipe:
        """The data section, with all that is known of the student's images."""
        return self.preparations.data

    def look(self, before: Snapshot | None = None) -> Snapshot | None:
        """The dataset's files as they are; None where there are none, or it does not tell which.

        Args:
            before: an earlier look at them; what is as it was is not read again.
        """
        files = all_files_of(self.file.recipe.data)
        self._snapshot = take_snapshot(files, before) if files is not None else None
        return self._snapshot

    @property
    def fingerprint(self) -> str | None:
        """Of the dataset's files; None as `look`."""
        snapshot = self._snapshot or self.look()
        return snapshot.identity if snapshot is not None else None

    def check_unchanged(self) -> None:
        """Make sure that images that are read again and again are still those of the last look.

        Raises:
            RunMismatchError: when they are not.
        """
        splits = self.splits
        seen_as = {Fit.of(splits.preprocessing), Fit.of(splits.teacher_preprocessing)}
        framings = seen_as if self.recipe.augment.crop_min_area is None else ()
        further = splits.unlabelled.parts.values() if splits.unlabelled else ()
        parts = (splits.train, splits.student_train, splits.validation, splits.test, *further)
        if all(in_memory(part, *framings) for part in parts):
            return
        self._check_still_there()

    def _check_still_there(self) -> None:
        before = self._snapshot
        files = all_files_of(self.recipe)
        if before is None or files is None:
            return
        after = take_snapshot(files, before)
        changes = changes_between(before, after) if after is not None else "all are gone"
        if changes:
            raise RunMismatchError(
                f"{self.recipe.name}: the data changed while it was in use ({changes}); leave it "
                "alone while a command reads it, and run the command again"
            )

    @property
    def splits(self) -> Splits:
        """The parts of the dataset."""
        return self._loaded[0]

    @property
    def skipped(self) -> list[str]:
        """Image files that were passed over."""
        return list(self._loaded[1])

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was decided by looking at the files, and what was left out."""
        return self._loaded[2]

    @cached_property
    def _loaded(self) -> tuple[Splits, tuple[str, ...], tuple[str, ...]]:
        began = time.monotonic()
        dataset = load_dataset(self.recipe, self.file.where("data", "name"))
        dataset = with_channels(dataset, self.recipe.channels)
        self._check_still_there()
        known = self.preparations
        if self.network is not None:
            dataset = self.network.given_to(dataset, self.recipe)
        elif self.recipe.unlabelled:
            from pipeline.training.network_classes import teacher_classes  # noqa: PLC0415 - onnx

            known_classes = teacher_classes(self.file.recipe, dataset)
            dataset = known_classes.given_to(dataset, self.recipe)
        further = self._further_images(dataset)
        splits = split(
            dataset,
            self.recipe,
            known.teacher,
            known.student.source or "",
            parts_for=parts_to_teach if self.network is None else parts_to_adopt,
            further=further,
        )
        logger.info(
            "data %s: read in %.1f s; images to train %d, validate %d, test %d, passed over %d",
            self.recipe.name, time.monotonic() - began, len(splits.train.labels),
            len(splits.validation.labels), len(splits.test.labels), len(dataset.skipped),
        )  # fmt: skip
        sides = _largest_sides(splits, self.recipe.augment.crop_size)
        note = cache_pictures(dataset, self.recipe, self.fingerprint, sides)
        notes = [note] if note else []
        beside = further.remarks if further else ()
        remarks = (*known.remarks, *dataset.remarks, *beside, *splits.remarks, *notes)
        return splits, (*dataset.skipped, *(further.skipped if further else ())), remarks

    def _further_images(self, dataset: Dataset) -> Dataset | None:
        """Images without labels that the student learns from too, with the dataset's channels.

        Raises:
            RecipeError: when grey values of both have another number of bits.
            DataLayoutError: when some of them are the dataset's own.
        """
        place = self.recipe.unlabelled_from
        if place is None or self.network is not None:
            return None
        update = {
            "name": place, "unlabelled": True, "unlabelled_from": None, "unlabelled_share": None,
            "classes": None,
        }  # fmt: skip
        where = self.file.where("data", "unlabelled_from")
        further = load_dataset(self.recipe.model_copy(update=update), where)
        if further.grey_bits != dataset.grey_bits:
            raise RecipeError(
                f"{where}: grey values there have {further.grey_bits} bits, and those of "
                f"{self.recipe.name} {dataset.grey_bits}; set data.grey_bits"
            )
        _check_are_others(further, dataset, where, self.recipe.name)
        labelled = dataset.test if dataset.train is None else dataset.train
        assert labelled is not None, "a dataset has images"
        return with_channels(further, labelled.read(np.arange(1)).shape[3])

    def batches(
        self,
        images: ImageSet,
        seed: int,
        learner: Role = "student",
        share: tuple[int, int] = (0, 1),
    ) -> TrainBatches:
        """Shuffled and augmented batches of one part.

        Args:
            images: the part, as it lies in `splits`.
            seed: the run's seed.
            learner: who learns. A student's batches hold what its teacher sees too, in the
                recipe's fixed views; a teacher learns alone, in views that are always new.
            share: (rank, world), where several processes train together.

        Raises:
            DataLayoutError: when there is a single image.
        """
        from pipeline.data.batches import TrainBatches  # noqa: PLC0415 - torch

        if len(images.labels) == 1:
            raise DataLayoutError(
                f"{self.recipe.name}: the {learner} has a single image to learn from, and two are "
                "the least; add some, or look at data.student_fraction and data.val_fraction"
            )
        recipe, splits = self.recipe, self.splits
        alone = learner == "teacher"
        return TrainBatches(
            images,
            splits.teacher_preprocessing if alone else splits.preprocessing,
            recipe.augment,
            recipe.batch_size,
            seed,
            teacher=splits.teacher_preprocessing,
            views=None if alone else recipe.teacher_views,
            view_seed=recipe.split_seed,
            share=share,
            classes=len(splits.classes),
            numbers=None if alone else self.numbers_of(images),
            unlabelled_share=recipe.unlabelled_share if images is splits.student_train else None,
            fingerprint=self.fingerprint,
            pin=self.file.recipe.engine.takes_pinned,
            sampling=recipe.sampling,
        )

    def evaluation(self, images: ImageSet, role: Role = "student") -> EvaluationBatches:
        """All images of one part, unvaried, as student or teacher sees them."""
        from pipeline.data.batches import EvaluationBatches  # noqa: PLC0415 - torch

        preprocessing = self._preprocessing_of(role)
        numbers = self.numbers_of(images) if role == "teacher" else None
        if numbers is not None:
            return EvaluationBatches(images, preprocessing, numbers)
        key = (id(images), role)
        if key not in self._seen:
            self._seen[key] = remembered(images, Fit.of(preprocessing))
        return EvaluationBatches(self._seen[key], preprocessing)

    @cached_property
    def stored(self) -> StoredAnswers | None:
        """What a teacher said that nobody asks any more; None of one that sees images.

        Raises:
            CorruptFileError: when it cannot be read.
        """
        asked = asked_teacher(self.file.recipe.teacher.model)
        if asked is None or not asked.kind.by_number:
            return None
        from pipeline.models.teachers.stored import read_answers  # noqa: PLC0415 - torch

        return read_answers(user_path(asked.argument))

    def numbers_of(self, images: ImageSet) -> Ids | None:
        """Where the answers to a part's images are stored; None of a teacher that sees images.

        Raises:
            ModelMismatchError: when one has none.
            RecipeError: when nobody gave the images names.
        """
        if self.stored is None:
            return None
        from pipeline.data.image_ids import ids_of  # noqa: PLC0415 - torch
        from pipeline.models.teachers.stored import numbers_of  # noqa: PLC0415 - torch

        model = self.file.recipe.teacher.model
        ids = ids_of(images, self.recipe.name)
        if ids is None:
            raise RecipeError(
                f"{self.file.where('teacher', 'model')}: stored logits are looked up by the path "
                f"of an image, and those of {self.recipe.name} have none; use folder:PATH or "
                "table:PATH"
            )
        return numbers_of(self.stored, ids, model)

    def _preprocessing_of(self, role: Role) -> Preprocessing:
        splits = self.splits
        return splits.preprocessing if role == "student" else splits.teacher_preprocessing


def _check_are_others(further: Dataset, dataset: Dataset, where: str, name: str) -> None:
    """Of the dataset's own images some are held out, and must not be learned from."""
    from pipeline.data.image_ids import places_of, same_pictures  # noqa: PLC0415 - torch

    own = places_of(dataset.train) | places_of(dataset.test)
    both = same_pictures(own, places_of(further.test))
    if both:
        raise DataLayoutError(
            f"{where}: {len(both)} of the images there are those of {name} too, such as {both[0]}, "
            "and what is held out for the test would be learned from; name a folder without them"
        )


def _largest_sides(splits: Splits, crop_size: int | None) -> tuple[int, int]:
    """Height and width of what is cut out of pictures in training."""
    if crop_size is not None:
        return crop_size, crop_size
    student, teacher = splits.preprocessing, splits.teacher_preprocessing
    return max(student.height, teacher.height), max(student.width, teacher.width)


def prepare(run: RunFolder, data: TrainingData) -> None:
    """Write the data's facts, and the images for calibration, probing and the final word.

    Raises:
        RunMismatchError: when a teacher or a student has learned, and the data changed since.
    """
    state = compare_with_run(run, data)
    recipe_facts = known_preparations(run, data)
    recipe_facts.pop("cache", None)
    if state.fingerprint is not None:  # wherever it lies
        recipe_facts["name"] = data.file.recipe.data.name.partition(":")[0]
    recipe_facts["classes"] = state.classes
    if data.network is not None:
        recipe_facts["network_classes"] = data.network.identity
    with run.step("data", recipe=recipe_facts, files=state.fingerprint) as step:
        step.needed = step.needed or state.changes is not None
        if not step.needed:
            return
        if state.changes is not None:
            step.remark(f"the data changed and is read anew: {state.changes}")
        recipe, splits = data.recipe, data.splits
        for line in data.remarks:
            step.remark(line)
        differs = splits.teacher_preprocessing != splits.preprocessing
        facts = DataFacts(
            name=public_name(recipe.name),
            classes=splits.classes,
            preprocessing=splits.preprocessing,
            counts=splits.counts,
            skipped=[public_place(place, recipe.name) for place in data.skipped],
            teachers_own=splits.teacher_preprocessing if differs else None,
            fingerprint=state.fingerprint,
            has_labels=splits.are_labelled,
        )
        uses = {
            CALIBRATION: (splits.train, recipe.calibration_images),
            PROBE: (splits.validation, _PROBE_IMAGES),
            VALIDATION: (splits.validation, recipe.evaluation_images),
            TEST: (splits.test, recipe.evaluation_images),
        }
        step.products = [write_facts(run.data, facts)]
        for name, (part, count) in uses.items():
            image_files = {name: splits.for_student(part)}
            image_files[facts.images_for("teacher", name)] = splits.for_teacher(part)
            step.products += [
                write_images(run.data / file, sample_of(images, count))
                for file, images in image_files.items()
            ]


def known_preparations(run: RunFolder, data: TrainingData) -> dict[str, Any]:
    """What is known of how images are prepared, as JSON values.

    To ask a library of the weights that it publishes takes seconds, and torch. So that is noted in
    the run folder, with all that it depends on, and asked again once something of that changed.
    """
    recipe = data.file.recipe
    sources = (
        recipe.data.preprocessing.source, recipe.teacher.preprocessing, recipe.teacher.begins_with,
        recipe.student.weights,
    )  # fmt: skip
    if not any(word is not None and names_weights(word) for word in sources):
        return _preparations_of(data)
    networks = (recipe.teacher.model, recipe.student.model)
    paths = [user_path(word) for word in (*sources, *networks) if word is not None]
    depends_on = [
        *map(recipe_values, (recipe.data, recipe.teacher, recipe.student)),
        data.network is not None,
        [sha256_of(path) for path in paths if path.is_file()],
        [release_of(name) for name in ("edge-compress", "torchvision", "timm")],
    ]
    asked = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()
    noted = run.record().get("preparations", {})
    if noted.get("asked") != asked:
        noted = {"asked": asked, "known": _preparations_of(data)}
        run.note(preparations=noted)
    return dict(noted["known"])


def _preparations_of(data: TrainingData) -> dict[str, Any]:
    known = data.preparations
    values: dict[str, Any] = recipe_values(known.data)
    return values | {"teachers": recipe_values(known.teacher)}


@dataclass(frozen=True)
class DataState:
    """What a look at a run's data came to.

    Attributes:
        fingerprint: of its files; None where it has none.
        changes: since it was read for this run, in words; None where there are none.
        classes: the order of the classes that the recipe names, in one word; None where it names
            none.
    """

    fingerprint: str | None
    changes: str | None = None
    classes: str | None = None


def compare_with_run(run: RunFolder, data: TrainingData) -> DataState:
    """Look at the data, hold it against what the run was begun with, and keep what was seen.

    Raises:
        RunMismatchError: when a teacher or a student has learned, and the data changed since.
    """
    depends_on = run.record()["steps"].get("data", {}).get("depends_on", {})
    recorded, path = depends_on.get("files"), run.data / SEEN
    before = read_snapshot(path)
    snapshot = data.look(before)
    recipe_then = depends_on.get("recipe")
    classes_then = recipe_then.get("classes") if isinstance(recipe_then, dict) else None
    if snapshot is None and recorded is not None:
        name = data.file.recipe.data.name
        run.say(f"{name} is not there any more; what this run made of it stays")
        return DataState(recorded, classes=classes_then)
    if snapshot is None:
        _ = data.splits  # it may have to be fetched first
        snapshot = data.look()
    changes = None if snapshot is None else _changes(before, snapshot, recorded)
    order = data.file.recipe.data.classes
    classes = order and class_order(order).identity
    if recipe_then is not None and classes != classes_then:
        changes = changes or f"the classes in {order} are others, or in another order"
    if changes is not None and (run.teacher.exists() or run.stages.exists()):
        raise RunMismatchError(
            f"{run.path}: the data changed since it was learned from: {changes}; choose another "
            "folder with --run, or delete this one to train anew"
        )
    if snapshot is None:
        return DataState(None, changes, classes)
    if leads() and (before is None or not np.array_equal(before.stats, snapshot.stats)):
        write_snapshot(path, snapshot)
    return DataState(snapshot.identity, changes, classes)


def _changes(before: Snapshot | None, snapshot: Snapshot, recorded: str | None) -> str | None:
    if recorded is None:
        return None
    changes = changes_between(before, snapshot) if before is not None else None
    if changes:
        return str(changes)
    lost = f"which files, cannot be told, for {SEEN} does not tell what they were"
    return None if snapshot.identity == recorded else lost
