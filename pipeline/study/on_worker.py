"""What of a study runs inside a Dask worker: it looks around, and starts a process for each task.

No torch is imported here. A task has a process of its own, which ends with the worker: one that
crashes or runs out of memory takes neither the worker nor another task along, threads and seeds are
nobody else's, and the worker goes on telling the scheduler that it is alive.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import foundation
from foundation.logs import PACKAGES
from pipeline.study.news import FAILED, LOG, STARTED, arithmetic_environment

_LIBRARIES = ("edge-compress", "torch", "torchvision", "numpy", "lightning-fabric", "distributed")
_LOOK_EVERY_S = 1.0
_PLAIN = (str, int, float, type(None))


@dataclass(frozen=True)
class Surroundings:
    """What all machines of a study must have alike.

    Attributes:
        folder: where the command was started; relative paths of the recipe count from there.
        teachers: the folder of the study's teachers.
        token: a file in the study's folder, there for as long as the command runs.
        software: versions by name, and what our own code is.
        path: folders that modules were found in.
    """

    folder: Path
    teachers: Path
    token: Path
    software: Mapping[str, str]
    path: tuple[str, ...]

    def problem_here(self) -> str | None:
        """What of it is otherwise on this machine, in words; None where all is alike."""
        for seen in (self.folder, self.teachers, self.token):
            if not os.path.exists(seen):  # noqa: PTH110 - of one it may not look at: no
                place = seen.parent if seen is self.token else seen
                return (
                    f"it does not see {place}; the study's folder, its teachers' and the one that "
                    "the command is started in must be on storage that all machines share"
                )
        here = software()
        for name, wanted in self.software.items():
            if here[name] != wanted:
                return f"{name} is {here[name]} there, {wanted} here; install the same everywhere"
        return None


@dataclass(frozen=True)
class WorkOrder:
    """What a worker is asked to do.

    Attributes:
        key: the word by which Dask and we know it.
        task: a pickled `pipeline.study.tasks.Task`, for the process alone.
        threads: of its arithmetic.
        log: takes what its libraries print.
        log_level: of the log lines that somebody wants.
        topic: where Dask takes what is told.
        around: what must be alike.
    """

    key: str
    task: bytes
    threads: int
    log: Path
    log_level: int
    topic: str
    around: Surroundings


@dataclass(frozen=True)
class WorkEnd:
    """What became of an order.

    Attributes:
        problem: why it could not be begun.
        failed: what the task's process told of its failure: message, exit code and traceback.
        code: the process' exit code, below zero the signal that ended it.
    """

    problem: str | None = None
    failed: tuple[str, int, str] | None = None
    code: int | None = None


def software() -> dict[str, str]:
    """What figures depend on, by name."""
    return {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        **{name: _version(name) for name in _LIBRARIES},
        "the code of edge-compress": _code(),
    }


def look_around(around: Surroundings) -> str | None:
    """What is not on this machine as it must be; see `Surroundings.problem_here`."""
    return around.problem_here()


def carry_out_order(order: WorkOrder) -> WorkEnd:
    """Have a process work on a task, tell what it tells, and see to it that it ends."""
    from distributed import get_worker  # noqa: PLC0415 - only in a worker of Dask

    worker = get_worker()
    problem = order.around.problem_here()
    if problem:
        return WorkEnd(problem=problem)
    with _gpus(worker).one() as gpu:
        return _Process(worker, order, gpu).attend()


class _Process:
    """A task's process, as the worker that started it sees it."""

    def __init__(self, worker: Any, order: WorkOrder, gpu: str | None) -> None:
        self._worker, self._order, self._has_ended = worker, order, False
        self._connection, theirs = Pipe()
        order.log.parent.mkdir(parents=True, exist_ok=True)
        with order.log.open("w", encoding="utf-8") as log, theirs:
            self._process = subprocess.Popen(
                # -P: modules are not to be found in the folder that it happens to run in.
                [sys.executable, "-P", "-m", "pipeline.study.one_task", str(theirs.fileno())],
                cwd=order.around.folder,
                env=_environment(order.threads, gpu),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
            )

    def attend(self) -> WorkEnd:
        """Hand over the task, and pass on what is told until the process ends."""
        failed = None
        self._tell(STARTED, f"process {self._process.pid} of {self._worker.address}")
        try:
            with suppress(BrokenPipeError):  # it is gone: its exit code says how
                self._connection.send((list(self._order.around.path), self._order.log_level))
                self._connection.send_bytes(self._order.task)
            for name, arguments in self._messages():
                if name == FAILED:
                    failed = arguments
                elif name == LOG:
                    self._tell(LOG, _plain_values(*arguments))
                else:
                    self._tell(name, *arguments)
        finally:
            if not self._has_ended:
                self._process.kill()
            code = self._process.wait()
            self._connection.close()
        return WorkEnd(failed=failed, code=code)

    def _messages(self) -> Iterator[tuple[str, Any]]:
        while self._is_wanted():
            if self._connection.poll(_LOOK_EVERY_S):
                try:
                    yield self._connection.recv()
                except (EOFError, ConnectionResetError):
                    self._has_ended = True
                    return

    def _is_wanted(self) -> bool:
        """Whether the scheduler still waits for it: not when whoever asked for it is gone, has
        given it up, or when the worker has lost the scheduler."""
        state = self._worker.state.tasks.get(self._order.key)
        is_member = self._worker.status.name in {"running", "paused", "closing_gracefully"}
        return is_member and state is not None and state.state in {"executing", "long-running"}

    def _tell(self, name: str, *arguments: Any) -> None:
        told = json.dumps([self._order.key, name, arguments], default=float)
        self._worker.log_event(self._order.topic, told)


class _Gpus:
    """Hands out a worker's GPUs, each to one task at a time.

    Args:
        names: as CUDA knows them; of one GPU alone nothing has to be said.
    """

    def __init__(self, names: list[str]) -> None:
        self._free, self._lock = names, threading.Lock()

    @contextmanager
    def one(self) -> Iterator[str | None]:
        """A GPU that no other task has; None where there is no choice."""
        with self._lock:
            name = self._free.pop(0) if self._free else None
        try:
            yield name
        finally:
            if name is not None:
                with self._lock:
                    self._free.append(name)


_of_workers: dict[str, _Gpus] = {}
_MEETING = threading.Lock()


def _gpus(worker: Any) -> _Gpus:
    """Those of a worker; there may be several workers in a process."""
    count = int(worker.state.total_resources.get("GPU", 0))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(number) for number in range(count)]
    with _MEETING:
        return _of_workers.setdefault(worker.address, _Gpus(names[:count] if count > 1 else []))


def _environment(threads: int, gpu: str | None) -> dict[str, str]:
    """That of a task's process: the worker's, but for what Dask set for processes of its own."""
    import dask  # noqa: PLC0415 - only in a worker of Dask

    of_dask = dask.config.get("distributed.nanny.pre-spawn-environ", {})
    kept = {key: value for key, value in os.environ.items() if value != str(of_dask.get(key))}
    chosen = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
    return {**kept, **arithmetic_environment(threads), **chosen}


def _plain_values(record: logging.LogRecord) -> dict[str, Any]:
    """A log record as JSON values, from which logging makes one again."""
    return {key: value for key, value in record.__dict__.items() if isinstance(value, _PLAIN)}


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def _code() -> str:
    """What the files of our packages say, in one short word."""
    root, digest = Path(foundation.__file__).parents[1], hashlib.sha256()
    for package in PACKAGES:
        for file in sorted((root / package).rglob("*.py")):
            digest.update(file.relative_to(root).as_posix().encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
