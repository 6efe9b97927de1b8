"""A process for one task: it tells what happens, and ends with whoever started it.

PRELOADED is imported once, before the first task, by a server that tasks are forked from: it takes
seconds.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from foundation import logs
from foundation.errors import CompressError, InternalError, NoSpaceError, is_no_space
from foundation.files import no_space_named
from foundation.logs import without_secrets
from pipeline.study.news import FAILED, LOG
from smskd.listening import Listener

if TYPE_CHECKING:
    from pipeline.study.crew import ProcessTask

# An epoch may take an hour; how far it is need not be told for each batch.
_BATCHES_EVERY_S = 5.0
PRELOADED = [
    "pipeline.study.worker",
    "pipeline.study.training",
    "lightning_fabric",
    "sklearn.datasets",
]


class Teller(Listener):
    """Sends on what training tells, as (name of the listener's method, its arguments).

    Args:
        connection: takes it.
        clock: gives seconds, for what is told now and then only.
    """

    def __init__(self, connection: Connection, clock: Callable[[], float] = time.monotonic) -> None:
        self.connection, self._clock = connection, clock
        self._batch_told_at = clock()
        self._lock = threading.Lock()

    def tell(self, name: str, *arguments: Any) -> None:
        """Send a message; log lines come from any thread."""
        with self._lock:
            self.connection.send((name, arguments))

    def stage_started(self, name: str, epochs: int, done: int) -> None:
        self.tell("stage_started", name, epochs, done)

    def batch_done(self, batch: int, batches: int | None) -> None:
        if self._clock() - self._batch_told_at >= _BATCHES_EVERY_S:
            self._batch_told_at = self._clock()
            self.tell("batch_done", batch, batches)

    def epoch_done(self, record: dict[str, Any]) -> None:
        self.tell("epoch_done", record)

    def stage_done(self, name: str, seconds: float) -> None:
        self.tell("stage_done", name, seconds)

    def views_started(self, views: int, done: int) -> None:
        self.tell("views_started", views, done)

    def view_done(self) -> None:
        self.tell("view_done")


def work(task: ProcessTask, connection: Connection, log_level: int) -> None:
    """Carry out a task.

    A failure is sent as (FAILED, (message, exit code, traceback)), a log line as (LOG, (record,)).

    Args:
        task: what to do, and on how many threads.
        connection: takes what is to be told.
        log_level: of the log lines that somebody wants; see `foundation.logs.needed_level`.
    """
    # Ctrl-C reaches every process of a terminal: this one goes without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(task.threads)
    log, teller = task.log, Teller(connection)
    logs.pass_on(partial(teller.tell, LOG), log_level)
    try:
        _write_to(log)
        task.carry_out(teller)
    except CompressError as error:
        teller.tell(FAILED, str(error), error.exit_code, _traceback_of(error))
    except OSError as error:
        kind = NoSpaceError if is_no_space(error) else CompressError
        message = f"{error.filename or log}: {error.strerror or error}"
        teller.tell(FAILED, message, kind.exit_code, _traceback_of(error))
    # SystemExit too: who calls for the end of the process must not pass for one who did his work.
    except BaseException as error:
        traceback.print_exc()
        words = str(error).partition("\n")[0]
        message = f"unexpected {type(error).__name__}: {words}; {log} has the details"
        teller.tell(FAILED, message, InternalError.exit_code, _traceback_of(error))
    finally:
        sys.stderr.flush()
        if log.exists() and log.stat().st_size == 0:
            log.unlink()


def _traceback_of(error: BaseException) -> str:
    return without_secrets("".join(traceback.format_exception(error)))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _write_to(log: Path) -> None:
    """Send what libraries print to a file: the terminal shows the progress of all tasks."""
    with no_space_named(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w", encoding="utf-8") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
