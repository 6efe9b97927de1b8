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
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from foundation.errors import CompressError, InternalError, NoSpaceError, is_no_space
from foundation.files import no_space_named
from pipeline.study.tasks import Task
from smskd.listening import Listener

FAILED = "failed"
PRELOADED = [
    "pipeline.study.worker",
    "pipeline.study.training",
    "lightning_fabric",
    "sklearn.datasets",
]


class Teller(Listener):
    """Sends on what training tells, as (name of the listener's method, its arguments)."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def stage_started(self, name: str, epochs: int, done: int) -> None:
        self.connection.send(("stage_started", (name, epochs, done)))

    def epoch_done(self, record: dict[str, Any]) -> None:
        self.connection.send(("epoch_done", (record,)))

    def stage_done(self, name: str, seconds: float) -> None:
        self.connection.send(("stage_done", (name, seconds)))

    def views_started(self, views: int, done: int) -> None:
        self.connection.send(("views_started", (views, done)))

    def view_done(self) -> None:
        self.connection.send(("view_done", ()))


def work(task: Task, threads: int, connection: Connection) -> None:
    """Carry out a task; a failure is sent as (FAILED, (message, exit code)).

    Args:
        task: what to do.
        threads: of the arithmetic.
        connection: takes what is to be told.
    """
    # Ctrl-C reaches every process of a terminal: this one goes without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    log = task.log
    try:
        _write_to(log)
        from pipeline.study.training import carry_out  # noqa: PLC0415 - not for the parent

        carry_out(task, Teller(connection))
    except CompressError as error:
        connection.send((FAILED, (str(error), error.exit_code)))
    except OSError as error:
        kind = NoSpaceError if is_no_space(error) else CompressError
        message = f"{error.filename or log}: {error.strerror or error}"
        connection.send((FAILED, (message, kind.exit_code)))
    # SystemExit too: who calls for the end of the process must not pass for one who did his work.
    except BaseException as error:
        traceback.print_exc()
        words = str(error).partition("\n")[0]
        message = f"unexpected {type(error).__name__}: {words}; {log} has the details"
        connection.send((FAILED, (message, InternalError.exit_code)))
    finally:
        sys.stderr.flush()
        if log.exists() and log.stat().st_size == 0:
            log.unlink()


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
