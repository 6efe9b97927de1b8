"""Carries out tasks on this machine, so many at once, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess

import torch

from foundation import logs
from pipeline.study.crew import Failure, News, ProcessTask, failure_of_exit
from pipeline.study.news import ENDED, FAILED, STARTED, arithmetic_environment
from pipeline.study.worker import PRELOADED, work


@dataclass
class _Running:
    task: ProcessTask
    process: BaseProcess
    failure: Failure | None = None


class Processes:
    """A place for tasks: see `pipeline.study.crew.Workplace`.

    Args:
        jobs: at most so many tasks at once; a task of more threads takes the place of several.
        threads: of a usual one.
    """

    def __init__(self, jobs: int, threads: int) -> None:
        self._threads = jobs * threads
        self._context = _context(threads)
        self._running: dict[Connection, _Running] = {}
        self._begun: list[News] = []

    def has_room_for(self, task: ProcessTask) -> bool:
        """Whether it keeps to as many threads, or has all to itself."""
        taken = sum(running.task.threads for running in self._running.values())
        return not taken or taken + task.threads <= self._threads

    def begin(self, task: ProcessTask) -> None:
        """Start a task's process."""
        receiver, sender = self._context.Pipe(duplex=False)
        arguments = (task, sender, logs.needed_level())
        process = self._context.Process(target=work, args=arguments, daemon=True)  # type: ignore[attr-defined]
        process.start()
        sender.close()  # else its end would not be seen
        self._running[receiver] = _Running(task, process)
        self._begun.append(News(task, STARTED, (f"process {process.pid}",)))

    def news(self) -> Iterator[News]:
        """What was begun since, and then the next message, or the end, of each that has one."""
        begun, self._begun = self._begun, []
        yield from begun
        for connection in wait(list(self._running)):
            assert isinstance(connection, Connection)
            yield from self._received(connection)

    def close(self) -> None:
        """End all processes."""
        for running in self._running.values():
            running.process.kill()
        for running in self._running.values():
            running.process.join()

    def _received(self, connection: Connection) -> Iterator[News]:
        running = self._running[connection]
        try:
            name, arguments = connection.recv()
        except (EOFError, ConnectionResetError):
            yield self._ended(connection)
            return
        if name == FAILED:
            running.failure = Failure(running.task, *arguments)
        else:
            yield News(running.task, name, arguments)

    def _ended(self, connection: Connection) -> News:
        running = self._running.pop(connection)
        connection.close()
        running.process.join()
        failure = running.failure or failure_of_exit(running.task, running.process.exitcode)
        return News(running.task, ENDED, (failure,))


def _context(threads: int) -> BaseContext:
    """How processes are started.

    Forked from a server that has imported everything, where that is safe: it is not once an
    accelerator's driver has been loaded.
    """
    os.environ |= arithmetic_environment(threads)
    # What a process that was ended leaves behind is taken away, of which nobody need be told.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
    can_fork = "forkserver" in multiprocessing.get_all_start_methods()
    if not can_fork or torch.accelerator.is_available():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context
