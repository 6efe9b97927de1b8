"""The stage of a run that trained the student with 8-bit numbers, as its files tell it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foundation.files import sha256_of
from pipeline.run_folder.folder import RunFolder
from smskd.stage import stage_folder
from smskd.training.stage_files import RANGES, WEIGHTS


def integer_stage(run: RunFolder) -> Path | None:
    """The folder of the stage that trained the student with 8-bit numbers, if one did."""
    recipe = run.recipe()
    last = run.stages / stage_folder(len(recipe.stages), recipe.stages[-1])
    return last if recipe.learns_integers else None


def learnt_origin(run: RunFolder) -> dict[str, Any] | None:
    """Where integers that the student was trained with come from; None where it was not.

    Raises:
        MissingFileError: when the stage is not finished.
    """
    stage = integer_stage(run)
    if stage is None:
        return None
    return {
        "stage": stage.name,
        "weights_sha256": sha256_of(stage / WEIGHTS),
        "ranges_sha256": sha256_of(stage / RANGES),
    }
