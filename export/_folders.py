"""Folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from foundation.files import no_space_named


@contextlib.contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that is gone afterwards; what a killed run left there goes first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder`; on success it takes the place of `folder`.

    If the body fails, `folder` is as it was before. If the process dies, nothing
    half-made stands at `folder`, and the next call clears away what was left beside it.

    Raises:
        NoSpaceError: when the disk is full.
    """
    previous = folder.with_name(f".{folder.name}.old")
    with no_space_named(folder):
        _recover(previous, folder)
        with scratch_folder(folder.with_name(f".{folder.name}.tmp")) as temporary:
            yield temporary
            # A folder cannot be renamed onto a full one, so the old one steps aside first.
            if folder.exists():
                folder.rename(previous)
            temporary.rename(folder)
            shutil.rmtree(previous, ignore_errors=True)


def _recover(previous: Path, folder: Path) -> None:
    """Finish the exchange that a killed run had begun."""
    if not previous.exists():
        return
    if folder.exists():
        shutil.rmtree(previous)
    else:
        previous.rename(folder)
