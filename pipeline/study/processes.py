"""Carries out many tasks, so many at once, each in a process of its own."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Protocol

import torch

from foundation import logs
from foundation.errors import CompressError
from pipeline.study.tasks import Task
from pipeline.study.worker import FAILED, LOG, PRELOADED, work
from smskd.listening import Listener

logger = logging.getLogger(__name__)


class Watcher(Protocol):
    """Is told how tasks come along."""

    def started(self, task: Task) -> Listener: ...

    def ended(self, task: Task, failure: Failure | None) -> None: ...


@dataclass(frozen=True)
class Failure:
    """Why a task was not done.

    Attributes:
        message: one line.
        exit_code: as of the error of that kind.
        traceback: of the process in which it happened, for whoever asks for it.
    """

    task: Task
    message: str
    exit_code: int
    traceback: str = field(default="", repr=False)


class WorkerError(Exception):
    """The traceback of another process, as the cause of what is told of it here."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


@dataclass
class _Running:
    task: Task
    process: BaseProcess
    listener: Listener
    failure: Failure | None = field(default=None)


def carry_out_all(tasks: Sequence[Task], jobs: int, watcher: Watcher) -> list[Failure]:
    """Carry out tasks; one that fails keeps no other from going on.

    Args:
        tasks: in the order in which they begin; a teacher's before its arms'. An arm that is
            found done starts no process.
        jobs: at most so many at once.
        watcher: is told.

    Returns:
        What failed.
    """
    crew = _Crew(tasks, watcher)
    try:
        while crew.waiting or crew.running:
            while len(crew.running) < jobs and (task := crew.next_ready()):
                crew.start(task)
            for connection in wait(list(crew.running)) if crew.running else ():
                assert isinstance(connection, Connection)
                crew.receive(connection)
    finally:
        crew.stop()
    return crew.failures


class _Crew:
    """The processes at work, and the tasks that wait."""

    def __init__(self, tasks: Sequence[Task], watcher: Watcher) -> None:
        self.waiting, self.watcher = list(tasks), watcher
        self.running: dict[Connection, _Running] = {}
        self.failures: list[Failure] = []
        self.teachers: set[int] = set()
        self.context = _context(tasks[0].file.recipe.study.threads if tasks else 1)

    def next_ready(self) -> Task | None:
        """Take the first task that can begin; those whose teacher failed end here."""
        failed_teachers = {f.task.seed: f for f in self.failures if f.task.arm is None}
        for task in list(self.waiting):
            if task.arm is None or task.teacher_seed in self.teachers:
                self.waiting.remove(task)
                if not self._end_if_done(task):
                    return task
            elif task.teacher_seed in failed_teachers:
                self.waiting.remove(task)
                teacher_failure = failed_teachers[task.teacher_seed]
                self._end(task, Failure(task, "its teacher failed", teacher_failure.exit_code))
        return None

    def start(self, task: Task) -> None:
        """Start a task's process."""
        receiver, sender = self.context.Pipe(duplex=False)
        arguments = (task, task.file.recipe.study.threads, sender, logs.needed_level())
        process = self.context.Process(target=work, args=arguments, daemon=True)  # type: ignore[attr-defined]
        process.start()
        logger.info(
            "%s: begun in process %s, what libraries print is in %s",
            task.name, process.pid, task.log,
        )  # fmt: skip
        sender.close()  # else its end would not be seen
        self.running[receiver] = _Running(task, process, self.watcher.started(task))

    def receive(self, connection: Connection) -> None:
        """Take a process' next message, or its end."""
        running = self.running[connection]
        try:
            name, arguments = connection.recv()
        except (EOFError, ConnectionResetError):
            del self.running[connection]
            connection.close()
            running.process.join()
            self._end(running.task, running.failure or _failure_of(running))
            return
        if name == FAILED:
            running.failure = Failure(running.task, *arguments)
        elif name == LOG:
            (record,) = arguments
            logging.getLogger(record.name).handle(record)
        else:
            getattr(running.listener, name)(*arguments)

    def stop(self) -> None:
        """End all processes."""
        for running in self.running.values():
            running.process.kill()
        for running in self.running.values():
            running.process.join()

    def _end_if_done(self, task: Task) -> bool:
        try:
            done = task.result() is not None
        except CompressError as error:
            self._end(task, Failure(task, str(error), error.exit_code))
            return True
        if done:
            self._end(task, None)
        return done

    def _end(self, task: Task, failure: Failure | None) -> None:
        logger.info("%s: %s", task.name, f"failed: {failure.message}" if failure else "done")
        if failure:
            self.failures.append(failure)
        elif task.arm is None:
            self.teachers.add(task.seed)
        self.watcher.ended(task, failure)


def _failure_of(running: _Running) -> Failure | None:
    """What to say of a process that ended without a word; None when it did its work."""
    code = running.process.exitcode
    if code == 0:
        return None
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = ", perhaps for want of memory" if name == "SIGKILL" else ""
        words = f"its process was killed by {name}{hint}"
    else:
        words = f"its process ended with exit code {code}"
    return Failure(running.task, f"{words}; run the same command to go on", CompressError.exit_code)


def _context(threads: int) -> BaseContext:
    """How processes are started.

    Forked from a server that has imported everything, where that is safe: it is not once an
    accelerator's driver has been loaded.
    """
    # Read by the arithmetic libraries when they are loaded. Passive: on cores that others use too,
    # threads that spin while they wait for each other double the time.
    os.environ |= {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    can_fork = "forkserver" in multiprocessing.get_all_start_methods()
    if not can_fork or torch.accelerator.is_available():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context
