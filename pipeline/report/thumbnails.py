"""A few of a run's test images, small, to be put into a page; the file is never read whole."""

from __future__ import annotations

import base64
import io
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image

from foundation.errors import CorruptFileError

SIDE = 72
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")


def thumbnails(path: Path, places: Sequence[int]) -> list[str]:
    """Images as data: URLs, no side longer than `SIDE` pixels.

    Args:
        path: what `pipeline.data.facts.write_images` wrote.
        places: of the images.

    Raises:
        CorruptFileError: when it is no such file, or has no such image.
    """
    try:
        pixels = _mapped_images(path)
        if places and max(places) >= len(pixels):
            raise ValueError(f"there are {len(pixels)} images, but number {max(places)} is asked")
        return [_data_url(np.asarray(pixels[place])) for place in places]
    except (ValueError, KeyError, OSError, struct.error, zipfile.BadZipFile) as error:
        raise CorruptFileError(
            f"{path}: not a file of images ({error}); delete it and run `compress distill` again"
        ) from error


def _mapped_images(path: Path) -> NDArray[np.uint8]:
    """The images, uint8 (N, H, W, C), read from the disk as they are looked at."""
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("images.npy")
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError("its images are packed")
    with path.open("rb") as file:
        file.seek(entry.header_offset)
        fields = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        file.seek(fields[-2] + fields[-1], io.SEEK_CUR)  # the entry's name, and what is beside it
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, kind = read(file)
        if kind != np.uint8 or len(shape) != 4 or fortran:
            raise ValueError(f"images are {kind} {shape}")
        return np.memmap(path, np.uint8, "r", file.tell(), shape)


def _data_url(pixels: NDArray[np.uint8]) -> str:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.thumbnail((SIDE, SIDE))
    content = io.BytesIO()
    if max(pixels.shape[:2]) > SIDE:
        image.save(content, "JPEG", quality=80)
        kind = "jpeg"
    else:
        image.save(content, "PNG", optimize=True)
        kind = "png"
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
