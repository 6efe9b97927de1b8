"""What a process that failed on a device wrote to standard error, kept in the run folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from foundation.errors import CompressError, process_output_of
from foundation.files import check_inside, write_text
from foundation.words import plain
from pipeline.run_folder.folder import RunFolder

logger = logging.getLogger(__name__)

# What a person reads; of a flood, the end tells most.
_MOST_CHARACTERS = 1 << 16


@contextmanager
def process_output_kept(run: RunFolder, name: str) -> Iterator[None]:
    """Where the block fails and a process behind that wrote something, keep it and say where.

    Args:
        run: the run folder.
        name: of the file, RUN/logs/NAME.stderr.txt; it replaces an older one, which goes too when
            the block does well.

    Raises:
        CompressError: that of the block, with the file's path at the end of its message.
    """
    path = run.logs / f"{name}.stderr.txt"
    try:
        yield
    except CompressError as error:
        output = process_output_of(error)
        if not output.strip() or not _keep(run, path, output):
            raise
        error_with_path = type(error)(f"{error}; what it said is in {path}")
        raise error_with_path from error
    if not run.logs.is_symlink():
        with suppress(OSError):
            path.unlink(missing_ok=True)
            run.logs.rmdir()  # where nothing else is kept


def _keep(run: RunFolder, path: Path, output: str) -> bool:
    """Write it, unless a link leads elsewhere or the disk is full: the error stands without it."""
    try:
        check_inside(run.path)
        write_text(path, plain(output)[-_MOST_CHARACTERS:])
    except (CompressError, OSError) as trouble:
        logger.info("%s: what the process said could not be kept: %s", path, trouble)
        return False
    return True
