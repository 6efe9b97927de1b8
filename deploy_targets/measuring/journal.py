"""What a measuring process has sent, kept as it comes: a file of JSON lines beside the result.

The first line is the job, and when it was begun. Whoever is given the same job again goes on after
the last line; for another job the file is begun anew. A line that was cut short is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from deploy_targets.device.messages import Message
from foundation.bundle import AnyBundle
from foundation.documents import parse_json
from foundation.errors import CorruptFileError, MissingFileError
from foundation.files import no_space_named

# Of a process that was killed these say nothing any more.
_PASSING = frozenset({"progress", "error"})
# What a comparison keeps, which no process sends.
ROUNDS = "rounds"
_TAKES_TIME = frozenset({"timed", "counted", ROUNDS})


@dataclass
class Journal:
    """Messages of one job, those of earlier processes too.

    Attributes:
        path: of the file; None keeps them in memory alone.
        begun_at: when the first process of the job began: ISO 8601, UTC.
        messages: all that were kept, in order.
        job: what they are of.
    """

    path: Path | None
    begun_at: str
    messages: list[Message] = field(default_factory=list)
    job: dict[str, Any] = field(default_factory=dict)
    _file: IO[str] | None = None

    @classmethod
    def open(cls, path: Path | None, job: dict[str, Any]) -> Journal:
        """The journal of a job, with what is there of it.

        Raises:
            NoSpaceError: when the disk is full.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        if path is None:
            return cls(None, now)
        (head, *messages), length = _whole_lines(path)
        if not _is_of(head, job):
            head, messages, length = {"job": job, "begun_at": now}, [], 0
        journal = cls(path, head["begun_at"], messages, job)
        with no_space_named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # A link there leads elsewhere, and nothing of ours lies behind it.
            if path.is_symlink():
                path.unlink()
            # What is kept is never written again: to be killed meanwhile must not cost it.
            journal._file = path.open("a", encoding="utf-8")
            journal._file.truncate(length)
            if length == 0:
                journal._write([head])
        return journal

    def add(self, message: Message) -> None:
        """Keep a message, if it will mean something to another process.

        Raises:
            NoSpaceError: when the disk is full.
        """
        if message["kind"] in _PASSING:
            return
        self.messages.append(message)
        if self._file is not None and self.path is not None:
            with no_space_named(self.path):
                self._write([message])

    def begin_anew(self) -> None:
        """Forget all that was kept: it is not what this version's processes send.

        Raises:
            NoSpaceError: when the disk is full.
        """
        self.messages.clear()
        self.begun_at = datetime.now(UTC).isoformat(timespec="seconds")
        if self._file is not None and self.path is not None:
            with no_space_named(self.path):
                self._file.truncate(0)
                self._write([{"job": self.job, "begun_at": self.begun_at}])

    @contextmanager
    def of_unchanged(self, bundles: Sequence[AnyBundle]) -> Iterator[None]:
        """Make sure that bundles are at the end of the block what they were when they were opened.

        Of one that changed while it was measured nothing is kept: when it did, nobody knows.

        Raises:
            MissingFileError, CorruptFileError: when one is not, or a process said so.
        """
        try:
            yield
            for bundle in bundles:
                bundle.check_unchanged()
        except (MissingFileError, CorruptFileError):
            self.begin_anew()
            raise

    def close(self) -> None:
        """Let go of the file, which stays if there is something to go on with."""
        if self._file is None or self.path is None:
            return
        self._file.close()
        self._file = None
        if not any(message["kind"] in _TAKES_TIME for message in self.messages):
            self.path.unlink(missing_ok=True)

    def _write(self, lines: Sequence[Any]) -> None:
        assert self._file is not None
        self._file.writelines(json.dumps(line) + "\n" for line in lines)
        self._file.flush()


def _is_of(head: Any, job: dict[str, Any]) -> bool:
    """Whether a journal's first line is one, and that of the job."""
    if not isinstance(head, dict) or head.get("job") != job:
        return False
    try:
        datetime.fromisoformat(head.get("begun_at", ""))
    except (TypeError, ValueError):
        return False
    return True


def _whole_lines(path: Path) -> tuple[list[Any], int]:
    """The lines of a journal that were written to their end, of which the first is None where there
    is none, and how many bytes they are."""
    lines: list[Any] = []
    length = 0
    try:
        if path.is_symlink():
            return [None], length
        written = path.read_bytes().splitlines(keepends=True)
    except OSError:
        return [None], length
    for line in written:
        try:
            message = parse_json(line)
        except ValueError:
            break
        is_message = isinstance(message, dict) and isinstance(message.get("kind"), str)
        if not line.endswith(b"\n") or (lines and not is_message):
            break
        lines.append(message)
        length += len(line)
    return lines or [None], length
