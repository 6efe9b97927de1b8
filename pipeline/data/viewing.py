"""One picture as a viewer shows it: upright, its first frame, in sRGB, on a ground.

Memory is bounded: pixels under way in all threads together are counted, and where an image needs
less than all of them, JPEGs are decoded at a fraction of their size, and other pictures are brought
to RGB strip by strip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import Condition

import numpy as np
from PIL import Image

from pipeline.data import upper_rows
from pipeline.data.colours import changes_colours, is_deep, to_rgb
from pipeline.data.framing import Window, scaled_box
from pipeline.data.opening import Viewing, opened

_STRIP = 4_000_000  # pixels; of a picture that is reduced, so many are brought to RGB at once
_FEW = 250_000  # pixels that are not counted
_UNDER_WAY = 64_000_000  # pixels, in all threads together
_SIDEWAYS = (
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
)
_ORIENTED = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class View:
    """One picture, ready to take an image of.

    Attributes:
        picture: the window's box of it, as RGB; smaller than it is where the window allows.
        window: where the image is taken.
        height, width: of the picture as it is, upright.
    """

    picture: Image.Image
    window: Window
    height: int
    width: int


def viewed(source: Path | BytesIO, viewing: Viewing, place: Callable[[int, int], Window]) -> View:
    """A picture as RGB, upright.

    Args:
        source: its file.
        viewing: what the file leaves open.
        place: where an image is taken of a picture of this height and width.

    Raises:
        UnseenError: when it cannot be shown.
    """
    view = _viewed(source, viewing, place, whole=False)
    if view is None:
        view = _viewed(source, viewing, place, whole=True)
    assert view is not None
    return view


def _viewed(
    source: Path | BytesIO, viewing: Viewing, place: Callable[[int, int], Window], *, whole: bool
) -> View | None:
    """The picture; None where only part of it was decoded, and that does not do."""
    with opened(source, viewing) as image:
        turn = _turn_of(image)
        width, height = image.size if turn not in _SIDEWAYS else image.size[::-1]
        window = place(height, width)
        stored_width, pixels = image.width, image.width * image.height
        factor = max(window.reduction, window.draft)
        if factor > 1:
            image.draft(None, (max(1, image.width // factor), max(1, image.height // factor)))
        box = None
        if window.box is not None:
            box = _stored_box(image.size, window.box, (height, width), turn)
        # A progressive JPEG is held whole, however small it comes out.
        held = pixels if "progressive" in image.info else image.width * image.height
        with _UNDER_WAY_NOW.room_for(held):
            if box is None or whole or not upper_rows.fit(image, box[3]):
                image.load()
            elif not upper_rows.load(image, box[3]):
                return None
            already = max(1, round(stored_width / image.width))
            part = image if box is None else image.crop(box)
            rgb = _reduced(part, window.reduction // already, viewing)
            if held >= _FEW and rgb is not image:
                image.close()  # or its pixels were held for longer than they are counted
            upright = rgb if turn is None else rgb.transpose(turn)
            return View(upright, window, height, width)


@dataclass(frozen=True)
class Glance:
    """What one picture is like.

    Attributes:
        size: width and height as it is stored.
        is_transparent: whether the ground is seen through it.
        highest: the highest of grey values that have more than eight bits; None of other pictures.
        is_floating: whether these are floating-point numbers.
        has_other_colours: whether its colour profile changes what is seen.
        has_frames: whether it holds several frames or pages.
    """

    size: tuple[int, int]
    is_transparent: bool
    highest: float | None
    is_floating: bool
    has_other_colours: bool
    has_frames: bool


def glance(source: Path | BytesIO, viewing: Viewing, closely: bool) -> Glance:
    """Look at a picture's head, and only where that does not say enough at its pixels.

    Args:
        source: the picture.
        viewing: its limit holds.
        closely: whether its pixels may be looked at; else only its head is.

    Raises:
        UnseenError: when it cannot be shown.
    """
    with opened(source, viewing) as image:
        size, mode = image.size, image.mode
        frames = image.format != "MPO" and bool(getattr(image, "is_animated", False))
        coloured = changes_colours(image)
        is_transparent, highest = image.has_transparency_data and not is_deep(image), None
        if closely and (is_transparent or is_deep(image)):
            with _UNDER_WAY_NOW.room_for(size[0] * size[1]):
                image.load()
                highest = float(np.asarray(image).max()) if is_deep(image) else None
                is_transparent = is_transparent and _shows_ground(image)
        return Glance(size, is_transparent, highest, mode == "F", coloured, frames)


def _shows_ground(image: Image.Image) -> bool:
    return bool(np.asarray(image.convert("RGBA").getchannel("A")).min() < 255)


def _reduced(image: Image.Image, factor: int, viewing: Viewing) -> Image.Image:
    """The picture as RGB, by a whole factor smaller; that is done strip by strip."""
    width, height = image.size
    if factor < 2:
        return to_rgb(image, viewing)
    small = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    rows = factor * max(1, _STRIP // (width * factor))
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        small.paste(to_rgb(strip, viewing).reduce(factor), (0, top // factor))
    return small


def _turn_of(image: Image.Image) -> Image.Transpose | None:
    """How to turn a picture as its camera was held; a TIFF is turned when it is decoded."""
    turned_when_decoded = _ORIENTATION in getattr(image, "tag_v2", ())
    if turned_when_decoded or image.info.keys().isdisjoint(_ORIENTED):
        return None
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # what stands beside a picture may be broken in ways of its own
        return None


def _stored_box(
    size: tuple[int, int],
    box: tuple[int, int, int, int],
    upright: tuple[int, int],
    turn: Image.Transpose | None,
) -> tuple[int, int, int, int]:
    """Where a box of the upright picture lies in the picture as it is stored.

    Args:
        size: width and height of the picture as it is decoded, which may be smaller.
        box: left, top, right and bottom in the upright picture.
        upright: height and width of that.
        turn: what makes it upright.
    """
    left, top, right, bottom = box
    height, width = upright
    stored = {
        None: box,
        Image.Transpose.FLIP_LEFT_RIGHT: (width - right, top, width - left, bottom),
        Image.Transpose.FLIP_TOP_BOTTOM: (left, height - bottom, right, height - top),
        Image.Transpose.ROTATE_180: (width - right, height - bottom, width - left, height - top),
        Image.Transpose.TRANSPOSE: (top, left, bottom, right),
        Image.Transpose.TRANSVERSE: (height - bottom, width - right, height - top, width - left),
        # What makes it upright is taken back, so these two change places.
        Image.Transpose.ROTATE_270: (top, width - right, bottom, width - left),
        Image.Transpose.ROTATE_90: (height - bottom, left, height - top, right),
    }[turn]
    whole = (width, height) if turn not in _SIDEWAYS else (height, width)
    return scaled_box(stored, whole, size)


class _PixelsUnderWay:
    """Lets threads decode as long as their pixels together stay below a bound; one always may."""

    def __init__(self, most: int) -> None:
        self._most, self._now, self._changed = most, 0, Condition()

    @contextmanager
    def room_for(self, pixels: int) -> Iterator[None]:
        """Wait until there is room for so many pixels, and hold it; a few need no room."""
        if pixels < _FEW:
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._now or self._now + pixels <= self._most)
            self._now += pixels
        try:
            yield
        finally:
            with self._changed:
                self._now -= pixels
                self._changed.notify_all()


_UNDER_WAY_NOW = _PixelsUnderWay(_UNDER_WAY)
