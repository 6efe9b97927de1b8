"""The images that two bundles answer otherwise, some of them with their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foundation.answers import Answers
from foundation.errors import CorruptFileError
from pipeline.data.facts import read_labels
from pipeline.report.answers import Flip, flips_between
from pipeline.report.details import ReportDetails
from pipeline.report.thumbnails import thumbnails
from pipeline.shown.pages.plots import DataTable

_MOST_SHOWN = 24


@dataclass(frozen=True)
class FlipShown:
    """An image that two bundles answer otherwise, with words for its classes."""

    flip: Flip
    picture: str
    label: str
    before: str
    after: str


@dataclass(frozen=True)
class Flips:
    """The images that two bundles answer otherwise: how many of each kind, and some of them."""

    before: str
    after: str
    n: int
    lost: int
    won: int
    wrong: int
    shown: list[FlipShown]
    table: DataTable


def flips_of(pair: tuple[str, str], details: ReportDetails, names: Sequence[str]) -> Flips:
    """Where the second bundle of a pair answers otherwise than the first.

    Raises:
        CorruptFileError: when the test images cannot be read, or are others.
    """
    before, after = (details.answers[name] for name in pair)
    flips = flips_between(before, after)
    kinds = [flip.kind for flip in flips]
    heads = ["image", "shows", pair[0], "sure", pair[1], "sure", "so it was"]
    table = DataTable(
        heads,
        [
            [
                flip.image, names[flip.label], names[flip.before], flip.confidence_before,
                names[flip.after], flip.confidence_after, flip.kind,
            ]
            for flip in flips
        ],
    )  # fmt: skip
    return Flips(
        *pair, len(before.labels), kinds.count("lost"), kinds.count("won"), kinds.count("wrong"),
        _pictures(flips[:_MOST_SHOWN], details, before, names), table,
    )  # fmt: skip


def _pictures(
    flips: Sequence[Flip], details: ReportDetails, answers: Answers, names: Sequence[str]
) -> list[FlipShown]:
    """Those with their images; none where the images are not those that were asked about."""
    if details.images is None or not flips:
        return []
    if not np.array_equal(read_labels(details.images), answers.labels):
        raise CorruptFileError(
            f"{details.images}: has other labels than the bundles were judged on; run "
            "`compress export` again"
        )
    pictures = thumbnails(details.images, [flip.image for flip in flips])
    return [
        FlipShown(flip, picture, names[flip.label], names[flip.before], names[flip.after])
        for flip, picture in zip(flips, pictures, strict=True)
    ]
