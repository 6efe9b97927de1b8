"""The upper rows of a JPEG, without decoding what lies below them."""

from __future__ import annotations

import contextlib

from PIL import Image

_WORTH_IT = 0.97  # share of the rows; for more, the whole is decoded


def fit(image: Image.Image, count: int) -> bool:
    """Whether a picture is a JPEG that comes row by row, so that it is worth it."""
    tiles = getattr(image, "tile", [])
    in_rows = image.format == "JPEG" and not {"progressive", "progression"} & image.info.keys()
    if not in_rows or len(tiles) != 1 or count > _WORTH_IT * image.height:
        return False
    codec, extents, *_ = tiles[0]
    return bool(codec == "jpeg" and tuple(extents) == (0, 0, *image.size))


def load(image: Image.Image, count: int) -> bool:
    """Decode the first rows of a picture that is fit for it.

    Pillow decodes as many rows as its tile has, and then says that the stream is broken: libjpeg
    was not done. So what it says counts for nothing, and the last of the rows for everything: it
    is all noughts until it is written. One that really is black is not believed either.

    Args:
        image: opened, and not loaded; when the answer is no, it is of no more use.
        count: how many rows are needed.

    Returns:
        Whether they are there; else the picture has to be opened again and decoded as a whole.
    """
    ((codec, _, offset, arguments),) = image.tile  # type: ignore[attr-defined]
    extents = (0, 0, image.width, count)
    image.tile = [(codec, extents, offset, arguments)]  # type: ignore[attr-defined]
    with contextlib.suppress(OSError):
        image.load()
    return image.crop((0, count - 1, image.width, count)).getbbox() is not None
