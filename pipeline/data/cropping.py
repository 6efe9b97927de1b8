"""The crops that a network for photos learns from, cut from the original pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.data.draws import Purpose, numbers
from pipeline.data.framing import Framing, Window
from pipeline.data.images import Ids

_NARROWEST, _WIDEST = 3 / 4, 4 / 3
_TRIES = 10
GAP = 2
"""A JPEG that is decoded smaller is still so much larger than what is made of it: then an image is
within 1.5 of 255 of the original's, in the mean; as large as it, 3.5."""

Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class RandomCrop:
    """A box of random area, shape and place, brought to the image's size in one resampling.

    Drawn as torchvision's RandomResizedCrop draws it. A JPEG may be decoded at a fraction of its
    size where the box still has twice the pixels that are needed then, along both sides.

    Attributes:
        height, width, resize, antialias, pad_colour: see `pipeline.data.framing.Framing`.
        min_area: smallest area of the box, as a share of the picture's.
        ids: number of each sample in its dataset, by its place among those that are read at once.
        seed, view: as for `pipeline.data.augment.augmented`.
    """

    height: int
    width: int
    resize: str
    antialias: bool
    pad_colour: tuple[int, int, int]
    min_area: float
    ids: Ids
    seed: int
    view: int

    @classmethod
    def of(cls, framing: Framing, min_area: float, ids: Ids, seed: int, view: int) -> RandomCrop:
        """Crops that come out as another framing's images do: their size, their filter."""
        return cls(
            framing.height,
            framing.width,
            framing.resize,
            framing.antialias,
            framing.pad_colour,
            min_area,
            ids,
            seed,
            view,
        )

    def window(self, place: int, height: int, width: int) -> Window:
        """Where the image is taken of a picture of this height and width."""
        draws = numbers(self.seed, int(self.ids[place]), self.view, Purpose.CROP)
        left, top, right, bottom = drawn_box(draws, height, width, self.min_area)
        spare = min((bottom - top) // self.height, (right - left) // self.width)
        draft = max(1, spare // GAP)
        return Window((self.height, self.width), box=(left, top, right, bottom), draft=draft)


def drawn_box(draws: Iterator[float], height: int, width: int, min_area: float) -> Box:
    """Left, top, right and bottom of a box in a picture.

    Where ten boxes do not fit, it is the middle of the picture, of a shape that is allowed.
    """
    shortest, longest = math.log(_NARROWEST), math.log(_WIDEST)
    for _ in range(_TRIES):
        area = height * width * (min_area + (1 - min_area) * next(draws))
        aspect = math.exp(shortest + (longest - shortest) * next(draws))
        across, down = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        top, left = next(draws), next(draws)
        if 0 < across <= width and 0 < down <= height:
            return _box(
                int(top * (height - down + 1)), int(left * (width - across + 1)), down, across
            )
    down, across = height, width
    if width < _NARROWEST * height:
        down = round(width / _NARROWEST)
    elif width > _WIDEST * height:
        across = round(height * _WIDEST)
    return _box((height - down) // 2, (width - across) // 2, down, across)


def _box(top: int, left: int, height: int, width: int) -> Box:
    return left, top, left + width, top + height
