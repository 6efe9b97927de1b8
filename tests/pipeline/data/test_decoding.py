from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foundation.errors import DataLayoutError, UnreadableImageError
from pipeline.data import decoding
from pipeline.data.class_folders import list_classes
from pipeline.data.decoding import DecodedImages, dataset_of, decode
from pipeline.data.framing import Fit
from pipeline.data.images import ArrayImages
from pipeline.data.listing import Listing
from pipeline.recipe.sections.data import DataRecipe


def load(photos: Path, size: int | None = None, **settings):
    classes = ["dark", "light"]
    parts = [list_classes(photos / split, classes) for split in ("train", "test")]
    return dataset_of(parts[0], parts[1], classes, size, DataRecipe(**settings))


@pytest.mark.parametrize(
    ("mode", "colour", "name"),
    [("L", 90, "g.jpg"), ("RGBA", (90, 90, 90, 255), "a.png"), ("P", 90, "p.gif"),
     ("1", 1, "b.bmp"), ("CMYK", (0, 0, 0, 165), "c.JPEG")],
)  # fmt: skip
def test_every_kind_of_image_becomes_rgb(tmp_path: Path, mode: str, colour, name: str) -> None:
    image = Image.new(mode, (8, 8), colour)
    image.save(tmp_path / name)
    pixels = decode(Listing(tmp_path, [name]), 0, Fit(8, 8))
    assert (pixels.shape, pixels.dtype) == ((8, 8, 3), np.uint8)
    np.testing.assert_allclose(pixels, np.asarray(image.convert("RGB")), atol=2)


def test_a_file_that_is_gone_is_told_of_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match=r"gone\.png.*gone, or a link that"):
        decode(Listing(tmp_path, ["gone.png"]), 0, Fit(8, 8))


def test_images_on_disk_read_as_those_in_memory(photos: Path, monkeypatch) -> None:
    in_memory = load(photos).train
    monkeypatch.setattr(decoding, "_IN_MEMORY_BYTES", 20 * 16 * 16 * 3 - 1)
    dataset = load(photos)
    on_disk = dataset.train
    assert isinstance(on_disk, DecodedImages)
    assert isinstance(in_memory, ArrayImages)
    # Eight test images are small enough.
    assert isinstance(dataset.test, ArrayImages)
    np.testing.assert_array_equal(on_disk.labels, in_memory.labels)
    some = np.array([19, 0, 7, 7])
    np.testing.assert_array_equal(on_disk.read(some), in_memory.read(some))


def test_more_images_than_a_block_come_into_memory_in_order(photos: Path, monkeypatch) -> None:
    whole = load(photos).train
    monkeypatch.setattr(decoding, "_BLOCK", 7)
    np.testing.assert_array_equal(load(photos).train.pixels, whole.pixels)


@pytest.mark.parametrize("limit", [0, 2**31])
def test_those_passed_over_leave_the_others_labels_right(
    photos: Path, monkeypatch, limit: int
) -> None:
    whole = load(photos).train
    monkeypatch.setattr(decoding, "_IN_MEMORY_BYTES", limit)
    monkeypatch.setattr(decoding, "_BLOCK", 3)
    for name in ("dark/03.png", "light/00.png"):
        (photos / "train" / name).write_text("no image")
    dataset = load(photos, on_bad_image="skip", size=16)
    left = np.delete(np.arange(20), [3, 10])
    np.testing.assert_array_equal(dataset.train.labels, whole.labels[left])
    np.testing.assert_array_equal(dataset.train.read(np.arange(18)), whole.read(left))
    assert dataset.skipped == tuple(
        str(photos / "train" / name) for name in ("dark/03.png", "light/00.png")
    )


def test_a_class_without_a_readable_image_is_told_of(photos: Path) -> None:
    for image in (photos / "test/light").iterdir():
        image.write_text("no image")
    with pytest.raises(DataLayoutError, match=r"photos/test: not one .* class 'light'"):
        load(photos, on_bad_image="skip", size=8)


def test_a_split_without_a_readable_image_has_no_size(photos: Path) -> None:
    for image in (photos / "train").rglob("*.png"):
        image.write_text("no image")
    with pytest.raises(UnreadableImageError, match="train: not one readable image"):
        load(photos)
