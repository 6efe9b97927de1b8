"""Which images are for what, to teach with and to adopt a finished network on."""

from __future__ import annotations

import numpy as np
import pytest

from foundation.errors import DataLayoutError
from foundation.labels import UNLABELLED
from pipeline.data import Dataset
from pipeline.data.images import ArrayImages, ImageSet
from pipeline.data.parts import parts_to_adopt, parts_to_teach
from pipeline.data.splits import split
from pipeline.recipe.sections.data import DataRecipe

RECIPE = DataRecipe(name="folder:photos")


def images(*labels: int, first: int = 0) -> ArrayImages:
    """Images of one pixel, each of a shade of its own."""
    numbers = np.arange(first, first + len(labels))
    pixels = np.stack([numbers // 256, numbers % 256, numbers * 0], axis=1).astype(np.uint8)
    return ArrayImages(pixels[:, None, None, :], np.array(labels, np.int64))


def shades(part: ImageSet) -> list[int]:
    pixels = part.read(np.arange(len(part.labels)))[:, 0, 0].astype(int)
    return (pixels[:, 0] * 256 + pixels[:, 1]).tolist()


PAIR = [0, 1] * 10
CLASSES = ["cat", "dog"]


class TestToTeach:
    def test_a_validation_split_is_taken_as_it_is(self) -> None:
        dataset = Dataset(
            images(*PAIR), images(0, 1, first=50), CLASSES, validation=images(0, 1, 1, first=30)
        )
        parts = parts_to_teach(dataset, RECIPE)
        assert shades(parts.train) == list(range(20))
        assert shades(parts.validation) == [30, 31, 32]
        assert shades(parts.test) == [50, 51]
        assert parts.remarks == []

    def test_a_test_split_is_cut_where_there_is_none_class_by_class_and_that_is_said(self) -> None:
        parts = parts_to_teach(Dataset(images(*PAIR), None, CLASSES), RECIPE)
        every = [shades(part) for part in (parts.train, parts.validation, parts.test)]
        assert sorted(shade for part in every for shade in part) == list(range(20))
        assert [np.bincount(part.labels).tolist() for part in (parts.test, parts.validation)] == [
            [2, 2], [1, 1],
        ]  # fmt: skip
        assert parts.remarks == [
            "4 of 20 images, a share of each class, are the test images (data.test_fraction = 0.2)"
        ]
        again = parts_to_teach(Dataset(images(*PAIR), None, CLASSES), RECIPE)
        other = parts_to_teach(
            Dataset(images(*PAIR), None, CLASSES), DataRecipe(name="x", split_seed=1)
        )
        assert shades(again.test) == shades(parts.test) != shades(other.test)

    @pytest.mark.parametrize(
        ("test", "words"),
        [
            (images(0, 1), "has test images, but none to learn from; add a train split"),
            (images(UNLABELLED, UNLABELLED), "have no labels, and there is nothing to learn from"),
        ],
    )
    def test_without_training_images_is_refused_in_one_line(self, test, words: str) -> None:
        with pytest.raises(DataLayoutError, match=words):
            parts_to_teach(Dataset(None, test, CLASSES), RECIPE)


class TestToAdopt:
    def test_where_there_are_splits_they_are_what_they_are_to_teach(self) -> None:
        dataset = Dataset(images(*PAIR), images(0, 1, first=50), CLASSES)
        taught, adopted = parts_to_teach(dataset, RECIPE), parts_to_adopt(dataset, RECIPE)
        for name in ("train", "validation", "test"):
            assert shades(getattr(adopted, name)) == shades(getattr(taught, name))
        assert adopted.remarks == []

    def test_all_images_are_test_images_where_there_are_no_splits(self) -> None:
        parts = parts_to_adopt(Dataset(images(*PAIR), None, CLASSES), RECIPE)
        for part in (parts.train, parts.validation, parts.test):
            assert shades(part) == list(range(20))
        assert parts.remarks == [
            "all 20 images are test images; those that INT8 is calibrated on, and that choices are "
            "made by, are among them"
        ]

    def test_one_image_a_class_will_do(self) -> None:
        classes = [str(number) for number in range(1000)]
        whole = parts_to_adopt(Dataset(images(*range(1000)), None, classes), RECIPE)
        assert len(whole.test.labels) == 1000
        parts = parts_to_adopt(
            Dataset(images(*range(1000)), images(*range(1000), first=1000), classes), RECIPE
        )
        assert (len(parts.train.labels), len(parts.validation.labels)) == (900, 100)
        assert sorted(shades(parts.train) + shades(parts.validation)) == list(range(1000))
        (line,) = parts.remarks
        assert line == (
            "the 100 images held out for validation are drawn without regard to the classes: 1000 "
            "images of 1000 classes are too few to give some of each"
        )

    def test_a_test_split_alone_is_calibrated_on(self) -> None:
        parts = parts_to_adopt(Dataset(None, images(0, 1), CLASSES), RECIPE)
        assert shades(parts.train) == shades(parts.test) == [0, 1]

    def test_validation_images_are_calibrated_on_where_there_is_no_training(self) -> None:
        dataset = Dataset(None, images(0, 1), CLASSES, validation=images(1, first=9))
        parts = parts_to_adopt(dataset, RECIPE)
        assert (shades(parts.train), shades(parts.test)) == ([9], [0, 1])
        assert "INT8 is calibrated on some of the 1 validation images" in parts.remarks[0]

    def test_images_without_labels_calibrate_and_say_so(self) -> None:
        dataset = Dataset(None, images(*[UNLABELLED] * 3), ["0", "1"])
        splits = split(dataset, RECIPE, parts_for=parts_to_adopt)
        assert not splits.are_labelled
        assert splits.counts == {"train": 0, "student_train": 0, "validation": 0, "test": 3}
        assert splits.remarks == ("INT8 is calibrated on some of the 3 images without labels",)

    def test_counts_tell_which_images_are_apart(self) -> None:
        dataset = Dataset(images(*PAIR), images(0, 1), CLASSES)
        assert split(dataset, RECIPE, parts_for=parts_to_adopt).counts == {
            "train": 18, "student_train": 18, "validation": 2, "test": 2,
        }  # fmt: skip
