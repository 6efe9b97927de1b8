"""Pictures kept on disk as pixels, so that a training decodes each of them once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.cropping import GAP
from pipeline.data.framing import Fit, Framing, Window, framed
from pipeline.data.pixel_store import PixelStore
from pipeline.data.viewing import View

logger = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]
ViewOf = Callable[[Callable[[int, int], Window]], View]
"""Decodes a picture, given where an image is to be taken of one of its height and width."""

_LOOK_AGAIN_SECONDS = 10.0


class PictureCache:
    """What crops are cut from: pictures in full, or made smaller where their sides are longer.

    They are decoded when they are first needed, and added to what is there; several processes may
    add to one folder. An image of a fit is taken only of pictures that are there in full, so that
    validation sees the same pixels with a cache and without.

    Args:
        folder: where they lie, for this set and these settings alone.
        count: how many pictures the set has.
        side: length of the shorter side from which on a picture is made smaller.
    """

    def __init__(self, folder: Path, count: int, side: int) -> None:
        self.store, self.side = PixelStore(folder, count), side
        self._looked, self._is_full = time.monotonic(), False

    def image(self, index: int, framing: Framing, place: int, view_of: ViewOf) -> Pixels | None:
        """An image of a picture: uint8, shape (framing.height, framing.width, 3).

        Args:
            index: number of the picture.
            framing: where in it the image is taken.
            place: its number among those that are read at once.
            view_of: decodes it.

        Returns:
            None where it has to be taken of the picture itself.
        """
        shape = self._shape(index)
        if isinstance(framing, Fit) and not self.store.is_whole(index):
            return None
        if shape is not None:
            window = framing.window(place, *shape)
            left, top, right, bottom = window.box or (0, 0, shape[1], shape[0])
            rows = self.store.read(index, top, bottom)
            if rows is not None:
                return framed(rows[:, left:right], window, framing)
        pixels = self._added(index, view_of)
        window = framing.window(place, *pixels.shape[:2])
        left, top, right, bottom = window.box or (0, 0, pixels.shape[1], pixels.shape[0])
        return framed(pixels[top:bottom, left:right], window, framing)

    def _shape(self, index: int) -> tuple[int, int] | None:
        shape = self.store.shape(index)
        # Another process may have added it; but that is not asked for each picture.
        if shape is None and time.monotonic() - self._looked > _LOOK_AGAIN_SECONDS:
            self._looked = time.monotonic()
            self.store.refresh()
            shape = self.store.shape(index)
        return None if shape is None else shape[:2]

    def _added(self, index: int, view_of: ViewOf) -> Pixels:
        view = view_of(self._shrunk)
        high, wide = view.window.size
        picture = view.picture
        if picture.size != (wide, high):
            picture = picture.resize((wide, high), Image.Resampling.BICUBIC)
        pixels = np.array(picture)
        if not self._is_full:
            try:
                self.store.add(index, pixels, is_whole=(high, wide) == (view.height, view.width))
            except OSError as error:
                self._is_full = True
                logger.warning(
                    "%s: no more pictures can be kept there (%s); the others are decoded in each "
                    "epoch", self.store.folder, error,
                )  # fmt: skip
        return pixels

    def _shrunk(self, height: int, width: int) -> Window:
        """All of a picture, at the size at which it is kept."""
        factor = min(height, width) / self.side
        if factor <= 1:
            return Window((height, width))
        size = max(1, round(height / factor)), max(1, round(width / factor))
        return Window(size, draft=max(1, int(factor) // GAP))
