"""Work on a model that is not ours, in a process of its own that can be ended.

An ONNX file is a program: it may loop 2**62 times, or ask for more memory than there is, and a
runtime that follows it hears no Ctrl-C. So whoever has to open such a file names a function that
does, and what it may take; here it is called in another process, with limits of the operating
system on its memory and its time.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from foundation import errors
from foundation.errors import CompressError

logger = logging.getLogger(__name__)

_SOURCES = Path(__file__).resolve().parents[1]
_GIB = 1 << 30
_MOST_LOGGED = 1 << 12
# An orphan ends by itself: nobody waits for it with a clock any more.
_CPU_PER_SECOND = 16


@dataclass(frozen=True)
class ProcessLimits:
    """What work may take.

    Attributes:
        seconds: on the clock.
        memory: bytes of address space.
    """

    seconds: float
    memory: int

    @classmethod
    def for_model(cls, size: int) -> ProcessLimits:
        """For a model of so many bytes: two minutes and two seconds a megabyte; 8 GiB and 16 times
        its size, but no more than nine tenths of this machine's memory (and 3 GiB at least, for a
        runtime alone takes one)."""
        memory = 8 * _GIB + 16 * size
        return cls(120 + 2 * size / 1e6, max(min(memory, _most_memory()), 3 * _GIB))


def run_confined(
    module: str, job: dict[str, Any], limits: ProcessLimits, subject: str, kind: type[CompressError]
) -> dict[str, Any]:
    """Call `module.answer(job)` in a process of its own; leaving it early ends that.

    Args:
        module: whose function `answer` takes the job and returns its answer.
        job: plain JSON values.
        limits: what it may take.
        subject: what is worked on, for messages.
        kind: the error where it takes more than that, or the process dies.

    Raises:
        CompressError: of the kind that `answer` raised, or `kind`.
    """
    arguments = [module, str(limits.memory), str(int(limits.seconds * _CPU_PER_SECOND))]
    command = [sys.executable, "-P", "-m", "foundation.confinement", *arguments]
    logger.debug("%s: starting %s, %s", subject, shlex.join(command), limits)
    with _standard_error() as written:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=written or subprocess.DEVNULL,
            env=_environment(),
        )
        try:
            reply, _ = process.communicate(json.dumps(job).encode(), timeout=limits.seconds)
        except subprocess.TimeoutExpired:
            raise kind(
                f"{subject}: did not come to an end within {limits.seconds:.0f} seconds, which is "
                "ample for a model of its size; do not use it"
            ) from None
        finally:
            process.kill()
            process.wait()
            _log_end(subject, process.returncode, written)
    return _content(reply, process.returncode, limits, subject, kind)


def _standard_error() -> contextlib.AbstractContextManager[IO[bytes] | None]:
    """Takes what the process writes to standard error, where a log wants to have it."""
    if logger.isEnabledFor(logging.DEBUG):
        with contextlib.suppress(OSError):  # no room for it
            return tempfile.TemporaryFile()
    return contextlib.nullcontext()


def _log_end(subject: str, code: int, written: IO[bytes] | None) -> None:
    if written is None:
        return
    size = written.seek(0, os.SEEK_END)
    written.seek(max(size - _MOST_LOGGED, 0))
    words = written.read().decode(errors="replace")
    logger.debug("%s: its process ended with %d and said: %s", subject, code, words)


def _content(
    reply: bytes, code: int, limits: ProcessLimits, subject: str, kind: type[CompressError]
) -> dict[str, Any]:
    try:
        message = json.loads(reply)
        if "answer" in message:
            return dict(message["answer"])
        raised, text = message["error"], str(message["message"])
    except (ValueError, KeyError, TypeError):
        raise kind(f"{subject}: {_end(code, limits)}; do not use it") from None
    if raised == "MemoryError":
        raise kind(f"{subject}: asks for more than {limits.memory / _GIB:.0f} GiB of memory")
    error: CompressError = getattr(errors, raised, kind)(text)
    error.process_output = str(message.get("traceback", ""))
    raise error


def _end(code: int, limits: ProcessLimits) -> str:
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return (
        f"the process that opened it died ({name}), perhaps for want of more than "
        f"{limits.memory / _GIB:.0f} GiB of memory"
    )


def _environment() -> dict[str, str]:
    """Our own, with these sources findable even where they are not installed."""
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*([path] if path else []), str(_SOURCES)])}


def _most_memory() -> int:
    try:
        return int(0.9 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # not told here
        return 1 << 62


def _confine(memory: int, seconds: int) -> None:
    try:
        import resource  # noqa: PLC0415
    except ImportError:  # not a Unix: then the time alone is limited
        return
    for resource_kind, requested in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, seconds)):
        _, hard_limit = resource.getrlimit(resource_kind)
        limit = requested if hard_limit == resource.RLIM_INFINITY else min(requested, hard_limit)
        resource.setrlimit(resource_kind, (limit, hard_limit))


def _reply(answer: Callable[[dict[str, Any]], dict[str, Any]], job: dict[str, Any]) -> Any:
    try:
        return {"answer": answer(job)}
    except CompressError as error:
        name, trace = type(error).__name__, traceback.format_exc()
        return {"error": name, "message": str(error), "traceback": trace}
    except MemoryError:
        return {"error": "MemoryError", "message": ""}


def _main(module: str, memory: str, seconds: str) -> None:
    # Libraries print; what is read at the other end is the reply alone.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    job = json.load(sys.stdin)
    _confine(int(memory), int(seconds))
    out.write(json.dumps(_reply(importlib.import_module(module).answer, job)))
    out.flush()
    os._exit(0)  # a runtime's threads may not want to


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _main(*sys.argv[1:])
