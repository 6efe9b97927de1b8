"""Log lines of this program: who wants them, and where to. On import, nothing is set up.

Every module has a logger of its own, `logging.getLogger(__name__)`. A program that imports these
packages decides by itself what becomes of them; the command line calls `start`. Whatever becomes
of a line, the work goes on: a full disk or a reader that has gone costs lines, and no more.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

from foundation.errors import UsageError
from foundation.words import one_line, plain, without_password

PACKAGES = ("foundation", "smskd", "export", "deploy_targets", "pipeline")

_URL = re.compile(r"\S*://\S+")
_NEVER = logging.CRITICAL + 1
# By how often -v was said: the least level of our lines and of everybody else's.
_LEVELS = (
    (_NEVER, _NEVER),
    (logging.INFO, logging.WARNING),
    (logging.DEBUG, logging.INFO),
    (logging.DEBUG, logging.DEBUG),
)
# A file is for whoever looks for a fault later: all of ours, and what others find worth telling.
_FILE_LEVELS = (logging.DEBUG, logging.INFO)


class _Wishes:
    """What was said of this process."""

    quiet = False


def keep_quiet(package: str) -> None:
    """What a library owes to programs that set up no logging: nothing of it is printed then."""
    logging.getLogger(package).addHandler(logging.NullHandler())


def without_secrets(text: str) -> str:
    """The same without the passwords of its URLs, and without what a terminal would obey."""
    return _URL.sub(lambda url: without_password(url[0]), plain(text))


def start(verbosity: int, file: Path | None) -> None:
    """From now on log lines go where they are wanted; called again, there instead.

    Args:
        verbosity: on standard error: 0 nothing, 1 our information, 2 all of ours and others'
            information, 3 everything.
        file: is added to; None for none.

    Raises:
        UsageError: when the file cannot be written.
    """
    levels = _LEVELS[min(verbosity, len(_LEVELS) - 1)]
    handlers: list[_Handler] = []
    if file is not None:
        foreign_level = min(_FILE_LEVELS[1], levels[1])
        handlers.append(_ToFile(_opened(file), str(file), (_FILE_LEVELS[0], foreign_level)))
    if verbosity > 0:
        handlers.append(_ToStandardError(levels))
    stop()
    for handler in handlers:
        logging.root.addHandler(handler)
    _set_levels(handlers)


def be_quiet(quiet: bool) -> None:
    """Say whether progress and remarks are unwanted from now on, as `is_quiet` then tells."""
    _Wishes.quiet = quiet


def is_quiet() -> bool:
    """Whether nobody wants progress and remarks: warnings, errors and results alone."""
    return _Wishes.quiet


def stop() -> None:
    """Take away what `start` set up."""
    for handler in _handlers():
        logging.root.removeHandler(handler)
        handler.close()
    _set_levels([])


def pass_on(send: Callable[[logging.LogRecord], None], level: int) -> None:
    """In a process of ours that another started: have that one deal with our log lines.

    Args:
        send: takes each record, whose arguments are part of its message already.
        level: the least that the other wants of ours; see `needed_level`.
    """
    if level < _NEVER:
        handler = _Sender(send, (level, _NEVER))
        logging.root.addHandler(handler)
        _set_levels([handler])


def needed_level() -> int:
    """The least level of our lines for which there is a place; beyond all levels if there is none.

    For `pass_on` in a process that is about to be started.
    """
    return min((handler.levels[0] for handler in _handlers()), default=_NEVER)


def is_ours(record: logging.LogRecord) -> bool:
    """Whether a line is of one of our packages."""
    return record.name.partition(".")[0] in PACKAGES


def _handlers() -> list[_Handler]:
    """Those that `start` and `pass_on` have set up."""
    return [handler for handler in logging.root.handlers if isinstance(handler, _Handler)]


def _set_levels(handlers: list[_Handler]) -> None:
    """Have loggers make the lines that a handler wants, and no others."""
    own_level = min((handler.levels[0] for handler in handlers), default=_NEVER)
    foreign_level = min((handler.levels[1] for handler in handlers), default=_NEVER)
    logging.root.setLevel(min(foreign_level, logging.WARNING))
    for package in PACKAGES:
        logging.getLogger(package).setLevel(own_level if own_level < _NEVER else logging.NOTSET)


def _opened(file: Path) -> int:
    try:
        return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    except FileNotFoundError as error:
        reason = "there is no such folder; make it, or choose another file"
        raise UsageError(f"--log-file {file}: {reason}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"--log-file {file}: {reason}; choose another file") from error


class _Handler(logging.Handler):
    """Takes lines of ours and of others from a level on each; what goes wrong is nobody's matter.

    Attributes:
        levels: the least of ours, and of others.
    """

    def __init__(self, levels: tuple[int, int]) -> None:
        super().__init__()
        self.levels = levels

    def filter(self, record: logging.LogRecord) -> bool:
        least = self.levels[0 if is_ours(record) else 1]
        return record.levelno >= least and bool(super().filter(record))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say nothing: the standard library would print a traceback."""


class _Formatter(logging.Formatter):
    """Lines fit to be shown, whatever they quote."""

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        # A message is one line; what follows it is a traceback, which has its own.
        record.message = one_line(record.message)
        return super().formatMessage(record)


class _SinceStart(_Formatter):
    """Tells the seconds since the first line, which is what somebody who looks on wants to know."""

    _began = time.time()

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return f"[{record.created - self._began:8.2f} s] {super().formatMessage(record)}"


class _ToStandardError(_Handler):
    """Looks up the stream for each line: a live display puts its own in that place."""

    def __init__(self, levels: tuple[int, int]) -> None:
        super().__init__(levels)
        self.setFormatter(_SinceStart("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if sys.stderr is not None:
                sys.stderr.write(self.format(record) + "\n")
                sys.stderr.flush()
        except Exception:
            self.handleError(record)


class _ToFile(_Handler):
    """Each line is one write at the end of the file, so that several processes may share it."""

    def __init__(self, descriptor: int, name: str, levels: tuple[int, int]) -> None:
        super().__init__(levels)
        self._descriptor, self._name, self._is_whole = descriptor, name, True
        form = _Formatter(
            "%(asctime)s.%(msecs)03dZ %(process)d %(levelname)s %(name)s: %(message)s",
            datefmt="%Y-%m-%dT%H:%M:%S",
        )
        form.converter = time.gmtime
        self.setFormatter(form)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record) + "\n"
            os.write(self._descriptor, line.encode("utf-8", "backslashreplace"))
        except OSError as error:
            self._tell(error)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        super().close()

    def _tell(self, error: OSError) -> None:
        if self._is_whole and sys.stderr is not None:
            self._is_whole = False
            print(f"note: {self._name}: {error.strerror}; the log is not whole", file=sys.stderr)


class _Sender(_Handler):
    """Gives records to another process."""

    def __init__(self, send: Callable[[logging.LogRecord], None], levels: tuple[int, int]) -> None:
        super().__init__(levels)
        self._send = send
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._send(_portable(record))
        except Exception:
            self.handleError(record)


def _portable(record: logging.LogRecord) -> logging.LogRecord:
    """The same with nothing in it that another process could not read."""
    copy = logging.makeLogRecord(record.__dict__)
    if record.exc_info:
        copy.exc_text = logging.Formatter().formatException(record.exc_info)
    copy.msg, copy.args, copy.exc_info = record.getMessage(), None, None
    return copy
