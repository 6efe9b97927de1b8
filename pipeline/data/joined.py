"""Two sets of pictures as one: those with labels, and those without that are learned from too."""

from __future__ import annotations

import numpy as np

from pipeline.data.framing import Fit, Framing, Window
from pipeline.data.images import Framed, Ids, Images, ImageSet, Labels


class Joined:
    """The pictures of one set and, numbered after them, those of another.

    Args:
        first, second: the sets.
        fit: how images are taken of both unless another framing is asked for.
    """

    def __init__(self, first: ImageSet, second: ImageSet, fit: Fit) -> None:
        self._parts = Framed(first, fit), Framed(second, fit)
        self.labels: Labels = np.concatenate([first.labels, second.labels])

    def read(self, ids: Ids, framing: Framing | None = None) -> Images:
        first, second = self._parts
        count, ids = len(first.labels), np.asarray(ids)
        is_first = ids < count
        if is_first.all():
            return first.read(ids, framing)
        images = second.read(ids[~is_first] - count, _of_places(framing, ~is_first))
        if not is_first.any():
            return images
        joint = np.empty((len(ids), *images.shape[1:]), np.uint8)
        joint[~is_first] = images
        joint[is_first] = first.read(ids[is_first], _of_places(framing, is_first))
        return joint


class _Placed:
    """Another framing, for some of the pictures that it counts."""

    def __init__(self, framing: Framing, places: Ids) -> None:
        self.framing, self.places = framing, places
        self.height, self.width, self.resize = framing.height, framing.width, framing.resize
        self.antialias, self.pad_colour = framing.antialias, framing.pad_colour

    def window(self, place: int, height: int, width: int) -> Window:
        return self.framing.window(int(self.places[place]), height, width)


def _of_places(framing: Framing | None, chosen: np.ndarray) -> Framing | None:
    """A framing of some of the pictures that are read at once; one fit is for all alike."""
    if framing is None or isinstance(framing, Fit) or chosen.all():
        return framing
    return _Placed(framing, np.flatnonzero(chosen))
