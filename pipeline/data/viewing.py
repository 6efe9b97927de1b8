"""One picture as a viewer shows it: upright, its first frame, in sRGB, on a ground.

Memory is bounded: pixels under way in all threads together are counted, JPEGs are decoded at a
fraction of their size, and other large pictures are brought to RGB strip by strip.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedReader, BytesIO
from pathlib import Path
from threading import Condition

import numpy as np
from PIL import Image, ImageCms, features

from pipeline.data.contents import START, content_kind
from pipeline.data.kinds import FORMATS

MOST_MEGAPIXELS = 1000
"""The highest limit that can be set."""

_LARGE = 4_000_000  # pixels; above it a picture is decoded or reduced in part
_GAP = 3  # a reduced picture is still so much larger than what is made of it
_FEW = 250_000  # pixels that are not counted
_UNDER_WAY = 64_000_000  # pixels, in all threads together
_BYTES_A_PIXEL = 8  # at most; a file of more has something else in it
_FEW_BYTES, _MOST_PNG_BYTES = 2**26, 2**28
_DEEP = ("I", "F")
_ORIENTED = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def set_up_pillow() -> None:
    """Keep Pillow to our bounds and our words.

    Our own limit of pixels is held before anything is decoded; Pillow's is for parts of a file.
    What it warns of speaks of its own classes and names no file. A large picture lies in one block,
    which goes back to the system with it; blocks of a few megabytes would stay with each thread.
    """
    Image.MAX_IMAGE_PIXELS = MOST_MEGAPIXELS * 500_000  # it refuses twice as many
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    core = Image.core  # type: ignore[attr-defined]
    core.set_block_size(2**30)
    # libtiff writes to standard error by itself; that a picture is damaged, Pillow finds too.
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(core.__file__).TIFFSetErrorHandler(None)


set_up_pillow()


class UnseenError(Exception):
    """Why a picture cannot be shown, in a person's words."""


@dataclass(frozen=True)
class Viewing:
    """What a file leaves open.

    Attributes:
        ground: colour beneath what is transparent: red, green, blue of 0..255.
        grey_bits: bits that a grey value of more than eight has; 0 is floating point from 0 to 1.
        most_pixels: a picture of more is not decoded.
    """

    ground: tuple[int, int, int] = (255, 255, 255)
    grey_bits: int = 16
    most_pixels: int = 100_000_000


def viewed(source: Path | BytesIO, size: int, viewing: Viewing) -> Image.Image:
    """A picture as RGB, at least of the given size where it is; larger ones may be reduced.

    Raises:
        UnseenError: when it cannot be shown.
    """
    with opened(source, viewing) as image:
        whole = image.width * image.height
        if whole > _LARGE:
            image.draft(None, (size * _GAP, size * _GAP))
        # A progressive JPEG is held whole, however small it comes out.
        held = whole if "progressive" in image.info else image.width * image.height
        with _UNDER_WAY_NOW.taken(held):
            image.load()
            rgb = _upright(image, _reduced(image, size, viewing))
            if held >= _FEW:
                image.close()  # or its pixels were held for longer than they are counted
            return rgb


@contextmanager
def opened(source: Path | BytesIO, viewing: Viewing) -> Iterator[Image.Image]:
    """A picture of which nothing but the head is decoded yet; its errors are put in our words.

    Raises:
        UnseenError: when it is none, or has too many pixels; so when the body cannot decode it.
    """
    try:
        with source.open("rb") if isinstance(source, Path) else nullcontext(source) as file:
            _check_bytes(_bytes_of(file), viewing)
            with _opened(file) as image:
                _check_pixels(image.size, viewing)
                yield image
    except UnseenError:
        raise
    except Exception as error:  # a decoder fails in ways of its own
        raise UnseenError(_reason(source, error)) from error


def _check_bytes(count: int, viewing: Viewing) -> None:
    if count > max(_FEW_BYTES, viewing.most_pixels * _BYTES_A_PIXEL):
        raise UnseenError(
            f"its {count / 1e9:.1f} GB are too many for a picture of the "
            f"{viewing.most_pixels / 1e6:g} megapixels of data.max_megapixels"
        )


def _check_pixels(size: tuple[int, int], viewing: Viewing) -> None:
    pixels = size[0] * size[1]
    if pixels > viewing.most_pixels:
        raise UnseenError(
            f"{size[0]} × {size[1]} are {pixels / 1e6:.1f} megapixels, over the "
            f"{viewing.most_pixels / 1e6:g} of data.max_megapixels"
        )


def _opened(file: BufferedReader | BytesIO) -> Image.Image:
    try:
        return Image.open(file, formats=FORMATS)
    except ValueError:
        # Pillow gives up where a text beside the picture is long; the picture is none the worse.
        plain = _without_texts(file)
        if plain is None:
            raise
        return Image.open(plain, formats=("PNG",))


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
        coloured = _changes_colours(image)
        is_transparent, highest = image.has_transparency_data and not _is_deep(image), None
        if closely and (is_transparent or _is_deep(image)):
            with _UNDER_WAY_NOW.taken(size[0] * size[1]):
                image.load()
                highest = float(np.asarray(image).max()) if _is_deep(image) else None
                is_transparent = is_transparent and _shows_ground(image)
        return Glance(size, is_transparent, highest, mode == "F", coloured, frames)


def _shows_ground(image: Image.Image) -> bool:
    return bool(np.asarray(image.convert("RGBA").getchannel("A")).min() < 255)


def _is_deep(image: Image.Image) -> bool:
    """Whether grey values have more than eight bits."""
    return image.mode.partition(";")[0] in _DEEP


def _reduced(image: Image.Image, size: int, viewing: Viewing) -> Image.Image:
    """The picture as RGB; a large one by a whole factor smaller, strip by strip."""
    width, height = image.size
    factor = min(width, height) // (size * _GAP)
    if width * height <= _LARGE or factor < 2:
        return _rgb(image, viewing)
    small = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    rows = factor * max(1, _LARGE // (width * factor))
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        small.paste(_rgb(strip, viewing).reduce(factor), (0, top // factor))
    return small


def _rgb(image: Image.Image, viewing: Viewing) -> Image.Image:
    if _is_deep(image):
        return Image.fromarray(_eight_bits(np.asarray(image), viewing.grey_bits)).convert("RGB")
    if image.has_transparency_data:
        image = _on_ground(image, viewing.ground)
    elif image.mode == "P":
        image = image.convert("RGB")
    return _in_srgb(image)


def _eight_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Grey values of so many bits as uint8, rounded: the largest becomes 255.

    Raises:
        UnseenError: when a value does not fit.
    """
    lowest, highest = float(values.min()), float(values.max())
    top = 2**bits - 1 if bits else 1
    # What is rounded to black or to white is no less right.
    if not (lowest >= -top / 511 and highest <= top * 512 / 511):
        if not (lowest >= 0 and highest < 2**16):
            raise UnseenError(
                f"its grey values go from {lowest:g} to {highest:g}, and cannot be seen as shades "
                "from black to white"
            )
        what = f"of {bits} bits (0 to {top})" if bits else "from 0 to 1"
        raise UnseenError(
            f"its grey values go from {lowest:g} to {highest:g}, but the set's are taken to be "
            f"{what}; set data.grey_bits"
        )
    return np.rint(values * (255 / top)).astype(np.uint8)


def _on_ground(image: Image.Image, ground: tuple[int, int, int]) -> Image.Image:
    pixels = image.convert("RGBA")
    below = Image.new("RGBA", image.size, (*ground, 255))
    below.alpha_composite(pixels)
    rgb = below.convert("RGB")
    # The palette's or the pixels' colours are meant in the picture's own colour space.
    if "icc_profile" in image.info and image.mode in ("P", "RGBA"):
        rgb.info["icc_profile"] = image.info["icc_profile"]
    return rgb


def _in_srgb(image: Image.Image) -> Image.Image:
    if image.mode == "LAB":
        if not features.check("littlecms2"):
            raise UnseenError("it is in Lab colours, and Pillow was built without littleCMS")
        return _lab_to_srgb().apply(image)
    profile = image.info.get("icc_profile")
    transform = _to_srgb(profile, image.mode) if profile else None
    return image.convert("RGB") if transform is None else transform.apply(image)


@lru_cache(maxsize=16)
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile's colours to sRGB; None where they are sRGB, or the profile is of no use."""
    space = {"RGB": "RGB", "CMYK": "CMYK"}.get(mode)
    if space is None or not features.check("littlecms2"):
        return None
    try:
        own = ImageCms.ImageCmsProfile(BytesIO(profile))
        described = ImageCms.getProfileDescription(own)
        if own.profile.xcolor_space.strip() != space or "srgb" in described.lower():
            return None
        return ImageCms.buildTransform(own, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


@lru_cache(maxsize=1)
def _lab_to_srgb() -> ImageCms.ImageCmsTransform:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB")


def _changes_colours(image: Image.Image) -> bool:
    """Whether a picture has a colour profile that changes what is seen."""
    profile = image.info.get("icc_profile")
    mode = "RGB" if image.mode in ("P", "RGBA") else image.mode
    return bool(profile) and _to_srgb(profile, mode) is not None


def _upright(image: Image.Image, rgb: Image.Image) -> Image.Image:
    """Turned as its camera was held; a TIFF is turned already when it is decoded."""
    if image.info.keys().isdisjoint(_ORIENTED):
        return rgb
    try:
        turn = _TURNS.get(image.getexif().get(0x0112, 1))
    except Exception:  # what stands beside a picture may be broken in ways of its own
        return rgb
    return rgb if turn is None else rgb.transpose(turn)


class _PixelsUnderWay:
    """Lets threads decode as long as their pixels together stay below a bound; one always may."""

    def __init__(self, most: int) -> None:
        self._most, self._now, self._changed = most, 0, Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
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


def _without_texts(file: BufferedReader | BytesIO) -> BytesIO | None:
    """A PNG file without its texts and its colour profile; None where it is no PNG."""
    if _bytes_of(file) > _MOST_PNG_BYTES:
        return None
    file.seek(0)
    content = file.read()
    if not content.startswith(b"\x89PNG"):
        return None
    kept, place = bytearray(content[:8]), 8
    while place + 12 <= len(content):
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")
        if content[place + 4 : place + 8] not in _TEXT_CHUNKS:
            kept += content[place:end]
        place = end
    return BytesIO(kept)


_REASONS: dict[type[Exception], str] = {
    FileNotFoundError: "it is gone, or a link that leads nowhere",
    PermissionError: "this user may not read it",
    MemoryError: "there is not enough memory to decode it",
    Image.DecompressionBombError: f"it has more than {MOST_MEGAPIXELS} megapixels",
}


def _reason(source: Path | BytesIO, error: Exception) -> str:
    """Why a picture cannot be shown, without a library's words."""
    if type(error) in _REASONS:
        return _REASONS[type(error)]
    start = _start(source)
    if not start:
        return "it is empty"
    kind, is_read = content_kind(start)
    if kind is None:
        return "its content is that of no kind of picture that is read"
    return f"{kind} that is cut short or damaged" if is_read else f"it is {kind}"


def _bytes_of(file: BufferedReader | BytesIO) -> int:
    if isinstance(file, BytesIO):
        return file.getbuffer().nbytes
    return os.fstat(file.fileno()).st_size


def _start(source: Path | BytesIO) -> bytes:
    if isinstance(source, BytesIO):
        return source.getvalue()[:START]
    try:
        with source.open("rb") as file:
            return file.read(START)
    except OSError:
        return b""
