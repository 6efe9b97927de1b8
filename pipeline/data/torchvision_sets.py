"""Datasets that torchvision fetches and reads: small ones that fit in memory."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from foundation.errors import CorruptFileError, MissingFileError
from foundation.files import no_space_named, user_path
from pipeline.data import Dataset
from pipeline.data.images import ArrayImages, ImageSet

_PATIENCE = 20.0  # seconds without an answer


def load_from_torchvision(reader: Any, argument: str, files: Path, by_hand: str) -> Dataset:
    """A dataset that torchvision reads, fetched first where its files are not there.

    Args:
        reader: a class of torchvision.datasets with `data`, `targets` and `classes`, that checks
            what it unpickles.
        argument: folder that holds the dataset's own folder; data/ if empty.
        files: the dataset's own folder, relative to that.
        by_hand: what to put there where there is no network.

    Raises:
        MissingFileError: when the files are not there and cannot be fetched.
        CorruptFileError: when they are not what was published.
    """
    root = user_path(argument or "data")
    train, test = (_read(reader, root, part, root / files, by_hand) for part in (True, False))
    return Dataset(_images(train), _images(test), [str(name) for name in train.classes])


def _read(reader: Any, root: Path, train: bool, files: Path, by_hand: str) -> Any:
    try:
        with no_space_named(root), _patience():
            return reader(str(root), train=train, download=True)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if files.is_dir() and any(files.iterdir()):
            raise CorruptFileError(
                f"{files}: not the files that were published, and they could not be fetched anew "
                f"({reason}); delete the folder and {by_hand}"
            ) from error
        raise MissingFileError(
            f"{files}: not there, and it could not be fetched ({reason}); {by_hand}"
        ) from error
    except Exception as error:  # a file that is not what it should be fails in ways of its own
        raise CorruptFileError(
            f"{files}: not the files that were published ({type(error).__name__}); delete the "
            f"folder and {by_hand}"
        ) from error


def _images(part: Any) -> ImageSet:
    pixels, labels = np.asarray(part.data), np.asarray(part.targets, np.int64)
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    return ArrayImages(pixels, labels)


@contextmanager
def _patience() -> Iterator[None]:
    """torchvision waits for ever for a server that does not answer."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
