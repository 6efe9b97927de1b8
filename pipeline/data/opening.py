"""A picture's file opened within bounds: nothing is decoded that is too large, and what cannot be
shown is said in a person's words."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path

from PIL import Image

from pipeline.data.contents import START, content_kind
from pipeline.data.kinds import FORMATS

MOST_MEGAPIXELS = 1000
"""The highest limit that can be set."""

WHITE_IS_ZERO = "white_is_zero"
"""What `Image.info` has of a TIFF whose grey counts from white; Pillow turns it over itself where
it has eight bits or fewer."""

_BYTES_A_PIXEL = 8  # at most; a file of more has something else in it
_FEW_BYTES, _MOST_PNG_BYTES = 2**26, 2**28
_RGB_16 = "RGB;16B"
_PHOTOMETRIC = 262  # the tag of a TIFF that says what its values mean
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")


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
                _shorten_clear_colour(image)
                _note_white_is_zero(image)
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


def _shorten_clear_colour(image: Image.Image) -> None:
    """Of RGB of 16 bits the upper 8 are read; the colour that means clear is shortened likewise.

    Pillow would hold its lower 8 bits against them.
    """
    clear = image.info.get("transparency")
    tiles = getattr(image, "tile", [])  # which raw pixels lie where
    if isinstance(clear, tuple) and any(_RGB_16 in tile for tile in tiles):
        image.info["transparency"] = tuple(value >> 8 for value in clear)


def _note_white_is_zero(image: Image.Image) -> None:
    """Note beside the picture, where its parts keep it, that a TIFF counts from white."""
    tags = getattr(image, "tag_v2", None)
    if tags is not None and tags.get(_PHOTOMETRIC) == 0:
        image.info[WHITE_IS_ZERO] = True


def _without_texts(file: BufferedReader | BytesIO) -> BytesIO | None:
    """A PNG file without its texts and its colour profile; None where it is no PNG."""
    if _bytes_of(file) > _MOST_PNG_BYTES:
        return None
    file.seek(0)
    content = file.read()
    if not content.startswith(b"\x89PNG"):
        return None
    stripped, start = bytearray(content[:8]), 8
    while start + 12 <= len(content):
        end = start + 12 + int.from_bytes(content[start : start + 4], "big")
        if content[start + 4 : start + 8] not in _TEXT_CHUNKS:
            stripped += content[start:end]
        start = end
    return BytesIO(stripped)


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
