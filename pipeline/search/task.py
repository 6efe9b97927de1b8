"""A trial as a task: what its process is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.recipe.file import RecipeFile
from pipeline.search.folder import SearchFolder
from pipeline.search.limits import PointLimit
from pipeline.search.points import TrialPoint

if TYPE_CHECKING:
    from pipeline.study.worker import Teller


@dataclass(frozen=True)
class TrialTask:
    """The work of one process: a trial, as `pipeline.study.crew.ProcessTask`.

    Attributes:
        number: of the trial.
        params: what was drawn for it, by the recipe's key.
        file: its recipe.
        search: the search's folder.
        objectives: what its figures must have.
        limits: what it is not worth its training for to break.
        points: of the trials that were finished when this one began.
        threads: of its arithmetic.
        key: by which the storage knows it.
    """

    number: int
    params: Mapping[str, Any]
    file: RecipeFile
    search: SearchFolder
    objectives: tuple[str, ...]
    limits: tuple[PointLimit, ...]
    points: tuple[TrialPoint, ...]
    threads: int
    key: int

    @property
    def name(self) -> str:
        """What it is called on the screen."""
        return f"trial {self.number}"

    @property
    def stage_epochs(self) -> tuple[int, ...]:
        """How many epochs each of the student's stages trains."""
        return tuple(stage.epochs for stage in self.file.recipe.stages)

    @property
    def log(self) -> Path:
        """What libraries print while it is worked on."""
        return self.search.log(self.number)

    def carry_out(self, teller: Teller) -> None:
        """Train, export and measure it, in the process that is its own."""
        from pipeline.search.trial import carry_out  # noqa: PLC0415 - not for the parent

        carry_out(self, teller)
