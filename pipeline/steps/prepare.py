"""Data: load, split, and leave in the run folder what later steps need."""

from __future__ import annotations

from functools import cached_property

from pipeline.data import load_dataset
from pipeline.data.batches import EvaluationBatches, TrainBatches
from pipeline.data.facts import (
    CALIBRATION,
    PROBE,
    TEST,
    DataFacts,
    write_facts,
    write_images,
)
from pipeline.data.images import ImageSet, sample_of
from pipeline.data.splits import Splits, split
from pipeline.recipe_file import RecipeFile, recipe_values
from pipeline.runs import RunFolder

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

    @cached_property
    def _loaded(self) -> tuple[Splits, tuple[str, ...]]:
        dataset = load_dataset(self.recipe, self.file.where("data", "name"))
        return split(dataset, self.recipe), dataset.skipped

    def batches(self, images: ImageSet, seed: int) -> TrainBatches:
        """Shuffled and augmented batches of one part."""
        recipe, preprocessing = self.recipe, self.splits.preprocessing
        return TrainBatches(images, preprocessing, recipe.augment, recipe.batch_size, seed)

    def evaluation(self, images: ImageSet) -> EvaluationBatches:
        """All images of one part, as they are."""
        return EvaluationBatches(images, self.splits.preprocessing)


def prepare(run: RunFolder, data: TrainingData) -> None:
    """Write the data's facts, and the images for calibration, probing and the final word."""
    recipe = data.recipe
    with run.step("data", recipe=recipe_values(recipe)) as step:
        if not step.needed:
            return
        splits = data.splits
        facts = DataFacts(
            name=recipe.name,
            classes=splits.classes,
            preprocessing=splits.preprocessing,
            counts={
                part: len(getattr(splits, part).labels)
                for part in ("train", "student_train", "validation", "test")
            },
            skipped=data.skipped,
        )
        kept = {
            CALIBRATION: sample_of(splits.train, recipe.calibration_images),
            PROBE: sample_of(splits.validation, _PROBE_IMAGES),
            TEST: sample_of(splits.test, recipe.evaluation_images),
        }
        step.products = [
            write_facts(run.data, facts),
            *(write_images(run.data / name, images) for name, images in kept.items()),
        ]
