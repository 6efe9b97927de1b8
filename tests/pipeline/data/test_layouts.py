"""How folders as people have them are told apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from foundation.errors import DataLayoutError
from pipeline.data import load_dataset
from pipeline.data.layouts import Layout, layout_of, layout_remarks, part_named
from pipeline.recipe.sections.data import DataRecipe


@pytest.fixture
def tree(tmp_path: Path):
    """Makes a picture of one pixel at each of some places, and folders where these end so."""

    def make(*places: str) -> Path:
        root = tmp_path / "set"
        root.mkdir()
        for number, place in enumerate(places):
            path = root / place
            if place.endswith("/"):
                path.mkdir(parents=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (1, 1), (number, 0, 0)).save(path)
        return root

    return make


def split(name: str, classes: Sequence[str] = ("cat", "dog")) -> list[str]:
    return [f"{name}/{label}/{number}.png" for label in classes for number in range(2)]


@pytest.mark.parametrize(
    ("places", "layout"),
    [
        (split("train") + split("test"), Layout("train", None, "test")),
        (split("train") + split("val"), Layout("train", None, "val")),
        (split("train") + split("valid"), Layout("train", None, "valid")),
        (split("train") + split("val") + split("test"), Layout("train", "val", "test")),
        (split("Training") + split("Validation") + split("TEST"),
         Layout("Training", "Validation", "TEST")),
        (split("train"), Layout("train")),
        (split("val"), Layout(None, None, "val")),
        (split("val") + split("test"), Layout(None, "val", "test")),
        (split("."), Layout("")),
        (split(".", ["train", "bus"]), Layout("")),  # vehicles
        (["cat/a/1.png", "cat/b/2.png", "dog/3.png"], Layout("")),
        (["1.png", "2.jpg"], Layout(is_flat=True)),
        (["1.png", "notes/", ".cache/x/3.png"], Layout(is_flat=True)),
        (["1.png", *split(".")], Layout("")),  # a stray picture makes no frames of it
        ([*split("train"), *split("val"), "test/1.png"], Layout("train", None, "val")),  # Kaggle's
    ],
)  # fmt: skip
def test_a_layout_is_known_by_what_lies_there(tree, places: list[str], layout: Layout) -> None:
    assert layout_of(tree(*places)) == layout


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ([], r"set: no images in it; a dataset has train/ and test/"),
        (["a/", "b/"], r"no images in it; here are 'a', 'b'"),
        (["train/", "test/"], r"test/ is there, but 0 class folders found in it"),
        (["train/1.png", "test/2.png"], r"test: 0 class folders found, and images without a cl"),
        (split("inner/train"), r"they are in .*/set/inner: name that folder"),
        (split("train") + split("Train"), r"Train/ and train/ may both be its train images"),
        (split("val") + split("valid"), r"val/ and valid/ may both be its validation images"),
        (["good/1.png", "bad/1.png", *split("test")],
         r"test/ has folders in it as a split has, and 'bad', 'good' hold images as classes do"),
    ],
)  # fmt: skip
def test_a_layout_that_could_be_two_or_none_is_told_of(tree, places: list[str], words: str) -> None:
    with pytest.raises(DataLayoutError, match=words):
        layout_of(tree(*places))


def test_tar_files_are_told_of_with_who_reads_them(tree) -> None:
    root = tree()
    (root / "train-000.tar").touch()
    with pytest.raises(DataLayoutError, match=r"here are tar files: shards:.* reads them"):
        layout_of(root)


def test_names_of_parts_are_known_in_any_case() -> None:
    assert [part_named(name) for name in ("TRAIN", "Valid", "dev", "test", "cat")] == [
        "train", "validation", "validation", "test", None,
    ]  # fmt: skip


def test_what_is_not_read_and_what_stands_in_is_said(tree) -> None:
    root = tree(*split("train"), *split("val"), "test/1.png", "old/")
    lines = list(layout_remarks(root, layout_of(root)))
    assert lines == [
        "val/ holds the test images, for there is no test/ with class folders; validation images "
        "are cut from train/",
        f"of {root} only train/ and val/ are read, not 'old', 'test'",
    ]


def load(root: Path, **settings):
    return load_dataset(DataRecipe(name=f"folder:{root}", image_size=1, **settings))


def shades(images) -> list[int]:
    """The numbers of the places, which each picture shows."""
    return [] if images is None else images.read(range(len(images.labels)))[:, 0, 0, 0].tolist()


class TestADataset:
    def test_of_three_splits_has_its_own_validation_images(self, tree) -> None:
        dataset = load(tree(*split("train"), *split("val"), *split("test")))
        parts = dataset.train, dataset.validation, dataset.test
        assert [shades(part) for part in parts] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
        assert [part.labels.tolist() for part in parts] == [[0, 0, 1, 1]] * 3

    def test_of_class_folders_alone_is_not_cut_yet(self, tree) -> None:
        dataset = load(tree(*split(".")))
        assert (dataset.classes, dataset.test, dataset.validation) == (["cat", "dog"], None, None)
        assert dataset.train.labels.tolist() == [0, 0, 1, 1]

    def test_of_a_test_split_alone_has_nothing_to_learn_from(self, tree) -> None:
        dataset = load(tree(*split("test")))
        assert (dataset.train, shades(dataset.test)) == (None, [0, 1, 2, 3])

    def test_without_labels_has_images_and_no_class(self, tree) -> None:
        dataset = load(tree("b.png", "a.png"))
        assert (dataset.train, dataset.classes, shades(dataset.test)) == (None, [], [1, 0])
        assert dataset.test.labels.tolist() == [-1, -1]
        assert any("have no labels: no accuracy" in line for line in dataset.remarks)

    def test_is_looked_at_for_changes_where_it_lies(self, tree) -> None:
        from pipeline.data.dataset_files import files_of, walk_files  # noqa: PLC0415

        root = tree(*split("train"), *split("valid"), "other/1.png", "2.png")
        files = files_of(f"folder:{root}")
        names = [name for name, _ in walk_files(files)]
        assert names == [*split("train"), *split("valid")]


class TestClassesInAKnownOrder:
    def test_are_those_of_the_order_with_its_numbers(self, tree, tmp_path: Path) -> None:
        (tmp_path / "names.txt").write_text("dog\nemu\ncat\n")
        dataset = load(tree(*split("train"), *split("test")), classes=str(tmp_path / "names.txt"))
        assert dataset.classes == ["dog", "emu", "cat"]
        assert dataset.train.labels.tolist() == dataset.test.labels.tolist() == [2, 2, 0, 0]
        assert any("images of 2 of them: 'dog', 'cat'" in line for line in dataset.remarks)

    def test_of_wordnet_ids_are_named(self, tree) -> None:
        places = split(".", ["n02391049", "n01440764"])
        dataset = load(tree(*places), classes="imagenet1k")
        assert len(dataset.classes) == 1000
        assert dataset.train.labels.tolist() == [0, 0, 340, 340]
        assert [dataset.classes[label] for label in (0, 340)] == ["tench", "zebra"]

    def test_may_be_a_single_one(self, tree) -> None:
        assert load(tree(*split(".", ["zebra"])), classes="imagenet1k").train.labels.tolist() == [
            340, 340,
        ]  # fmt: skip

    def test_that_a_folder_is_none_of_are_told_with_the_folder(self, tree) -> None:
        with pytest.raises(DataLayoutError, match=r"set: 1 of 2 classes \('zerba'\).*'zebra'\?"):
            load(tree(*split(".", ["zerba", "tench"])), classes="imagenet1k")

    def test_that_are_numbers_are_sorted_as_text_and_that_is_said(self, tree) -> None:
        numbers = [str(number) for number in range(11)]
        dataset = load(tree(*split(".", numbers)))
        assert dataset.classes[:3] == ["0", "1", "10"]
        assert any("class 2 is '10', not '2'" in line for line in dataset.remarks)
