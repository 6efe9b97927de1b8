"""Images that are there twice: among training and test images, or in two classes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.data.images import ArrayImages

Named = Callable[[int], str]


def repeats(
    train: ArrayImages, test: ArrayImages, train_name: Named, test_name: Named
) -> Iterator[str]:
    """A line where test images are among the training images, and where classes share an image.

    Args:
        train, test: the images, at one size.
        train_name, test_name: what a message calls an image.
    """
    learnt, asked = _digests(train), _digests(test)
    order = np.argsort(learnt, kind="stable")
    leaked = np.flatnonzero(np.isin(asked, learnt))
    if len(leaked):
        twin = order[np.searchsorted(learnt[order], asked[leaked[0]])]
        yield (
            f"{len(leaked)} of {len(asked)} test images are also training images, pixel for pixel "
            f"({test_name(int(leaked[0]))} is {train_name(int(twin))}): what is measured on them "
            "was learnt by heart"
        )
    same = learnt[order][1:] == learnt[order][:-1]
    torn = np.flatnonzero(same & (train.labels[order][1:] != train.labels[order][:-1]))
    if len(torn):
        one, other = order[torn[0]], order[torn[0] + 1]
        yield (
            f"{len(torn)} training images are in two classes, pixel for pixel "
            f"({train_name(int(one))} is {train_name(int(other))})"
        )


def _digests(images: ArrayImages) -> NDArray[np.uint64]:
    """A number for each image that others do not have: shape (N,)."""
    digests = (hashlib.blake2b(image, digest_size=8).digest() for image in images.pixels)
    return np.frombuffer(b"".join(digests), np.uint64)
