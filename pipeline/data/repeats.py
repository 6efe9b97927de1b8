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
    train_digests, test_digests = _digests(train), _digests(test)
    order = np.argsort(train_digests, kind="stable")
    in_both = np.flatnonzero(np.isin(test_digests, train_digests))
    if len(in_both):
        twin = order[np.searchsorted(train_digests[order], test_digests[in_both[0]])]
        yield (
            f"{len(in_both)} of {len(test_digests)} test images are also training images, pixel "
            f"for pixel ({test_name(int(in_both[0]))} is {train_name(int(twin))}): what is "
            "measured on them was learnt by heart"
        )
    same = train_digests[order][1:] == train_digests[order][:-1]
    in_two_classes = np.flatnonzero(same & (train.labels[order][1:] != train.labels[order][:-1]))
    if len(in_two_classes):
        first, second = order[in_two_classes[0]], order[in_two_classes[0] + 1]
        yield (
            f"{len(in_two_classes)} training images are in two classes, pixel for pixel "
            f"({train_name(int(first))} is {train_name(int(second))})"
        )


def _digests(images: ArrayImages) -> NDArray[np.uint64]:
    """A number for each image that others do not have: shape (N,)."""
    digests = (hashlib.blake2b(image, digest_size=8).digest() for image in images.pixels)
    return np.frombuffer(b"".join(digests), np.uint64)
