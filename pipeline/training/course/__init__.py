"""The course of a training, epoch by epoch, as others' tools show it: `engine.log`.

The loop prints nothing and knows no logger; a listener passes on what it is told, beside the one
that shows it. Nothing is imported before a training begins.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Protocol

from foundation.errors import UsageError
from pipeline.recipe.file import RecipeFile, recipe_values
from pipeline.run_folder.folder import RunFolder
from pipeline.run_folder.torchrun import leads
from smskd.fine_tuning.phase import HEAD
from smskd.listening import Listener

logger = logging.getLogger(__name__)

FOLDER = "logs"
_VALIDATED = {
    "validation/top1": "val_top1",
    "validation/loss": "val_loss",
    "validation/agreement": "val_agreement",
}
_PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow"}

Figures = Mapping[str, float]


class CourseLog(Protocol):
    """Where the course of a run's trainings is kept."""

    def begin(self, training: str, done: int) -> None:
        """A training begins, or goes on after `done` epochs; later ones that are there are void."""
        ...

    def write(self, training: str, epoch: int, figures: Figures) -> None:
        """Keep what an epoch came to; it is on disk, or at its server, when this returns."""
        ...

    def close(self, *, done: bool) -> None:
        """Nothing more comes for now."""
        ...


def check_log_packages(file: RecipeFile) -> None:
    """Make sure that what a recipe logs for is installed, before any work is begun.

    Raises:
        UsageError: when it is not; with what to install.
    """
    for name in file.recipe.engine.log:
        if find_spec(_PACKAGES[name]) is None:
            raise UsageError(
                f"{file.where('engine', 'log')}: {name} is not installed; "
                f"pip install 'edge-compress[{name}]'"
            )


class CourseLogs:
    """All logs that a recipe asks for, begun with the first training.

    Args:
        run: the run folder.
        file: the recipe.
    """

    def __init__(self, run: RunFolder, file: RecipeFile) -> None:
        self._run, self._file = run, file
        self._logs: list[CourseLog] | None = None

    def listener(self, shown: Listener, role: str) -> Listener:
        """Passes on what a training tells to a display, and to the logs if there are any.

        Args:
            shown: the display.
            role: "teacher", "student" or "alone".
        """
        return _LoggedTraining(shown, self, role) if self._file.recipe.engine.log else shown

    def tell(self, take: Callable[[CourseLog], None]) -> None:
        """Have each log take something; one that fails is told of and left out from then on."""
        if self._logs is None:
            self._logs = _opened(self._run, self._file) if leads() else []
        for log in list(self._logs):
            try:
                take(log)
            except Exception as error:  # others' libraries, servers that have gone
                self._logs.remove(log)
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                logger.warning("%s takes no more: %s", type(log).__name__, reason, exc_info=error)
                self._run.say(
                    f"{type(log).__name__} takes no more of the training's course, which goes on "
                    f"without it ({reason[:200]})"
                )

    def close(self, *, done: bool) -> None:
        """End what was begun."""
        if self._logs is not None:
            self.tell(lambda log: log.close(done=done))


@contextmanager
def course_logs(run: RunFolder, file: RecipeFile) -> Iterator[CourseLogs]:
    """The logs of a run's trainings, closed when the block ends.

    Raises:
        UsageError: when one cannot be kept where the recipe says.
    """
    logs = CourseLogs(run, file)
    try:
        yield logs
    except BaseException:
        logs.close(done=False)
        raise
    logs.close(done=True)


def _opened(run: RunFolder, file: RecipeFile) -> list[CourseLog]:
    recipe = file.recipe
    given = _flat(recipe_values(recipe.spelled_out()))
    logs: list[CourseLog] = []
    if "tensorboard" in recipe.engine.log:
        from pipeline.training.course.tensorboard import TensorBoardLog  # noqa: PLC0415

        logs.append(TensorBoardLog(run.path / FOLDER / "tensorboard", given))
    if "mlflow" in recipe.engine.log:
        from pipeline.training.course.mlflow_runs import MlflowLog  # noqa: PLC0415

        logs.append(MlflowLog(run, recipe.name, given, recipe.engine.log_to))
    return logs


def _flat(values: Any, place: str = "") -> dict[str, Any]:
    """Each value of a recipe by its place: {"stages.0.epochs": 10}."""
    if isinstance(values, Mapping) and values:
        items = [(str(key), value) for key, value in values.items()]
    elif isinstance(values, list) and any(isinstance(value, Mapping | list) for value in values):
        items = [(str(number), value) for number, value in enumerate(values)]
    else:
        return {place: values}
    flat: dict[str, Any] = {}
    for key, value in items:
        flat |= _flat(value, f"{place}.{key}" if place else key)
    return flat


class _LoggedTraining(Listener):
    """One role's training, of which display and logs are told."""

    def __init__(self, shown: Listener, logs: CourseLogs, role: str) -> None:
        self._shown, self._logs, self._role = shown, logs, role
        self._stages_done = 0
        self._training = ""

    def stage_started(self, name: str, epochs: int, done: int) -> None:
        """A stage begins; it goes by the name of its folder."""
        number = self._stages_done + 1
        training = f"{number}-{name}" if self._role == "student" else self._role
        if name == HEAD:  # of a teacher; what comes after it is the teacher's own
            training = f"{self._role}-{HEAD}"
        self._training = training
        self._logs.tell(lambda log: log.begin(training, done))
        self._shown.stage_started(name, epochs, done)

    def epoch_done(self, record: dict[str, Any]) -> None:
        """Its figures go into the logs."""
        training, figures = self._training, _figures(record)
        self._logs.tell(lambda log: log.write(training, record["epoch"], figures))
        self._shown.epoch_done(record)

    def stage_done(self, name: str, seconds: float) -> None:
        """The next one has the next number."""
        self._stages_done += 1
        self._shown.stage_done(name, seconds)

    def batch_done(self, batch: int, batches: int | None) -> None:
        """For the display."""
        self._shown.batch_done(batch, batches)

    def views_started(self, views: int, done: int) -> None:
        """For the display."""
        self._shown.views_started(views, done)

    def view_done(self) -> None:
        """For the display."""
        self._shown.view_done()

    def views_done(self) -> None:
        """For the display."""
        self._shown.views_done()


def _figures(record: Mapping[str, Any]) -> dict[str, float]:
    """An epoch's figures under the names that logs have them by."""
    figures = {f"losses/{name}": value for name, value in record["losses"].items()}
    figures |= {"learning_rate": record["lr"], "seconds": record["seconds"]}
    for name, key in _VALIDATED.items():
        if record.get(key) is not None:
            figures[name] = record[key]
    for name, value in record.get("val_metrics", {}).items():
        figures[f"validation/metric/{name}"] = value
    return figures
