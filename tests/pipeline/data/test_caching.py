from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foundation.errors import MissingFileError, RecipeError
from pipeline.data import Dataset, load_dataset
from pipeline.data.caching import ABOUT, cache_pictures
from pipeline.data.channels import with_channels
from pipeline.data.cropping import RandomCrop
from pipeline.data.framing import Fit
from pipeline.recipe.file import load_recipe
from pipeline.recipe.sections.data import DataRecipe
from pipeline.training.prepare import TrainingData


@pytest.fixture
def large_photos(photos: Path) -> Path:
    """The photos at 40 × 50 pixels."""
    for path in photos.rglob("*.png"):
        Image.open(path).resize((50, 40)).save(path)
    return photos


def loaded(photos: Path, **settings: object) -> tuple[Dataset, DataRecipe]:
    settings = {"augment": {"crop_min_area": 0.3}, **settings}
    recipe = DataRecipe(name=f"folder:{photos}", image_size=16, **settings)
    return load_dataset(recipe), recipe


def read_crops(dataset: Dataset) -> np.ndarray:
    ids = np.arange(len(dataset.train.labels))
    return dataset.train.read(ids, RandomCrop.of(Fit(16, 16), 0.3, ids, 0, 0))


def pixel_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.pixels"))


def test_training_pictures_are_kept_in_a_folder_of_their_own(large_photos, tmp_path) -> None:
    dataset, recipe = loaded(large_photos, cache=str(tmp_path / "cache"))
    assert cache_pictures(dataset, recipe, "abc", (16, 16)) is None
    expected = read_crops(loaded(large_photos)[0])
    np.testing.assert_array_equal(read_crops(dataset).shape, expected.shape)
    (path,) = pixel_files(tmp_path / "cache")
    # Their shorter side is made twice an image's.
    assert path.stat().st_size == 20 * 32 * 40 * 3
    about = json.loads((path.parent / ABOUT).read_text())
    assert (about["files"], about["pictures"], about["side"]) == ("abc", 20, 32)


def test_other_files_or_settings_have_another_folder(large_photos, tmp_path) -> None:
    cases = [
        ("abc", {}), ("abd", {}), ("abc", {"cache_side": 20}), ("abc", {"ground": [0, 0, 0]}),
        ("abc", {"max_megapixels": 1.0}),
    ]  # fmt: skip
    for files, settings in cases:
        dataset, recipe = loaded(large_photos, cache=str(tmp_path / "cache"), **settings)
        cache_pictures(dataset, recipe, files, (16, 16))
        read_crops(dataset)
    assert len({path.parent for path in pixel_files(tmp_path / "cache")}) == len(cases)


def test_grey_images_are_cut_from_the_same_pictures(large_photos, tmp_path) -> None:
    dataset, recipe = loaded(large_photos, cache=str(tmp_path), cache_side=40)
    grey = with_channels(dataset, 1)
    cache_pictures(grey, recipe, "abc", (16, 16))
    expected = read_crops(with_channels(loaded(large_photos)[0], 1))
    for _ in range(2):
        np.testing.assert_array_equal(read_crops(grey), expected)
    assert len(pixel_files(tmp_path)) == 1


def test_pictures_that_are_in_memory_need_none_and_that_is_told(photos, tmp_path) -> None:
    dataset, recipe = loaded(photos, cache=str(tmp_path / "cache"))
    note = cache_pictures(dataset, recipe, "abc", (16, 16))
    assert note == "data.cache is not needed: all pictures are in memory"
    assert not (tmp_path / "cache").exists()


def test_without_random_crops_it_is_not_used_and_that_is_told(large_photos, tmp_path) -> None:
    dataset, recipe = loaded(large_photos, cache=str(tmp_path / "cache"), augment={})
    note = cache_pictures(dataset, recipe, "abc", (16, 16))
    assert note is not None and note.startswith("data.cache is not used: it is for random crops")
    assert not (tmp_path / "cache").exists()


def test_a_set_that_cannot_tell_of_changes_is_refused(large_photos, tmp_path) -> None:
    dataset, recipe = loaded(large_photos, cache=str(tmp_path))
    with pytest.raises(RecipeError, match="does not say which files it reads"):
        cache_pictures(dataset, recipe, None, (16, 16))


def test_a_folder_that_cannot_be_written_is_told_of_by_name(large_photos, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    dataset, recipe = loaded(large_photos, cache=str(tmp_path / "file"))
    with pytest.raises(MissingFileError, match=r"file.*cannot be kept there"):
        cache_pictures(dataset, recipe, "abc", (16, 16))


@pytest.mark.parametrize(
    ("settings", "side"),
    [({}, 40), ({"data.teacher_image_size": 32}, 64), ({"data.augment.crop_size": 12}, 24)],
)
def test_pictures_are_kept_with_twice_the_pixels_of_the_largest_crop(
    large_photos, tmp_path, settings, side: int
) -> None:
    views_of(large_photos, **settings, **{"data.cache": str(tmp_path / "cache")})
    (about,) = (tmp_path / "cache").rglob(ABOUT)
    assert json.loads(about.read_text())["side"] == side


def views_of(photos: Path, **settings: object) -> list[np.ndarray]:
    """Two epochs of training images, batch by batch."""
    places = {
        "data.name": f"folder:{photos}", "data.image_size": 20,
        "data.augment.preset": "imagenet", "data.batch_size": 8,
    }  # fmt: skip
    data = TrainingData(load_recipe(None, places | settings))
    batches = data.batches(data.splits.train, 0)
    return [batch.images.numpy() for epoch in range(2) for batch in _at(batches, epoch)]


def assert_same(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_run_trains_on_the_same_pixels_with_a_cache_and_without(large_photos, tmp_path) -> None:
    cache = {"data.cache": str(tmp_path / "cache")}
    without = views_of(large_photos)
    for _ in range(2):
        assert_same(views_of(large_photos, **cache), without)
    assert pixel_files(tmp_path / "cache")
    Image.new("RGB", (50, 40)).save(large_photos / "train" / "dark" / "00.png")
    views_of(large_photos, **cache)
    assert len({path.parent for path in pixel_files(tmp_path / "cache")}) == 2


READING = """
import sys
from pathlib import Path
from test_caching import views_of
print("ready", flush=True)
while True:
    views_of(Path(sys.argv[1]), **{"data.cache": sys.argv[2]})
"""


def test_a_killed_training_leaves_nothing_that_is_wrong(large_photos, tmp_path) -> None:
    folder = tmp_path / "cache"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])
    }
    process = subprocess.Popen(
        [sys.executable, "-c", READING, str(large_photos), str(folder)],
        env=environment, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == b"ready\n"
    wait_until(lambda: any(path.stat().st_size for path in pixel_files(folder)))
    process.kill()
    process.wait()
    assert_same(views_of(large_photos, **{"data.cache": str(folder)}), views_of(large_photos))


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def _at(batches, epoch: int):
    batches.set_epoch(epoch)
    return batches
