"""A measuring process at the end of a command: job in, messages out, a clear word if it dies."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

from deploy_targets.device.messages import Job, Message
from deploy_targets.records import as_dict
from foundation.errors import HostError

WORKER = "deploy_targets.device.worker"
_FINAL = {"result", "error"}
_SECONDS_TO_LEAVE = 10


def stream_job(
    command: Sequence[str], job: Job, host: str, environment: Mapping[str, str] | None = None
) -> Iterator[Message]:
    """Run a worker and yield its messages; closing the iterator kills it.

    Args:
        command: starts the worker, here or through a transport.
        job: with the paths that the worker sees.
        host: name for messages to the user.
        environment: of the command; None for our own.

    Raises:
        HostError: when it cannot be started, writes something else or ends without a last message.
    """
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                text=True,
                encoding="utf-8",
            )
        except OSError as error:
            raise HostError(
                f"{host}: cannot start {command[0]} ({error.strerror}); check that it is there"
            ) from error
        try:
            yield from _messages(process, job, host, errors)
        finally:
            process.kill()
            process.wait()


def _messages(
    process: subprocess.Popen[str], job: Job, host: str, errors: IO[bytes]
) -> Iterator[Message]:
    assert process.stdin is not None and process.stdout is not None
    # A process that is already gone shows as the end of its output.
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(as_dict(job)))
        process.stdin.close()
    for line in process.stdout:
        message = _parse(line, host)
        yield message
        if message["kind"] in _FINAL:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_SECONDS_TO_LEAVE)
            return
    raise HostError(
        f"{host}: the measuring process {_end(process.wait())} before it had a result"
        f"{_last_words(errors)}"
    )


def _parse(line: str, host: str) -> Message:
    try:
        message = json.loads(line)
    except json.JSONDecodeError:
        message = None
    if not isinstance(message, dict) or "kind" not in message:
        raise HostError(
            f"{host}: expected a message of the measuring process, but got {line.strip()[:200]!r}; "
            "check that nothing prints at login there"
        )
    return message


def _end(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = ", perhaps for want of memory," if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"


def _last_words(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), None)
    return f"; its last words: {last[:300]}" if last else "; it said nothing"
