"""Which task comes when, and what becomes of each; where they are carried out is no matter here."""

from __future__ import annotations

import logging
import signal
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from foundation.errors import CompressError
from pipeline.study.news import ENDED, LOG, STARTED
from pipeline.study.tasks import Task
from smskd.listening import Listener

logger = logging.getLogger(__name__)


class News(NamedTuple):
    """What is told of a task: a word of `pipeline.study.news` or a listener's method, and what
    goes with it."""

    task: Task
    name: str
    arguments: tuple[Any, ...] = ()


class Workplace(Protocol):
    """Where tasks are carried out, each in a process of its own."""

    def has_room_for(self, task: Task) -> bool:
        """Whether one more may begin."""

    def begin(self, task: Task) -> None:
        """Have a task carried out, now or as soon as there is a place."""

    def news(self) -> Iterable[News]:
        """Wait for what is told of the tasks that were begun.

        Raises:
            HostError: when no more of them will be heard.
        """

    def close(self) -> None:
        """End all that is under way, and give up what waits."""


class Watcher(Protocol):
    """Is told how tasks come along."""

    def started(self, task: Task) -> Listener: ...

    def interrupted(self, task: Task, why: str) -> None: ...

    def ended(self, task: Task, failure: Failure | None) -> None: ...


@dataclass(frozen=True)
class Failure:
    """Why a task was not done.

    Attributes:
        message: one line.
        exit_code: as of the error of that kind.
        traceback: of the process in which it happened, for whoever asks for it.
        was_killed: whether the process was ended from outside, so that another may do better.
    """

    task: Task
    message: str
    exit_code: int
    traceback: str = field(default="", repr=False)
    was_killed: bool = False


class WorkerError(Exception):
    """The traceback of another process, as the cause of what is told of it here."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def carry_out_all(
    tasks: Sequence[Task], workplace: Workplace, watcher: Watcher, retries: int
) -> list[Failure]:
    """Carry out tasks; one that fails keeps no other from going on.

    Args:
        tasks: in the order in which they begin; a teacher's before its arms'. An arm that is
            found done starts no process.
        workplace: carries them out; it is closed in the end.
        watcher: is told.
        retries: how often a task is begun again whose process was killed.

    Returns:
        What failed.

    Raises:
        HostError: when nothing can be carried out there any more.
    """
    crew = _Crew(tasks, workplace, watcher, retries)
    try:
        crew.begin_what_can()
        while crew.listeners:
            for news in workplace.news():
                crew.take(news)
            crew.begin_what_can()
    finally:
        workplace.close()
    return crew.failures


def failure_of_exit(task: Task, code: int | None) -> Failure | None:
    """What to say of a process that ended without a word; None when it did its work.

    Args:
        task: what it worked on.
        code: its exit code; below zero the signal that ended it.
    """
    if code == 0:
        return None
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = ", perhaps for want of memory" if name == "SIGKILL" else ""
        words = f"its process was killed by {name}{hint}"
    else:
        words = f"its process ended with exit code {code}"
    message = f"{words}; run the same command to go on"
    return Failure(task, message, CompressError.exit_code, was_killed=(code or 0) < 0)


class _Crew:
    """The tasks that wait, and those that are under way."""

    def __init__(
        self, tasks: Sequence[Task], workplace: Workplace, watcher: Watcher, retries: int
    ) -> None:
        self.waiting, self.workplace, self.watcher = list(tasks), workplace, watcher
        self.retries, self.times_begun = retries, Counter[str]()
        self.listeners: dict[str, Listener | None] = {}  # by the task's name; None before it began
        self.failures: list[Failure] = []
        self.teachers: set[int] = set()

    def begin_what_can(self) -> None:
        """Begin what there is room for, in order; those whose teacher failed end here."""
        failed_teachers = {f.task.seed: f for f in self.failures if f.task.arm is None}
        for task in list(self.waiting):
            if task.arm is not None and task.teacher_seed in failed_teachers:
                self.waiting.remove(task)
                teacher_failure = failed_teachers[task.teacher_seed]
                self._end(task, Failure(task, "its teacher failed", teacher_failure.exit_code))
            elif task.arm is None or task.teacher_seed in self.teachers:
                if self._is_done(task):
                    continue
                if not self.workplace.has_room_for(task):
                    return
                self.waiting.remove(task)
                self._begin(task)

    def take(self, news: News) -> None:
        """Deal with what is told of a task."""
        task, name, arguments = news
        if task.name not in self.listeners:
            return  # of one that ended meanwhile
        if name == STARTED:
            self._note_start(task, *arguments)
        elif name == ENDED:
            (failure,) = arguments
            self._note_end(task, failure)
        elif name == LOG:
            (record,) = arguments
            logging.getLogger(record.name).handle(record)
        elif (listener := self.listeners[task.name]) is not None:
            getattr(listener, name)(*arguments)

    def _begin(self, task: Task) -> None:
        self.listeners[task.name] = None
        self.workplace.begin(task)

    def _note_start(self, task: Task, where: str) -> None:
        if self.listeners[task.name] is not None:
            self._interrupt(task, "its worker was lost")
        self.times_begun[task.name] += 1
        logger.info("%s: begun in %s, what libraries print is in %s", task.name, where, task.log)
        self.listeners[task.name] = self.watcher.started(task)

    def _note_end(self, task: Task, failure: Failure | None) -> None:
        if failure and failure.was_killed and self.times_begun[task.name] <= self.retries:
            self._interrupt(task, failure.message.partition(";")[0])
            self._begin(task)
            return
        del self.listeners[task.name]
        self._end(task, failure)

    def _interrupt(self, task: Task, why: str) -> None:
        logger.info("%s: is begun again, for %s", task.name, why)
        self.watcher.interrupted(task, why)
        self.listeners[task.name] = None

    def _is_done(self, task: Task) -> bool:
        """Whether a task that waits is found done, or as nothing that can be gone on with."""
        try:
            done = task.result() is not None
        except CompressError as error:
            self.waiting.remove(task)
            self._end(task, Failure(task, str(error), error.exit_code))
            return True
        if done:
            self.waiting.remove(task)
            self._end(task, None)
        return done

    def _end(self, task: Task, failure: Failure | None) -> None:
        logger.info("%s: %s", task.name, f"failed: {failure.message}" if failure else "done")
        if failure:
            self.failures.append(failure)
        elif task.arm is None:
            self.teachers.add(task.seed)
        self.watcher.ended(task, failure)
