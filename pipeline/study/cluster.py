"""Carries out tasks on the machines of a Dask scheduler, which somebody else has started.

What a client gets from a scheduler it unpickles, as workers do: its address is trusted
(docs/trust.md). No port is opened here.
"""

from __future__ import annotations

import json
import logging
import pickle
import queue
import secrets
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from foundation import logs
from foundation.errors import CompressError, HostError, MissingFileError, RecipeError, UsageError
from foundation.files import read_json, user_path, write_text
from pipeline.recipe.sections.recipe import Recipe
from pipeline.study.crew import Failure, News, failure_of_exit
from pipeline.study.folder import StudyFolder
from pipeline.study.news import ENDED, LOG
from pipeline.study.on_worker import (
    Surroundings,
    WorkEnd,
    WorkOrder,
    carry_out_order,
    look_around,
    software,
)
from pipeline.study.tasks import Task

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 5.0
# Network file systems tell of a new file late: NFS after a minute, unless it is mounted otherwise.
_FILES_SHOW_WITHIN_S = 120.0
_TOKEN = ".seen-by-all-"


class Cluster:
    """A place for tasks: see `pipeline.study.crew.Workplace`.

    Args:
        recipe: with the scheduler in its [study].
        study: the study's folder.

    Raises:
        UsageError: when Dask is not installed.
        HostError: when there is no scheduler or no worker in time, or one cannot take part.
    """

    def __init__(self, recipe: Recipe, study: StudyFolder) -> None:
        assert recipe.study.scheduler is not None
        self._wait_s = recipe.study.scheduler_wait
        self._address = address_of(recipe.study.scheduler)
        self._inbox: queue.Queue[Callable[[], News | None]] = queue.Queue()
        self._waited: dict[str, tuple[Task, Any]] = {}  # by key: with Dask's future
        self._word, self._begun = secrets.token_hex(4), 0
        for left in study.path.glob(f"{_TOKEN}*"):  # by a command that was killed
            left.unlink()
        self._around = Surroundings(
            Path.cwd(),
            study.teachers.resolve(),
            study.path.resolve() / f"{_TOKEN}{self._word}",
            software(),
            tuple(str(Path(folder).resolve()) for folder in sys.path),
        )
        self._dask = _dask()
        self._client = self._connected()
        try:
            self._around.teachers.mkdir(parents=True, exist_ok=True)
            write_text(self._around.token, self._word)
            self._workers = self._present_workers()
            self._check_workers()
            self._client.subscribe_topic(self._topic, self._take_event)
        except BaseException:
            self.close()
            raise

    @property
    def _topic(self) -> str:
        return f"edge-compress-{self._word}"

    def has_room_for(self, task: Task) -> bool:
        """Always: the scheduler keeps what waits, and may ask for more machines because of it."""
        del task
        return True

    def begin(self, task: Task) -> None:
        """Give a task to the scheduler; those given first come first."""
        self._begun += 1
        key = f"edge-compress-{self._word}-{self._begun}"
        order = WorkOrder(
            key=key,
            task=pickle.dumps(task),
            threads=task.threads,
            log=task.log.absolute(),
            log_level=logs.needed_level(),
            topic=self._topic,
            around=self._around,
        )
        future = self._client.submit(
            carry_out_order,
            order,
            key=key,
            priority=-self._begun,
            pure=False,
            resources=claim_of(task, self._workers) or None,
        )
        self._waited[key] = task, future
        future.add_done_callback(lambda done: self._inbox.put(lambda: self._ended(key, done)))

    def news(self) -> Iterator[News]:
        """What the scheduler passes on; now and then it is made sure that it still does."""
        try:
            read = self._inbox.get(timeout=_LOOK_EVERY_S)
        except queue.Empty:
            self._look_after()
            return
        if (news := read()) is not None:
            yield news

    def close(self) -> None:
        """Take back what was given to the scheduler; processes at work on it end."""
        with suppress(Exception):  # of a scheduler that is gone there is nothing to take back
            self._client.cancel([future for _, future in self._waited.values()], force=True)
        with suppress(Exception):
            self._client.close(timeout=_LOOK_EVERY_S)
        self._around.token.unlink(missing_ok=True)

    def _connected(self) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of versions: we look ourselves
                return self._dask.Client(
                    self._address, timeout=self._wait_s, set_as_default=False, name="edge-compress"
                )
        except Exception as error:  # of every kind, by what is wrong with an address or with TLS
            raise HostError(
                f"no Dask scheduler answers at {self._address} within {self._wait_s:g} s "
                f"({_line(error)}); start one (`dask scheduler`), or leave --scheduler out"
            ) from error

    def _present_workers(self) -> Mapping[str, Any]:
        deadline = time.monotonic() + self._wait_s
        while True:
            workers: Mapping[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
            if workers:
                return workers
            if time.monotonic() > deadline:
                raise HostError(
                    f"the Dask scheduler at {self._address} has had no worker for "
                    f"{self._wait_s:g} s; start some (`dask worker {self._address}`), or wait "
                    "longer for them (study.scheduler_wait)"
                )
            time.sleep(0.2)

    def _check_workers(self) -> None:
        said = self._client.run(look_around, self._around, on_error="return")
        for worker, answer in said.items():
            is_error = isinstance(answer, BaseException)
            if is_error or answer:
                problem = f"it has no edge-compress ({_line(answer)})" if is_error else answer
                raise HostError(f"Dask worker {worker}: {problem}")
        logger.info("Dask scheduler %s: %d workers", self._address, len(said))

    def _look_after(self) -> None:
        """Make sure that the scheduler is there, and somebody to work for it."""
        if self._client.status != "running":
            raise self._lost()
        try:
            if not self._client.scheduler_info(n_workers=-1)["workers"]:
                self._present_workers()
        except OSError as error:
            raise self._lost() from error

    def _lost(self) -> HostError:
        return HostError(
            f"the Dask scheduler at {self._address} is gone; what was finished is kept, and the "
            "same command goes on"
        )

    def _take_event(self, event: tuple[float, str]) -> None:
        """In a thread of Dask's: leave what a worker tells to whoever waits for it."""
        key, name, arguments = json.loads(event[1])

        def read() -> News | None:
            if key not in self._waited:
                return None
            if name == LOG:
                return News(self._waited[key][0], LOG, (logging.makeLogRecord(*arguments),))
            return News(self._waited[key][0], name, tuple(arguments))

        self._inbox.put(read)

    def _ended(self, key: str, future: Any) -> News:
        if future.status == "cancelled":  # not by us: then nobody would ask
            raise self._lost()
        task, _ = self._waited.pop(key)
        error = future.exception()
        if error is None:
            return News(task, ENDED, (self._failure(task, future.result()),))
        was_killed = type(error).__name__ == "KilledWorker"
        words = "the workers it was given to were lost" if was_killed else _line(error)
        message = f"Dask could not carry it out: {words}"
        failure = Failure(task, message, HostError.exit_code, was_killed=was_killed)
        return News(task, ENDED, (failure,))

    def _failure(self, task: Task, outcome: WorkEnd) -> Failure | None:
        if outcome.problem:
            return Failure(task, f"Dask worker: {outcome.problem}", HostError.exit_code)
        if outcome.failed:
            return Failure(task, *outcome.failed)
        failure = failure_of_exit(task, outcome.code)
        return failure or _unseen(task)


def claim_of(task: Task, workers: Mapping[str, Any]) -> dict[str, float]:
    """What a task takes of a worker's resources, where workers were started with any: a GPU, or as
    many of its CPUs as the task has threads. Of others it takes one of their threads alone.

    Args:
        task: what is to be done.
        workers: what the scheduler tells of them, by address.

    Raises:
        HostError: when no worker has as much.
    """
    gpus, cpus = (
        max(worker["resources"].get(name, 0) for worker in workers.values())
        for name in ("GPU", "CPU")
    )
    if gpus and task.file.recipe.engine.accelerator != "cpu":
        return {"GPU": 1}
    if cpus and cpus < task.threads:
        raise HostError(
            f"{task.name} has {task.threads} threads, but no Dask worker has more than "
            f"CPU={cpus:g}; start one with more, or set study.threads lower"
        )
    return {"CPU": task.threads} if cpus else {}


def address_of(scheduler: str) -> str:
    """Where a scheduler listens; `scheduler` may be the file in which it wrote that down.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is not JSON.
        RecipeError: when no address stands in it.
    """
    if not scheduler.endswith(".json"):
        return scheduler
    path = user_path(scheduler)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; a scheduler writes it (--scheduler-file)")
    content = read_json(path, "it is written by `dask scheduler --scheduler-file`")
    address = content.get("address") if isinstance(content, dict) else None
    if not isinstance(address, str):
        raise RecipeError(f"{path}: no address stands in it; it is not a scheduler's file")
    return address


def _unseen(task: Task) -> Failure | None:
    """A failure when what a task made does not show here, though it ended well."""
    deadline = time.monotonic() + _FILES_SHOW_WITHIN_S
    while True:
        try:
            if task.has_left_its_files():
                return None
        except CompressError as error:
            return Failure(task, str(error), error.exit_code)
        if time.monotonic() > deadline:
            message = f"it was done, but {task.folder} does not show it here"
            return Failure(task, message, HostError.exit_code)
        time.sleep(0.2)


def _dask() -> Any:
    """Dask's distributed, which says nothing of its own accord.

    Raises:
        UsageError: when it is not installed.
    """
    try:
        import distributed  # noqa: PLC0415 - a second, and not everybody has it
    except ModuleNotFoundError as error:
        raise UsageError(
            f"a scheduler needs Dask, which is not installed ({error}); "
            "pip install 'edge-compress[cluster]'"
        ) from error
    # It sets up loggers that write on standard error when it is imported.
    for name in ("distributed", "tornado", "bokeh"):
        below = [one for one in logging.root.manager.loggerDict if one.startswith(f"{name}.")]
        for one in map(logging.getLogger, [name, *below]):
            one.handlers.clear()
            one.propagate = True
        logs.keep_quiet(name)
    return distributed


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
