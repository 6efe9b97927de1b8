"""Where in a picture an image is taken, and its taking: one resampling from the original pixels.

Validation, calibration and evaluation frame a picture by `Fit`; training may cut anywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from foundation.preprocessing import Preprocessing, middle

_LARGEST_WHOLE = 30_000_000  # pixels; a larger picture may be reduced before it is framed
_GAP = 3  # a reduced picture is still so much larger than what is made of it


@dataclass(frozen=True)
class Window:
    """Where of a picture an image is taken.

    Attributes:
        size: height and width that the box is resampled to.
        place: top and left of the image in that; negative where the image begins before it and is
            padded.
        box: left, top, right and bottom of the part that is resampled, in the picture's own pixels;
            None is all of it.
        reduction: the whole factor by which the picture may be made smaller while it is decoded.
        draft: the factor by which a JPEG may be decoded smaller, which costs nothing and is faster.
    """

    size: tuple[int, int]
    place: tuple[int, int] = (0, 0)
    box: tuple[int, int, int, int] | None = None
    reduction: int = 1
    draft: int = 1


class Framing(Protocol):
    """How images are taken of pictures.

    Attributes:
        height, width: of every image.
        resize: the filter, by its Pillow name.
        antialias: whether it widens where a picture is made smaller.
        pad_colour: red, green and blue of 0..255 beside what is padded.
    """

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def resize(self) -> str: ...
    @property
    def antialias(self) -> bool: ...
    @property
    def pad_colour(self) -> tuple[int, int, int]: ...

    def window(self, place: int, height: int, width: int) -> Window:
        """Where to take an image.

        Args:
            place: number of the picture among those that are read at once.
            height, width: of the picture.
        """
        ...


@dataclass(frozen=True)
class Fit:
    """The framing that a model's images have: the whole picture, or its middle.

    Attributes:
        height, width, fit, resize, antialias, pad_colour: see `foundation.bundle.Preprocessing`.
        resize_to: height and width before the middle is cut out.
    """

    height: int
    width: int
    fit: str = "squash"
    resize_to: tuple[int, int] | None = None
    resize: str = "bilinear"
    antialias: bool = True
    pad_colour: tuple[int, int, int] = (0, 0, 0)

    @classmethod
    def of(cls, preprocessing: Preprocessing) -> Fit:
        """How a model's images are fitted."""
        sides = preprocessing.resize_to
        red, green, blue = preprocessing.pad_colour
        return cls(
            preprocessing.height,
            preprocessing.width,
            preprocessing.fit,
            None if sides is None else (sides[0], sides[1]),
            preprocessing.resize,
            preprocessing.antialias,
            (red, green, blue),
        )

    def at(self, height: int, width: int) -> Fit:
        """The same share of every picture at another height and width."""
        if (height, width) == (self.height, self.width):
            return self
        sides = self.resize_to
        if sides is not None:
            sides = (
                round(height * sides[0] / self.height),
                round(width * sides[1] / self.width),
            )
        return replace(self, height=height, width=width, resize_to=sides)

    def window(self, place: int, height: int, width: int) -> Window:  # noqa: ARG002 - all alike
        """The same part of every picture of a shape."""
        size = self._size(height, width)
        reduction = 1
        if height * width > _LARGEST_WHOLE:
            reduction = max(1, min(height // (size[0] * _GAP), width // (size[1] * _GAP)))
        top, left = (
            middle(whole, part) for whole, part in zip(size, (self.height, self.width), strict=True)
        )
        return Window(size, (top, left), reduction=reduction)

    def _size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of a whole picture as it is resampled.

        The side that just fits is exact; the other one is cut down to whole pixels where the
        picture is to cover (as torchvision's Resize does), and rounded where it is to fit in.
        """
        high, wide = self.resize_to or (self.height, self.width)
        if self.fit == "squash":
            return high, wide
        if self.fit == "crop":
            if height * wide <= width * high:
                return high, high * width // height
            return wide * height // width, wide
        if height * wide >= width * high:
            return high, max(1, round(high * width / height))
        return max(1, round(wide * height / width)), wide


def framed(
    picture: Image.Image | NDArray[np.uint8], window: Window, framing: Framing
) -> NDArray[np.uint8]:
    """One image of a picture.

    Args:
        picture: the window's box of a picture, grey or RGB; may have been made smaller. As an
            array its shape is (H, W) or (H, W, 3).
        window: where to take it.
        framing: with which filter, on which colour.

    Returns:
        uint8, shape (framing.height, framing.width) for a grey picture, with an axis of three for
        another one.
    """
    pixels = _resampled(picture, window, framing)
    (top, left), size = window.place, (framing.height, framing.width)
    if (top, left) == (0, 0) and pixels.shape[:2] == size:
        return pixels
    inner = pixels[max(top, 0) : top + size[0], max(left, 0) : left + size[1]]
    if inner.shape[:2] == size:
        return inner
    canvas = np.empty((*size, *pixels.shape[2:]), np.uint8)
    canvas[...] = _grey_of(framing.pad_colour) if pixels.ndim == 2 else framing.pad_colour
    down, across = max(-top, 0), max(-left, 0)
    canvas[down : down + inner.shape[0], across : across + inner.shape[1]] = inner
    return canvas


def scaled_box(
    box: tuple[int, int, int, int], size: tuple[int, int], smaller: tuple[int, int]
) -> tuple[int, int, int, int]:
    """A box in the pixels of a picture that may have been made smaller: at least one of them.

    Args:
        box: left, top, right and bottom.
        size, smaller: width and height of the picture, before and now.
    """
    if size == smaller:
        return box
    left, right = (round(side * smaller[0] / size[0]) for side in (box[0], box[2]))
    top, bottom = (round(side * smaller[1] / size[1]) for side in (box[1], box[3]))
    left, top = min(left, smaller[0] - 1), min(top, smaller[1] - 1)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _resampled(
    picture: Image.Image | NDArray[np.uint8], window: Window, framing: Framing
) -> NDArray[np.uint8]:
    """All of a picture at the window's size."""
    high, wide = window.size
    resampling = Image.Resampling[framing.resize.upper()]
    if window.box is not None and framing.antialias and resampling is Image.Resampling.BILINEAR:
        # A copy of a picture: torch takes nothing that cannot be written to.
        pixels = (
            np.ascontiguousarray(picture) if isinstance(picture, np.ndarray) else np.array(picture)
        )
        return pixels if pixels.shape[:2] == (high, wide) else _bilinear(pixels, high, wide)
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    if picture.size == (wide, high):
        return np.asarray(picture)
    if framing.antialias or resampling is Image.Resampling.NEAREST:
        return np.asarray(picture.resize((wide, high), resampling))
    # Pillow's resize always widens its filter; its transform looks at the nearest pixels alone.
    whole = (0, 0, picture.width, picture.height)
    return np.asarray(picture.transform((wide, high), Image.Transform.EXTENT, whole, resampling))


def _bilinear(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Pixels of shape (H, W) or (H, W, C) at another size: what Pillow's antialiased filter gives,
    but for the last bit, in a third of the time."""
    import torch  # noqa: PLC0415 - seconds, only where training cuts images
    from torch.nn.functional import interpolate  # noqa: PLC0415

    channels = pixels.reshape(*pixels.shape[:2], -1)
    # With the axes in this order torch knows the layout, and gives back the same.
    images = torch.from_numpy(channels)[None].permute(0, 3, 1, 2)
    result = interpolate(images, (height, width), mode="bilinear", antialias=True)
    resized: NDArray[np.uint8] = result.permute(0, 2, 3, 1)[0].numpy()
    return resized.reshape(height, width, *pixels.shape[2:])


def _grey_of(colour: tuple[int, int, int]) -> int:
    """A colour as grey, as Pillow weighs red, green and blue."""
    return int(Image.new("RGB", (1, 1), colour).convert("L").getpixel((0, 0)))  # type: ignore[arg-type]


def keeps_all(framing: Framing, height: int, width: int) -> bool:
    """Whether pictures of this shape stay as they are."""
    whole = Window((height, width))
    size = (framing.height, framing.width)
    return (
        isinstance(framing, Fit)
        and size == whole.size
        and framing.window(0, height, width) == whole
    )
