"""A process at the end of a command: JSON lines in and out, and a clear word if it dies."""

from __future__ import annotations

import contextlib
import json
import logging
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy_targets.device.jobs import EngineJob, ServerJob
from deploy_targets.device.messages import Message
from deploy_targets.hosts._standard_error import StandardError
from deploy_targets.hosts.answers import STDERR
from foundation.documents import parse_json
from foundation.errors import HostError
from foundation.records import as_dict
from foundation.words import without_password

logger = logging.getLogger(__name__)

Why = Callable[[int, str, bool], str | None]

_FINAL = {"result", "started", "profiled", "sustained", "error"}
_SECONDS_TO_LEAVE = 10
# What it wrote before it sent the error is in the pipe already; a session goes on after it.
_SECONDS_AFTER_AN_ERROR = 0.3

# What a device may say: no honest one comes near it. A line is half a second's samples at most.
LONGEST_LINE = 32 << 20
_MOST_BYTES, _MOST_LINES = 1 << 30, 1 << 20
# A slow board may take its time for a large network, or for the images between two messages.
SILENCE_S = 3600.0


class DeviceProcess:
    """A worker or server, here or at the other end of a transport. Closing it leaves nothing.

    Args:
        command: starts it, here or through a transport.
        host: name for messages to the user.
        environment: of the command; None for our own.
        why: a transport's own words for its end: given exit code, standard error and whether there
            was a message before; None where it has none.

    Raises:
        HostError: when it cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        host: str,
        environment: Mapping[str, str] | None = None,
        why: Why | None = None,
    ) -> None:
        self._host, self._why, self._heard = host, why, False
        self._bytes = self._lines = 0
        logger.debug("%s: starting %s", without_password(host), shlex.join(command))
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
            )
        except OSError as error:
            raise HostError(
                f"{host}: cannot start {command[0]} ({error.strerror}); check that it is there"
            ) from error
        assert self._process.stderr is not None
        self._errors = StandardError(self._process.stderr)

    def send(self, record: Any) -> None:
        """Write a record as one line. That the process is gone shows when it is listened to."""
        plain = record if isinstance(record, dict) else as_dict(record)
        self.send_bytes(json.dumps(plain).encode() + b"\n")

    def send_bytes(self, content: bytes) -> None:
        """Write content as it is."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(content)
            self._process.stdin.flush()

    def end_input(self) -> None:
        """Say that nothing more will be sent."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def receive(self, seconds: float = SILENCE_S) -> Message:
        """The next message.

        Args:
            seconds: to wait for it at most; then the process is killed.

        Raises:
            HostError: when the process has ended, is too late, writes something else or never ends.
        """
        assert self._process.stdout is not None
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._process.kill()

        with _alarm(seconds, give_up):
            line = self._process.stdout.readline(LONGEST_LINE)
        if late.is_set():
            raise self._failure(
                f"the measuring process did not answer within {seconds:.0f} s; "
                "check what else runs there, or give it more time"
            )
        if not line:
            raise self._failure(self._reason(self._process.wait()))
        self._bytes, self._lines = self._bytes + len(line), self._lines + 1
        if len(line) >= LONGEST_LINE or self._bytes > _MOST_BYTES or self._lines > _MOST_LINES:
            raise self._failure(
                "the measuring process says more than one that measures "
                f"({self._bytes >> 20} MiB in {self._lines:,} lines); check what answers there"
            )
        message = _parse(line.decode(errors="replace"))
        if message is None:
            raise self._failure(
                "expected a message of the measuring process, but got "
                f"{line.decode(errors='replace').strip()[:200]!r}; check that nothing prints at "
                "login there"
            )
        self._heard = True
        if message["kind"] == "error":
            logger.debug("%s: answered with an error: %s", self._host, message)
            # Whatever it says of that itself.
            message[STDERR] = self._errors.text(_SECONDS_AFTER_AN_ERROR)
        return message

    def _failure(self, reason: str) -> HostError:
        error = HostError(f"{self._host}: {reason}")
        error.process_output = self._errors.text()
        return error

    def _reason(self, code: int) -> str:
        stderr = self._errors.text()
        reason = self._why(code, stderr, self._heard) if self._why else None
        return reason or (
            f"the measuring process {_end(code)} before it had a result{_last_words(stderr)}"
        )

    def leave(self) -> None:
        """Let it end by itself, for a while."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_SECONDS_TO_LEAVE)

    def close(self) -> None:
        """Kill it, if it still lives, and wait until it is gone."""
        self._process.kill()
        code = self._process.wait()
        logger.debug(
            "%s: process %d ended with %d after %d messages, %d bytes",
            self._host, self._process.pid, code, self._lines, self._bytes,
        )  # fmt: skip
        self.end_input()
        assert self._process.stdout is not None
        self._process.stdout.close()


def stream_job(
    command: Sequence[str], job: EngineJob, host: str, environment: Mapping[str, str] | None = None
) -> Iterator[Message]:
    """Run a worker as `stream_from` does.

    Args:
        command: starts the worker, here or through a transport.
        job: with the paths that the worker sees.
        host: name for messages to the user.
        environment: of the command; None for our own.

    Raises:
        HostError: when it cannot be started, writes something else or ends without a last message.
    """
    yield from stream_from(DeviceProcess(command, host, environment), job)


def stream_from(
    process: DeviceProcess, job: EngineJob, *, tethered: bool = False
) -> Iterator[Message]:
    """Give a worker its job and yield its messages; closing the iterator kills it.

    Args:
        process: the worker.
        job: with the paths that the worker sees.
        tethered: whether it is to end with its input, which then stays open as long as we listen.

    Raises:
        HostError: when it writes something else or ends without a last message.
    """
    with contextlib.closing(process):
        process.send(job)
        if not tethered:
            process.end_input()
        while True:
            message = process.receive()
            yield message
            if message["kind"] in _FINAL:
                process.end_input()
                process.leave()
                return


@contextlib.contextmanager
def serve_job(
    command: Sequence[str], job: ServerJob, host: str, environment: Mapping[str, str] | None = None
) -> Iterator[DeviceProcess]:
    """Start a server and give it its job; leaving the context ends it.

    Args:
        command: starts the server, here or through a transport.
        job: with the paths that the server sees.
        host: name for messages to the user.
        environment: of the command; None for our own.

    Raises:
        HostError: when it cannot be started.
    """
    with serve_from(DeviceProcess(command, server_name(host, job), environment), job) as process:
        yield process


@contextlib.contextmanager
def serve_from(process: DeviceProcess, job: ServerJob) -> Iterator[DeviceProcess]:
    """Give a server its job; leaving the context ends it."""
    with contextlib.closing(process):
        process.send(job)
        yield process


def server_name(host: str, job: ServerJob) -> str:
    """Several run at once: a message says which of them it was."""
    return f"{host} ({Path(job.bundle).name})"


@contextlib.contextmanager
def _alarm(seconds: float, ring: Callable[[], None]) -> Iterator[None]:
    timer = threading.Timer(seconds, ring)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _parse(line: str) -> Message | None:
    try:
        message = parse_json(line)
    except ValueError:
        return None
    is_message = isinstance(message, dict) and isinstance(message.get("kind"), str)
    return message if is_message else None


def _end(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = ", perhaps for want of memory," if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"


def _last_words(stderr: str) -> str:
    last = next((line.strip() for line in reversed(stderr.split("\n")) if line.strip()), None)
    return f"; its last words: {last[:300]}" if last else "; it said nothing"
