"""How a picture becomes a model's input: the one record of it, which goes with every bundle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def middle(whole: int, part: int) -> int:
    """Where the middle part of a length begins, as torchvision's CenterCrop has it; negative where
    the part is longer."""
    return -((part - whole) // 2) if part > whole else round((whole - part) / 2)


FITS = ("squash", "crop", "pad")
FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
NOT_ANTIALIASED = ("nearest", "bilinear")
"""Filters that can do without antialiasing."""


@dataclass(frozen=True)
class Preprocessing:
    """All that stands between an image file and the model's input.

    A file's first frame is turned as `orientation` says, brought to sRGB and to its channels, laid
    on `ground` where it is transparent, fitted to `height` × `width`, and then each pixel becomes
    `(pixel / 255 - mean) / std`, in the order NCHW. docs/data.md has the rules of fitting.

    Attributes:
        height, width, channels: size of the image that the model takes; 1 channel is grey, 3 are
            red, green and blue.
        mean, std: one value a channel, on the scale 0..1.
        resize: the filter that resamples, by its Pillow name.
        embedded: normalising is done inside the graph, which takes uint8 images.
        fit: "squash" gives an image the shape of `resize_to`, whatever its own is; "crop" keeps its
            shape and makes it cover `resize_to`; "pad" keeps its shape and makes it fit in. Then
            the middle of `height` × `width` is cut out, or padded to.
        resize_to: height and width that an image is brought to before the middle is cut out; None
            is the model's own.
        antialias: whether the filter widens where an image is made smaller, as Pillow does.
        pad_colour: red, green and blue of 0..255 beside an image that is padded.
        orientation: "exif" turns an image as its camera was held; "none" leaves it as stored.
        ground: red, green and blue of 0..255 beneath what is transparent.
        grey_bits: bits of grey values that have more than eight; the largest becomes white; 0 is
            floating point from 0 to 1.
        source: where these values were taken from, in words.
        resize_embedded: fitting is done inside the graph too, which takes an image of any size.
    """

    height: int
    width: int
    channels: int
    mean: list[float]
    std: list[float]
    resize: str = "bilinear"
    embedded: bool = False
    fit: str = "squash"
    resize_to: list[int] | None = None
    antialias: bool = True
    pad_colour: list[int] = field(default_factory=lambda: [0, 0, 0])
    orientation: str = "exif"
    ground: list[int] = field(default_factory=lambda: [255, 255, 255])
    grey_bits: int = 16
    source: str = ""
    resize_embedded: bool = False

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        if min(self.height, self.width, self.channels) < 1:
            yield f"an image of {self.height} × {self.width} × {self.channels} cannot be"
        if self.resize_to is not None and (len(self.resize_to) != 2 or min(self.resize_to) < 1):
            yield f"resize_to is {self.resize_to}, but must be a height and a width"
        for name, value, choices in (
            ("fit", self.fit, FITS),
            ("resize", self.resize, FILTERS),
            ("orientation", self.orientation, ("exif", "none")),
        ):
            if value not in choices:
                yield f"{name} is {value!r}, but must be one of {', '.join(choices)}"
        if not self.antialias and self.resize not in NOT_ANTIALIASED:
            yield (
                f"resize is {self.resize!r}, which always antialiases; without it there are "
                f"{' and '.join(NOT_ANTIALIASED)}"
            )
        for name, colour in (("pad_colour", self.pad_colour), ("ground", self.ground)):
            if len(colour) != 3 or not all(0 <= shade <= 255 for shade in colour):
                yield f"{name} is {colour}, but must be red, green and blue of 0..255"
        if self.resize_embedded and not self.embedded:
            yield "resizing is in the graph, but normalising is not"
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                yield f"{name} is {values}, but there are {self.channels} channels"
        if min(self.std, default=1.0) <= 0:
            yield f"std is {self.std}, but must be above 0"

    def apply(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Normalise images.

        Args:
            images: uint8, shape (N, height, width, channels).

        Returns:
            float32, shape (N, channels, height, width), C-contiguous.

        Raises:
            ValueError: when the shape or dtype is another.
        """
        import numpy as np  # noqa: PLC0415

        self.check(images)
        mean = np.asarray(self.mean, np.float32)[:, None, None]
        std = np.asarray(self.std, np.float32)[:, None, None]
        prepared = np.empty((len(images), *(images.shape[axis] for axis in (3, 1, 2))), np.float32)
        # One by one and in place: an image stays in the processor's cache meanwhile.
        for planes, image in zip(prepared, images, strict=True):
            planes[...] = image.transpose(2, 0, 1)
            np.divide(planes, np.float32(255), out=planes)
            np.subtract(planes, mean, out=planes)
            np.divide(planes, std, out=planes)
        return prepared

    def prepare(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """What the model takes: the images themselves if `embedded`, `apply(images)` if not.

        A model that fits pictures itself is given each image as the middle of a picture in which
        it finds just that.

        Raises:
            ValueError: when the shape or dtype is another than (N, height, width, channels) uint8.
        """
        import numpy as np  # noqa: PLC0415

        if not self.embedded:
            return self.apply(images)
        self.check(images)
        return self._pictures_of(images) if self.resize_embedded else np.ascontiguousarray(images)

    @property
    def before_the_cut(self) -> tuple[int, int]:
        """Height and width that a picture is brought to before the middle is cut out."""
        high, wide = self.resize_to or (self.height, self.width)
        return high, wide

    def _pictures_of(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Pictures that need no resampling, and whose middle is the images."""
        import numpy as np  # noqa: PLC0415

        size = (self.height, self.width)
        tops = [middle(*lengths) for lengths in zip(self.before_the_cut, size, strict=True)]
        pictures = np.zeros((len(images), *self.before_the_cut, self.channels), np.uint8)
        inner, outer = (
            tuple(
                slice(max(sign * start, 0), max(sign * start, 0) + min(whole, part))
                for start, whole, part in zip(tops, self.before_the_cut, size, strict=True)
            )
            for sign in (-1, 1)
        )
        pictures[:, *outer] = images[:, *inner]
        return pictures

    def check(self, images: NDArray[Any]) -> None:
        """Raise a ValueError unless images are uint8 (N, height, width, channels)."""
        expected = (self.height, self.width, self.channels)
        if images.dtype != "uint8" or images.shape[1:] != expected:
            raise ValueError(
                f"images must be uint8 (N, {', '.join(map(str, expected))}), "
                f"but got {images.dtype} {images.shape}"
            )
