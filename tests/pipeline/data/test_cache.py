from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data import cache as cache_module
from pipeline.data import decoding
from pipeline.data.cache import PictureCache
from pipeline.data.cropping import RandomCrop
from pipeline.data.decoding import DecodedImages
from pipeline.data.framing import Fit
from pipeline.data.listing import Listing

COUNT = 12
FIT = Fit(50, 50, "crop", (60, 60))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """JPEGs of 40 × 50 to 90 × 60 pixels, and three of ten times that."""
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(COUNT):
        small = Image.fromarray(random.integers(30, 256, (9, 11, 3), dtype=np.uint8))
        factor = 10 if number % 4 == 0 else 1
        size = (40 + 4 * number) * factor, (50 + number) * factor
        small.resize(size, Image.Resampling.BICUBIC).save(folder / f"{number:02}.jpg", quality=95)
    return folder


def pictures(photos: Path, folder: Path | None = None, side: int = 100) -> DecodedImages:
    names = sorted(path.name for path in photos.iterdir())
    images = DecodedImages(Listing(photos, names), np.arange(COUNT), FIT)
    if folder is not None:
        images.cache = PictureCache(folder, COUNT, side)
    return images


def crops(ids: np.ndarray, view: int = 0) -> RandomCrop:
    return RandomCrop.of(FIT, 0.1, ids, 0, view)


IDS = np.array([3, 1, 8, 0, 11, 5, 7])


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are decoded, one after the other."""
    names: list[str] = []
    viewed = decoding.viewed

    def noted(source, *arguments):
        names.append(source.name)
        return viewed(source, *arguments)

    monkeypatch.setattr(decoding, "viewed", noted)
    return names


def test_crops_are_those_of_the_pictures_themselves(photos: Path, tmp_path: Path) -> None:
    kept, plain = pictures(photos, tmp_path / "cache"), pictures(photos)
    whole = IDS[IDS % 4 != 0]
    for view in range(3):
        np.testing.assert_array_equal(
            kept.read(whole, crops(whole, view)), plain.read(whole, crops(whole, view))
        )


def test_each_picture_is_decoded_once(photos: Path, tmp_path: Path, decoded) -> None:
    kept = pictures(photos, tmp_path / "cache")
    for view in range(3):
        kept.read(IDS, crops(IDS, view))
    assert sorted(decoded) == sorted(f"{number:02}.jpg" for number in IDS)
    # So it is for whoever comes later.
    pictures(photos, tmp_path / "cache").read(IDS, crops(IDS))
    assert len(decoded) == len(IDS)


def test_large_pictures_are_kept_smaller_and_nearly_the_same(photos: Path, tmp_path: Path) -> None:
    kept, plain = pictures(photos, tmp_path / "cache"), pictures(photos)
    large = np.array([0, 4, 8])
    first = kept.read(large, crops(large))
    assert [min(kept.cache.store.shape(number)[:2]) for number in large] == [100] * 3
    again = kept.read(large, crops(large))
    np.testing.assert_array_equal(first, again)
    difference = np.abs(first.astype(int) - plain.read(large, crops(large)))
    assert difference.mean() < 3


def test_validation_sees_the_same_pixels_with_a_cache_and_without(
    photos: Path, tmp_path: Path, decoded
) -> None:
    kept, plain = pictures(photos, tmp_path / "cache"), pictures(photos)
    every = np.arange(COUNT)
    expected = plain.read(every, FIT)
    np.testing.assert_array_equal(kept.read(every, FIT), expected)
    kept.read(every, crops(every))
    decoded.clear()
    np.testing.assert_array_equal(kept.read(every, FIT), expected)
    # Only those that were made smaller are decoded for it.
    assert sorted(decoded) == ["00.jpg", "04.jpg", "08.jpg"]


def test_what_another_process_has_added_is_found(
    photos: Path, tmp_path: Path, decoded, monkeypatch
) -> None:
    first, second = (pictures(photos, tmp_path / "cache") for _ in range(2))
    first.read(IDS, crops(IDS))
    decoded.clear()
    monkeypatch.setattr(cache_module, "_LOOK_AGAIN_SECONDS", 0.0)
    second.read(IDS, crops(IDS))
    assert decoded == []


def test_a_picture_that_was_damaged_there_is_decoded_again(
    photos: Path, tmp_path: Path, decoded
) -> None:
    expected = pictures(photos, tmp_path / "cache").read(IDS, crops(IDS))
    (path,) = (tmp_path / "cache").glob("*.pixels")
    path.write_bytes(bytes(path.stat().st_size))
    decoded.clear()
    kept = pictures(photos, tmp_path / "cache")
    np.testing.assert_array_equal(kept.read(IDS, crops(IDS)), expected)
    assert len(decoded) == len(IDS)
    np.testing.assert_array_equal(kept.read(IDS, crops(IDS)), expected)
    assert len(decoded) == len(IDS)


def test_a_full_disk_costs_time_and_nothing_else(
    photos: Path, tmp_path: Path, monkeypatch, caplog
) -> None:
    kept = pictures(photos, tmp_path / "cache")
    expected = pictures(photos).read(IDS, crops(IDS))

    def full(*_arguments: object, **_settings: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept.cache.store, "add", full)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            result = kept.read(IDS, crops(IDS))
    whole = IDS % 4 != 0
    np.testing.assert_array_equal(result[whole], expected[whole])
    assert len(caplog.records) == 1
    assert "No space left" in caplog.text
