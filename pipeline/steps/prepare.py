"""Data: load, split, and leave in the run folder what later steps need."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from pipeline.data import load_dataset
from pipeline.data.batches import EvaluationBatches, TrainBatches
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
from pipeline.data.images import ImageSet, sample_of
from pipeline.data.splits import Splits, split
from pipeline.recipe_file import RecipeFile, recipe_values
from pipeline.runs import RunFolder

Role = Literal["student", "teacher"]

_PROBE_IMAGES = 32


class TrainingData:
    """The data of a run; loaded when it is first needed, so that a finished run loads nothing."""

    def __init__(self, file: RecipeFile) -> None:
        self.file, self.recipe = file, file.recipe.data

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
        dataset = load_dataset(self.recipe, self.file.where("data", "name"))
        splits = split(dataset, self.recipe)
        return splits, dataset.skipped, (*dataset.remarks, *splits.remarks)

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
        """
        recipe, splits = self.recipe, self.splits
        teacher_size = recipe.teacher_image_size or recipe.image_size
        alone = learner == "teacher"
        return TrainBatches(
            images,
            splits.preprocessing,
            recipe.augment,
            recipe.batch_size,
            seed,
            student_size=teacher_size if alone else recipe.image_size,
            teacher_size=teacher_size,
            views=None if alone else recipe.teacher_views,
            view_seed=recipe.split_seed,
            share=share,
            classes=len(splits.classes),
        )

    def evaluation(self, images: ImageSet, role: Role = "student") -> EvaluationBatches:
        """All images of one part, as they are, at the size that student or teacher sees."""
        splits = self.splits
        return EvaluationBatches(
            images, splits.preprocessing if role == "student" else splits.teacher_preprocessing
        )


def prepare(run: RunFolder, data: TrainingData) -> None:
    """Write the data's facts, and the images for calibration, probing and the final word."""
    recipe = data.recipe
    with run.step("data", recipe=recipe_values(recipe)) as step:
        if not step.needed:
            return
        splits = data.splits
        for line in data.remarks:
            step.remark(line)
        differs = splits.teacher_preprocessing != splits.preprocessing
        facts = DataFacts(
            name=public_name(recipe.name),
            classes=splits.classes,
            preprocessing=splits.preprocessing,
            counts={
                part: len(getattr(splits, part).labels)
                for part in ("train", "student_train", "validation", "test")
            },
            skipped=[public_place(place, recipe.name) for place in data.skipped],
            teacher_size=splits.teacher_preprocessing.height if differs else None,
        )
        uses = {
            CALIBRATION: (splits.train, recipe.calibration_images),
            PROBE: (splits.validation, _PROBE_IMAGES),
            VALIDATION: (splits.validation, recipe.evaluation_images),
            TEST: (splits.test, recipe.evaluation_images),
        }
        step.products = [write_facts(run.data, facts)]
        for name, (part, count) in uses.items():
            kept = {name: splits.for_student(part)}
            kept[facts.images_for("teacher", name)] = splits.for_teacher(part)
            step.products += [
                write_images(run.data / file, sample_of(images, count))
                for file, images in kept.items()
            ]
