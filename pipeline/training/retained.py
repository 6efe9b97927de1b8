"""How much of each stage is left after later ones, for the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from foundation.files import write_json
from pipeline.run_folder.folder import RunFolder
from pipeline.run_folder.torchrun import share
from pipeline.training.prepare import TrainingData
from smskd.batch import Batch
from smskd.pair import Pair
from smskd.retention import retention_matrix


class SeenByBoth:
    """The validation images as the student sees them, and as the teacher does."""

    def __init__(self, data: TrainingData) -> None:
        images, splits = data.splits.validation, data.splits
        self.for_student = data.evaluation(images)
        is_shared = splits.preprocessing == splits.teacher_preprocessing and data.stored is None
        self.for_teacher = None if is_shared else data.evaluation(images, "teacher")

    def __iter__(self) -> Iterator[Batch]:
        if self.for_teacher is None:
            yield from (Batch(*batch) for batch in self.for_student)
            return
        batches = zip(self.for_student, self.for_teacher, strict=True)
        for (images, labels), (teacher_images, _) in batches:
            yield Batch(images, labels, teacher_images=teacher_images)


def keep_retention(
    run: RunFolder, pair: Pair, data: TrainingData, remark: Callable[[str], None]
) -> list[Path]:
    """Write the retention matrix of a run's stages, measured on the validation images.

    A student of one stage has nothing to retain; one that changes its form on the way, by pruning
    or by integers, has no one loss to compare.

    Args:
        run: the run folder, with its stages.
        pair: student and teacher as they were distilled.
        data: with validation images.
        remark: told why there is none, where there could be one.

    Returns:
        The file, or nothing.
    """
    recipe = data.file.recipe
    labelled = data.splits.are_labelled and len(data.splits.validation.labels)
    changes_form = recipe.learns_integers or any(stage.prune for stage in recipe.stages)
    if len(recipe.stages) < 2 or changes_form or not labelled or share() != (0, 1):
        return []
    try:
        matrix = retention_matrix(pair, recipe.stages, run.stages, SeenByBoth(data), recipe.engine)
    except (RuntimeError, ValueError, TypeError) as error:
        remark(f"the retention matrix is left out, for it could not be measured: {error}")
        return []
    write_json(run.retention_path, matrix)
    return [run.retention_path]
