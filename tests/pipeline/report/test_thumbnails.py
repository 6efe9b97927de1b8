from __future__ import annotations

import base64
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foundation.errors import CorruptFileError
from pipeline.data.facts import read_labels, write_images
from pipeline.data.images import ArrayImages
from pipeline.report.thumbnails import SIDE, thumbnails


def images(side: int, channels: int, count: int = 5) -> ArrayImages:
    pixels = np.random.default_rng(0).integers(0, 255, (count, side, side, channels), np.uint8)
    return ArrayImages(pixels, np.arange(count, dtype=np.int64))


def opened(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


@pytest.mark.parametrize("channels", [1, 3])
def test_small_images_are_shown_pixel_by_pixel(tmp_path: Path, channels: int) -> None:
    kept = images(8, channels)
    path = write_images(tmp_path / "test.npz", kept)
    urls = thumbnails(path, [4, 0])
    assert [url.partition(";")[0] for url in urls] == ["data:image/png"] * 2
    for url, place in zip(urls, [4, 0], strict=True):
        pixels = np.asarray(opened(url)).reshape(kept.pixels[place].shape)
        assert np.array_equal(pixels, kept.pixels[place])
    assert list(read_labels(path)) == [0, 1, 2, 3, 4]


def test_large_images_become_small_ones(tmp_path: Path) -> None:
    (url,) = thumbnails(write_images(tmp_path / "test.npz", images(300, 3, 1)), [0])
    assert max(opened(url).size) == SIDE
    assert len(url) < 10_000


@pytest.mark.parametrize("spoil", ["text", "packed", "other", "short"])
def test_what_is_no_file_of_images_is_one_line(tmp_path: Path, spoil: str) -> None:
    path = write_images(tmp_path / "test.npz", images(8, 3))
    if spoil == "text":
        path.write_text("no")
    elif spoil == "packed":
        np.savez_compressed(path, images=np.zeros((1, 2, 2, 3), np.uint8), labels=np.zeros(1))
    elif spoil == "other":
        np.savez(path, images=np.zeros((5, 2, 2, 3), np.float32), labels=np.zeros(1))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("images.npy", b"\x93NUMPY")
    with pytest.raises(CorruptFileError, match=r"test\.npz: not a file of images"):
        thumbnails(path, [0])


def test_an_image_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    path = write_images(tmp_path / "test.npz", images(8, 3))
    with pytest.raises(CorruptFileError, match="number 5"):
        thumbnails(path, [5])
