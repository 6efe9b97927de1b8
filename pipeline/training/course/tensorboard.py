"""TensorBoard, through Lightning Fabric's own logger: a folder of event files a training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_fabric.loggers import TensorBoardLogger

from pipeline.training.course import Figures

_RECIPE = "recipe"


class TensorBoardLog:
    """Event files under a folder: `tensorboard --logdir FOLDER`.

    Args:
        folder: takes a folder for each training, and one for the recipe.
        given: the recipe's values by their places.
    """

    def __init__(self, folder: Path, given: Mapping[str, Any]) -> None:
        self._folder = folder
        self._loggers: dict[str, TensorBoardLogger] = {}
        if not (folder / _RECIPE).is_dir():
            of_recipe = TensorBoardLogger(folder, name="", version=_RECIPE)
            of_recipe.log_hyperparams(dict(given))
            of_recipe.finalize("success")

    def begin(self, training: str, done: int) -> None:
        """Go on in the same folder; an epoch that was written and is repeated takes the other's
        place, which TensorBoard knows as purging."""
        before = (self._folder / training).is_dir()
        purged = {"purge_step": done + 1} if before else {}
        self._loggers[training] = TensorBoardLogger(
            self._folder, name="", version=training, default_hp_metric=False, **purged
        )

    def write(self, training: str, epoch: int, figures: Figures) -> None:
        """Add an epoch's figures."""
        logger = self._loggers[training]
        logger.log_metrics(figures, step=epoch)
        logger.save()

    def close(self, *, done: bool) -> None:
        """Close the files."""
        for logger in self._loggers.values():
            logger.finalize("success" if done else "aborted")
