"""command:PROGRAM ARGUMENTS as teacher: a program that answers batches of pictures.

It is started once. Its standard input brings one array after the other in NumPy's .npy form, uint8
pixels (N, H, W, C), red, green and blue from 0 to 255; for each it writes one to its standard
output, (N, classes), logits or probabilities, and flushes it. It ends when its input does.
"""

from __future__ import annotations

import hashlib
import io
import os
import select
import shlex
import shutil
import subprocess
import tempfile
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from foundation.bundle import Preprocessing
from foundation.errors import ModelMismatchError, UnknownNameError
from foundation.files import sha256_of
from pipeline.models.teachers import TEACHERS, TeacherKind, TeacherRequest
from pipeline.models.teachers.asking import AskedTeacher, pixels_of

PATIENCE_S = 600.0
"""How long a program may think about one batch."""

_CHUNK = 1 << 20


class CommandTeacher(AskedTeacher):
    """A program that answers pictures, started when it is first asked.

    Args:
        command: it and its arguments, as a shell would read them.
        preprocessing: by which the pictures are normalised that it is to see unnormalised.
        patience: seconds that it may think about a batch.
    """

    def __init__(
        self, command: str, preprocessing: Preprocessing, patience: float = PATIENCE_S
    ) -> None:
        words = shlex.split(command)
        super().__init__(command, _identity(words))
        self._words, self._preprocessing, self._patience = words, preprocessing, patience
        self._running: _Conversation | None = None

    def answer(self, images: Tensor) -> Tensor:
        if self._running is None:
            self._running = _Conversation(self._words, self._patience)
            weakref.finalize(self, self._running.end)
        pixels = pixels_of(images, self._preprocessing).cpu().numpy()
        answers = self._running.ask(pixels)
        return torch.from_numpy(np.ascontiguousarray(answers, np.float32)).to(images.device)


class _Conversation:
    """A program that runs, and what is said to it and by it."""

    def __init__(self, words: list[str], patience: float) -> None:
        self._command, self._patience = shlex.join(words), patience
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the program
        try:
            self._process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._complaints
            )
        except OSError as error:
            raise ModelMismatchError(
                f"the teacher {self._command} cannot be started: {error.strerror}; check "
                "teacher.model"
            ) from error

    def ask(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What it answers, shape (N, classes)."""
        assert self._process.stdin is not None and self._process.stdout is not None
        message = io.BytesIO()
        npy.write_array(message, pixels, allow_pickle=False)
        deadline = time.monotonic() + self._patience
        try:
            _send(self._process.stdin, message.getbuffer(), deadline)
            answers = npy.read_array(_Reader(self._process.stdout, deadline), allow_pickle=False)
            return np.asarray(answers, np.float32)
        except TimeoutError as error:
            raise self._error(
                f"did not answer {len(pixels)} images in {self._patience:g} s; does it flush its "
                "output?"
            ) from error
        except (BrokenPipeError, EOFError) as error:
            self._process.wait()
            raise self._error(
                f"ended with exit code {self._process.returncode} in place of an answer"
            ) from error
        except (ValueError, TypeError) as error:
            words = str(error).partition("\n")[0]
            raise self._error(
                f"answered with something that is no .npy array of numbers ({words}); print "
                "nothing else on its standard output"
            ) from error

    def end(self) -> None:
        """End it: by the end of its input, or else by force."""
        assert self._process.stdin is not None and self._process.stdout is not None
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # it has gone before
                pipe.close()
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._complaints.close()

    def _error(self, what: str) -> ModelMismatchError:
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        last = f"; its last line: {lines[-1][:300]}" if lines else ""
        return ModelMismatchError(f"the teacher {self._command} {what}{last}")


def _send(pipe: IO[bytes], message: memoryview, deadline: float) -> None:
    """Write to a pipe whose reader may be busy.

    Raises:
        TimeoutError: when it does not read on in time.
        BrokenPipeError: when it has ended.
    """
    descriptor = pipe.fileno()
    os.set_blocking(descriptor, False)
    while message:
        _wait([], [descriptor], deadline)
        message = message[os.write(descriptor, message[:_CHUNK]) :]


class _Reader:
    """The reading end of a pipe, for NumPy, which takes real files for files that can be sought."""

    def __init__(self, pipe: IO[bytes], deadline: float) -> None:
        self._descriptor, self._deadline = pipe.fileno(), deadline

    def read(self, count: int = _CHUNK, /) -> bytes:
        """At most so many bytes, as many as there are.

        Raises:
            TimeoutError: when nothing comes in time.
            EOFError: when nothing will.
        """
        _wait([self._descriptor], [], self._deadline)
        found = os.read(self._descriptor, min(count, _CHUNK))
        if not found:
            raise EOFError
        return found


def _wait(readers: list[int], writers: list[int], deadline: float) -> None:
    remaining = max(deadline - time.monotonic(), 0)
    if not any(select.select(readers, writers, [], remaining)):
        raise TimeoutError


def _identity(words: list[str]) -> bytes:
    """The command, and the content of the files that it names."""
    digest = hashlib.sha256(shlex.join(words).encode())
    for word in words[1:]:
        if Path(word).is_file():
            digest.update(sha256_of(Path(word)).encode())
    return digest.digest()


class CommandKind(TeacherKind):
    """A program of the user's."""

    def check(self, argument: str, where: str) -> None:
        try:
            words = shlex.split(argument)
        except ValueError as error:
            raise UnknownNameError(f"{where}: {argument!r} is no command: {error}") from error
        if not words or shutil.which(words[0]) is None:
            raise UnknownNameError(
                f"{where}: no program {words[0] if words else argument!r} can be found; write "
                "command:PROGRAM ARGUMENTS"
            )

    def open(self, request: TeacherRequest) -> CommandTeacher:
        return CommandTeacher(request.argument, request.preprocessing)

    def code(self, argument: str) -> str | None:
        return argument


TEACHERS.register("command")(CommandKind())
