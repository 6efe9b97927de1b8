"""Which task comes when, and what becomes of each; where they are carried out is no matter here."""

from __future__ import annotations

import logging
import signal
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from foundation.errors import CompressError
from pipeline.study.news import ENDED, LOG, STARTED
from pipeline.study.tasks import Task
from smskd.listening import Listener

if TYPE_CHECKING:
    from pipeline.study.worker import Teller

logger = logging.getLogger(__name__)


class ProcessTask(Protocol):
    """What one process does; it is pickled on its way there."""

    @property
    def name(self) -> str:
        """What it is called on the screen; no other has the same."""

    @property
    def threads(self) -> int:
        """Of its arithmetic."""

    @property
    def log(self) -> Path:
        """What libraries print while it is worked on."""

    def carry_out(self, teller: Teller) -> None:
        """Do it, in the process."""


W = TypeVar("W", bound=ProcessTask)
W_contra = TypeVar("W_contra", bound=ProcessTask, contravariant=True)


class News(NamedTuple):
    """What is told of a task: a word of `pipeline.study.news` or a listener's method, and what
    goes with it."""

    task: ProcessTask
    name: str
    arguments: tuple[Any, ...] = ()


class Workplace(Protocol[W_contra]):
    """Where tasks are carried out, each in a process of its own."""

    def has_room_for(self, task: W_contra) -> bool:
        """Whether one more may begin."""

    def begin(self, task: W_contra) -> None:
        """Have a task carried out, now or as soon as there is a place."""

    def news(self) -> Iterable[News]:
        """Wait for what is told of the tasks that were begun.

        Raises:
            HostError: when no more of them will be heard.
        """

    def close(self) -> None:
        """End all that is under way, and give up what waits."""


class Watcher(Protocol[W_contra]):
    """Is told how tasks come along."""

    def started(self, task: W_contra) -> Listener: ...

    def interrupted(self, task: W_contra, why: str) -> None: ...

    def ended(self, task: W_contra, failure: Failure | None) -> None: ...


@dataclass(frozen=True)
class Failure:
    """Why a task was not done.

    Attributes:
        message: one line.
        exit_code: as of the error of that kind.
        traceback: of the process in which it happened, for whoever asks for it.
        was_killed: whether the process was ended from outside, so that another may do better.
    """

    task: ProcessTask
    message: str
    exit_code: int
    traceback: str = field(default="", repr=False)
    was_killed: bool = False


class WorkerError(Exception):
    """The traceback of another process, as the cause of what is told of it here."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def carry_out_all(
    tasks: Sequence[Task], workplace: Workplace[Task], watcher: Watcher[Task], retries: int
) -> list[Failure]:
    """Carry out a study's tasks; one that fails keeps no other from going on.

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
    crew = _StudyCrew(tasks, workplace, watcher, retries)
    crew.carry_out()
    return crew.failures


def failure_of_exit(task: ProcessTask, code: int | None) -> Failure | None:
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


def error_for(failure: Failure, message: str) -> CompressError:
    """An error of a failure's kind, to end a command with; the failure's traceback is its cause."""
    classes: list[type[CompressError]] = [CompressError, *CompressError.__subclasses__()]
    kind = {one.exit_code: one for one in classes}[failure.exit_code]
    error = kind(message)
    error.__cause__ = WorkerError(failure.traceback) if failure.traceback else None
    return error


class Crew(ABC, Generic[W]):
    """Tasks under way; a subclass knows which come next.

    Args:
        workplace: carries them out; it is closed in the end.
        watcher: is told.
        retries: how often a task is begun again whose process was killed.

    Attributes:
        failures: what failed so far.
    """

    def __init__(self, workplace: Workplace[W], watcher: Watcher[W], retries: int) -> None:
        self.workplace, self.watcher = workplace, watcher
        self.retries, self.times_begun = retries, Counter[str]()
        self.under_way: dict[str, W] = {}
        self.listeners: dict[str, Listener | None] = {}  # by the task's name; None before it began
        self.failures: list[Failure] = []

    @abstractmethod
    def begin_what_can(self) -> None:
        """`begin` what there is room for."""

    def carry_out(self) -> None:
        """Carry out all; one that fails keeps no other from going on.

        Raises:
            HostError: when nothing can be carried out there any more.
        """
        try:
            self.begin_what_can()
            while self.under_way:
                for news in self.workplace.news():
                    self.take(news)
                self.begin_what_can()
        finally:
            self.workplace.close()

    def take(self, news: News) -> None:
        """Deal with what is told of a task."""
        task, name, arguments = self.under_way.get(news.task.name), news.name, news.arguments
        if task is None:
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

    def begin(self, task: W) -> None:
        """Have a task carried out."""
        self.under_way[task.name], self.listeners[task.name] = task, None
        self.workplace.begin(task)

    def end(self, task: W, failure: Failure | None) -> None:
        """A task is done, was found done, or failed."""
        logger.info("%s: %s", task.name, f"failed: {failure.message}" if failure else "done")
        if failure:
            self.failures.append(failure)
        self.watcher.ended(task, failure)

    def _note_start(self, task: W, where: str) -> None:
        if self.listeners[task.name] is not None:
            self._interrupt(task, "its worker was lost")
        self.times_begun[task.name] += 1
        logger.info("%s: begun in %s, what libraries print is in %s", task.name, where, task.log)
        self.listeners[task.name] = self.watcher.started(task)

    def _note_end(self, task: W, failure: Failure | None) -> None:
        if failure and failure.was_killed and self.times_begun[task.name] <= self.retries:
            self._interrupt(task, failure.message.partition(";")[0])
            self.begin(task)
            return
        del self.under_way[task.name], self.listeners[task.name]
        self.end(task, failure)

    def _interrupt(self, task: W, why: str) -> None:
        logger.info("%s: is begun again, for %s", task.name, why)
        self.watcher.interrupted(task, why)
        self.listeners[task.name] = None


class _StudyCrew(Crew[Task]):
    """A study's tasks, in order; an arm waits for its teacher."""

    def __init__(
        self,
        tasks: Sequence[Task],
        workplace: Workplace[Task],
        watcher: Watcher[Task],
        retries: int,
    ) -> None:
        super().__init__(workplace, watcher, retries)
        self.waiting = list(tasks)
        self.teachers: set[int] = set()
        self.failed_teachers: dict[int, Failure] = {}

    def begin_what_can(self) -> None:
        """Begin what there is room for, in order; those whose teacher failed end here."""
        for task in list(self.waiting):
            if task.arm is not None and task.teacher_seed in self.failed_teachers:
                self.waiting.remove(task)
                exit_code = self.failed_teachers[task.teacher_seed].exit_code
                self.end(task, Failure(task, "its teacher failed", exit_code))
            elif task.arm is None or task.teacher_seed in self.teachers:
                if self._is_done(task):
                    continue
                if not self.workplace.has_room_for(task):
                    return
                self.waiting.remove(task)
                self.begin(task)

    def end(self, task: Task, failure: Failure | None) -> None:
        """As any crew's; a teacher lets its arms begin, or fail."""
        if task.arm is None and failure:
            self.failed_teachers[task.seed] = failure
        elif task.arm is None:
            self.teachers.add(task.seed)
        super().end(task, failure)

    def _is_done(self, task: Task) -> bool:
        """Whether a task that waits is found done, or as nothing that can be gone on with."""
        try:
            done = task.result() is not None
        except CompressError as error:
            self.waiting.remove(task)
            self.end(task, Failure(task, str(error), error.exit_code))
            return True
        if done:
            self.waiting.remove(task)
            self.end(task, None)
        return done
