from __future__ import annotations

from pathlib import Path

import pytest

from foundation.errors import DataLayoutError
from pipeline.data.class_folders import class_names, list_classes, load_class_folders
from pipeline.data.layouts import Layout
from pipeline.recipe.sections.data import DataRecipe


def test_images_are_listed_class_by_class_and_by_name(photos: Path) -> None:
    split = list_classes(photos / "train", ["light", "dark"])
    assert split.labels.tolist() == [0] * 10 + [1] * 10
    assert split.images.open(0) == photos / "train/light/00.png"
    assert split.images.open(19) == photos / "train/dark/09.png"
    assert split.where == photos / "train"


def test_images_may_lie_in_a_folder_of_the_class_folder(photos: Path) -> None:
    for name in ("dark", "light"):
        (photos / "train" / name).rename(photos / "moved")
        (photos / "train" / name).mkdir()
        (photos / "moved").rename(photos / "train" / name / "images")
    split = list_classes(photos / "train", ["dark", "light"], inside="images")
    assert split.images.open(0) == photos / "train/dark/images/00.png"
    assert class_names(photos / "train", "images") == ["dark", "light"]
    with pytest.raises(DataLayoutError, match="dark/pictures: no images"):
        class_names(photos / "train", "pictures")


def test_splits_may_have_other_names(photos: Path) -> None:
    (photos / "test").rename(photos / "val")
    dataset = load_class_folders(photos, DataRecipe(), 8, Layout("train", None, "val"))
    assert len(dataset.test.labels) == 8
    with pytest.raises(DataLayoutError, match="test: no such folder; the dataset has no test/"):
        load_class_folders(photos, DataRecipe(), 8)


def test_only_image_files_count_in_any_case(photos: Path) -> None:
    for name in ("10.JPEG", "notes.txt", "png"):
        (photos / "train/dark" / name).touch()
    assert list_classes(photos / "train", ["dark", "light"]).labels.tolist() == [0] * 11 + [1] * 10
