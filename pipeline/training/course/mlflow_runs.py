"""MLflow, through its own client: one of its runs a run folder."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from foundation.errors import CompressError, UsageError
from foundation.files import read_json, write_json
from pipeline.run_folder.folder import RunFolder
from pipeline.training.course import FOLDER, Figures

_AT_ONCE = 100  # parameters that a server takes in one call
_LONGEST = 500  # characters of a value that every version takes
_NOTE = "mlflow.json"


class MlflowLog:
    """A run of MLflow's, in the experiment that is called like the recipe.

    Args:
        run: the run folder; it notes which run of MLflow's is its own.
        experiment: its name.
        given: the recipe's values by their places.
        place: the tracking server or store; None takes MLFLOW_TRACKING_URI, or else a folder in
            the run folder.

    Raises:
        UsageError: when nothing can be kept there.
    """

    def __init__(
        self, run: RunFolder, experiment: str, given: Mapping[str, Any], place: str | None
    ) -> None:
        self._place = place or os.environ.get("MLFLOW_TRACKING_URI") or _folder_in(run)
        self._known: dict[str, set[int]] = {}
        try:
            self._client = MlflowClient(tracking_uri=self._place)
            self._id = self._noted(run) or self._begun(run, experiment, given)
        except Exception as error:  # servers that are not there, stores that are none
            reason = " ".join(str(error).split())
            raise UsageError(
                f"engine.log_to: mlflow can keep nothing at {self._place}: {reason[:200]}"
            ) from error

    def _noted(self, run: RunFolder) -> str | None:
        """The run that an earlier command of this run folder began; None where there is none."""
        note: Any = None
        with suppress(CompressError):
            note = read_json(run.path / FOLDER / _NOTE)
        if not isinstance(note, dict) or note.get("place") != self._place:
            return None
        try:
            noted = self._client.get_run(str(note.get("run_id")))
        except MlflowException:  # somebody deleted it
            return None
        if noted.info.lifecycle_stage != "active":
            return None
        run_id = str(noted.info.run_id)
        self._client.update_run(run_id, status="RUNNING")
        return run_id

    def _begun(self, run: RunFolder, experiment: str, given: Mapping[str, Any]) -> str:
        known = self._client.get_experiment_by_name(experiment)
        where = known.experiment_id if known else self._client.create_experiment(experiment)
        run_id = str(self._client.create_run(where, run_name=run.path.name).info.run_id)
        params = [Param(key, str(value)[:_LONGEST]) for key, value in given.items()]
        for start in range(0, len(params), _AT_ONCE):
            self._client.log_batch(run_id, params=params[start : start + _AT_ONCE])
        (run.path / FOLDER).mkdir(exist_ok=True)
        write_json(run.path / FOLDER / _NOTE, {"place": self._place, "run_id": run_id})
        return run_id

    def begin(self, training: str, done: int) -> None:
        """See which epochs are there, for MLflow keeps each value that it is given, twice too."""
        del done
        history = self._client.get_metric_history(self._id, f"{training}/learning_rate")
        self._known[training] = {metric.step for metric in history}

    def write(self, training: str, epoch: int, figures: Figures) -> None:
        """Send an epoch's figures, unless they are there: a repeated epoch comes to the same."""
        if epoch in self._known[training]:
            return
        now = int(time.time() * 1000)
        metrics = [
            Metric(f"{training}/{name}", float(value), now, epoch)
            for name, value in figures.items()
        ]
        self._client.log_batch(self._id, metrics=metrics)
        self._known[training].add(epoch)

    def close(self, *, done: bool) -> None:
        """Say how it ended."""
        self._client.set_terminated(self._id, "FINISHED" if done else "FAILED")


def _folder_in(run: RunFolder) -> str:
    """A store of files in the run folder, which MLflow still reads where it is told to."""
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    return (run.path.absolute() / FOLDER / "mlflow").as_uri()
