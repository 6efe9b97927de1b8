from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from foundation.errors import DataLayoutError, RecipeError
from pipeline.data import Dataset, load_dataset
from pipeline.data.images import ArrayImages, Subset
from pipeline.data.splits import split
from pipeline.recipe.sections.data import DataRecipe


def numbered(per_class: int = 40, classes: int = 3) -> Dataset:
    """Images whose first two pixels say which they are."""
    count = per_class * classes
    pixels = np.zeros((count, 2, 2, 1), np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 1, 0] = np.divmod(np.arange(count), 256)
    train = ArrayImages(pixels, np.arange(count) % classes)
    return Dataset(train, ArrayImages(pixels[:9], np.arange(9) % classes), list("abc")[:classes])


def ids(part: object) -> list[int]:
    assert isinstance(part, Subset)
    return part.ids.tolist()


def test_train_and_validation_are_disjoint_and_make_up_the_whole() -> None:
    splits = split(numbered(), DataRecipe(val_fraction=0.25))
    train, validation = ids(splits.train), ids(splits.validation)
    assert sorted([*train, *validation]) == list(range(120))
    assert len(validation) == 30


def test_every_class_gives_its_share() -> None:
    splits = split(numbered(), DataRecipe(val_fraction=0.25, student_fraction=0.5))
    for part, each in ((splits.train, 30), (splits.validation, 10), (splits.student_train, 15)):
        assert np.bincount(part.labels).tolist() == [each] * 3


def test_the_student_sees_a_part_of_what_the_teacher_sees() -> None:
    splits = split(numbered(), DataRecipe(student_fraction=0.2))
    assert set(ids(splits.student_train)) < set(ids(splits.train))


def test_the_student_sees_all_unless_a_part_is_asked_for() -> None:
    splits = split(numbered(), DataRecipe())
    assert ids(splits.student_train) == ids(splits.train)


def test_the_same_split_seed_gives_the_same_parts_and_another_gives_others() -> None:
    parts = [ids(split(numbered(), DataRecipe(split_seed=seed)).validation) for seed in (1, 1, 2)]
    assert parts[0] == parts[1] != parts[2]


def test_mean_and_deviation_are_those_of_the_training_part_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 3), dtype=np.uint8)
    dataset = Dataset(
        ArrayImages(pixels, np.arange(60) % 2), ArrayImages(pixels[:2], np.arange(2)), ["a", "b"]
    )
    splits = split(dataset, DataRecipe(val_fraction=0.5))
    seen = pixels[ids(splits.train)].reshape(-1, 3) / 255
    np.testing.assert_allclose(splits.preprocessing.mean, seen.mean(0), atol=1e-6)
    np.testing.assert_allclose(splits.preprocessing.std, seen.std(0), atol=1e-6)
    prepared = splits.preprocessing.apply(pixels[ids(splits.train)])
    np.testing.assert_allclose(prepared.mean((0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(prepared.std((0, 2, 3)), 1, atol=1e-4)


def test_a_given_mean_and_deviation_stand_in_for_the_images_own_each_for_itself() -> None:
    found = split(numbered(), DataRecipe()).preprocessing
    both = DataRecipe(mean=[0.0], std=[0.5], teacher_image_size=4)
    splits = split(numbered(), both)
    assert (splits.preprocessing.mean, splits.preprocessing.std) == ([0.0], [0.5])
    teachers = splits.teacher_preprocessing
    assert (teachers.mean, teachers.std, teachers.height) == ([0.0], [0.5], 4)
    one = split(numbered(), DataRecipe(mean=[0.25])).preprocessing
    assert (one.mean, one.std) == ([0.25], found.std)
    black = np.zeros((1, 2, 2, 1), np.uint8)
    np.testing.assert_allclose(one.apply(black), -0.25 / found.std[0], rtol=1e-5)


@pytest.mark.parametrize("name", ["mean", "std"])
@pytest.mark.parametrize("values", [[0.1, 0.2], [0.1, 0.2, 0.3]])
def test_a_mean_or_deviation_for_other_channels_is_refused(name: str, values: list[float]) -> None:
    with pytest.raises(RecipeError, match=rf"data\.{name} .*{len(values)} values.* 1 channels"):
        split(numbered(), DataRecipe(**{name: values}))


@pytest.mark.parametrize(
    "wrong", [{"std": [0.0]}, {"std": [-1.0]}, {"mean": [float("nan")]}, {"mean": ["0.5"]}]
)
def test_an_impossible_mean_or_deviation_is_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        DataRecipe(**wrong)


def test_mean_and_deviation_of_more_images_than_a_block_are_right() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (900, 2, 2, 3), dtype=np.uint8)
    pixels[450:] //= 2
    dataset = Dataset(
        ArrayImages(pixels, np.arange(900) % 2), ArrayImages(pixels[:2], np.arange(2)), ["a", "b"]
    )
    splits = split(dataset, DataRecipe(val_fraction=0.1))
    seen = pixels[ids(splits.train)].reshape(-1, 3) / 255
    np.testing.assert_allclose(splits.preprocessing.mean, seen.mean(0), atol=1e-6)
    np.testing.assert_allclose(splits.preprocessing.std, seen.std(0), atol=1e-6)


class TestSizes:
    def parts(self, **settings: int):
        pixels = np.random.default_rng(0).integers(0, 256, (60, 6, 6, 3), dtype=np.uint8)
        images = ArrayImages(pixels, np.arange(60) % 2)
        return split(Dataset(images, images, ["a", "b"]), DataRecipe(**settings))

    @pytest.mark.parametrize(
        ("settings", "student", "teacher"),
        [({}, 6, 6), ({"image_size": 4}, 4, 4), ({"teacher_image_size": 8}, 6, 8),
         ({"image_size": 4, "teacher_image_size": 6}, 4, 6)],
    )  # fmt: skip
    def test_student_and_teacher_each_get_their_own(
        self, settings: dict[str, int], student: int, teacher: int
    ) -> None:
        parts = self.parts(**settings)
        for preprocessing, size in (
            (parts.preprocessing, student),
            (parts.teacher_preprocessing, teacher),
        ):
            assert (preprocessing.height, preprocessing.width) == (size, size)
        some = np.arange(3)
        assert parts.for_student(parts.test).read(some).shape == (3, student, student, 3)
        assert parts.for_teacher(parts.test).read(some).shape == (3, teacher, teacher, 3)
        assert parts.train.read(some).shape == (3, 6, 6, 3)

    def test_mean_and_deviation_are_the_same_for_both(self) -> None:
        parts = self.parts(image_size=4, teacher_image_size=6)
        assert parts.preprocessing.mean == parts.teacher_preprocessing.mean
        assert parts.preprocessing.std == parts.teacher_preprocessing.std


def test_a_channel_that_never_varies_is_not_divided_by_zero() -> None:
    pixels = np.full((40, 2, 2, 1), 7, np.uint8)
    dataset = Dataset(
        ArrayImages(pixels, np.arange(40) % 2), ArrayImages(pixels[:2], np.arange(2)), ["a", "b"]
    )
    preprocessing = split(dataset, DataRecipe()).preprocessing
    assert np.isfinite(preprocessing.apply(pixels)).all()


def test_too_few_images_for_a_cut_are_told_of() -> None:
    with pytest.raises(DataLayoutError, match=r"0\.1 is too small for 6 .* set it to 0\.5"):
        split(numbered(per_class=2), DataRecipe())


def test_the_digits_test_set_stays_the_same_whatever_else_the_recipe_asks() -> None:
    first = load_dataset(DataRecipe(image_size=8))
    second = load_dataset(DataRecipe(image_size=8, val_fraction=0.3, student_fraction=0.1))
    np.testing.assert_array_equal(first.test.labels, second.test.labels)
    everything = np.arange(len(first.test.labels))
    np.testing.assert_array_equal(first.test.read(everything), second.test.read(everything))


def test_a_class_of_one_image_is_told_of_by_its_name() -> None:
    pixels, labels = np.zeros((41, 2, 2, 1), np.uint8), np.append(np.arange(40) % 2, 2)
    dataset = Dataset(ArrayImages(pixels, labels), ArrayImages(pixels, labels), ["a", "b", "lone"])
    with pytest.raises(DataLayoutError, match=r"class 'lone' has one image to learn from"):
        split(dataset, DataRecipe())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"val_fraction": 0.01}, r"val_fraction = 0\.01 is too small.*set it to 0\.05"),
        ({"val_fraction": 0.99}, r"val_fraction = 0\.99 is too large.*set it to 0\.95"),
        ({"student_fraction": 0.01}, r"student_fraction = 0\.01 is too small"),
    ],
)
def test_a_share_that_leaves_a_class_out_is_told_with_one_that_does_not(settings, words) -> None:
    dataset = numbered(per_class=20)
    with pytest.raises(DataLayoutError, match=words) as caught:
        split(dataset, DataRecipe(**settings))
    if "val_fraction" in settings:
        share = float(str(caught.value).rpartition(" ")[2])
        assert set(split(dataset, DataRecipe(val_fraction=share)).validation.labels) == {0, 1, 2}


def test_a_class_that_is_too_small_to_be_held_out_is_told_of() -> None:
    labels = np.append(np.zeros(60, np.int64), [1, 1])
    pixels = np.zeros((62, 2, 2, 1), np.uint8)
    dataset = Dataset(ArrayImages(pixels, labels), ArrayImages(pixels, labels), ["many", "few"])
    (line,) = split(dataset, DataRecipe()).remarks
    assert line.startswith("no image of 'few' (1 of 2 classes) is held out for validation")


def test_a_class_without_any_image_is_not_missed_in_a_part() -> None:
    """Of a known order of classes a set may have a few."""
    labels = np.arange(60) % 2
    images = ArrayImages(np.zeros((60, 2, 2, 1), np.uint8), labels)
    assert split(Dataset(images, images, ["a", "b", "unseen"]), DataRecipe()).remarks == ()
