from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foundation.errors import DataLayoutError, MissingFileError, UnreadableImageError, UsageError
from pipeline.data import load_dataset
from pipeline.recipe.sections.data import DataRecipe


def load(root: Path, **settings):
    return load_dataset(DataRecipe(name=f"folder:{root}", **settings))


def read_all(images) -> np.ndarray:
    return images.read(np.arange(len(images.labels)))


def test_classes_are_the_folder_names_and_labels_their_order(photos: Path) -> None:
    dataset = load(photos)
    assert dataset.classes == ["dark", "light"]
    assert dataset.train.labels.tolist() == [0] * 10 + [1] * 10
    assert dataset.test.labels.tolist() == [0] * 4 + [1] * 4
    dark = Image.open(photos / "train/dark/00.png")
    np.testing.assert_array_equal(read_all(dataset.train)[0], np.asarray(dark))


def test_images_take_the_size_of_the_first_unless_another_is_asked(photos: Path) -> None:
    assert read_all(load(photos).train).shape == (20, 16, 16, 3)
    assert read_all(load(photos, image_size=8).train).shape == (20, 8, 8, 3)


def test_images_of_mixed_sizes_are_brought_to_one(photos: Path) -> None:
    Image.new("RGB", (40, 20), (200, 0, 0)).save(photos / "train/light/99.png")
    images = read_all(load(photos).train)
    assert images.shape == (21, 16, 16, 3)
    np.testing.assert_array_equal(images[-1], np.full((16, 16, 3), (200, 0, 0), np.uint8))


def test_files_of_other_kinds_are_passed_over(photos: Path) -> None:
    (photos / "train/dark/notes.txt").write_text("no image")
    assert len(load(photos).train.labels) == 20


def test_the_larger_of_the_students_and_the_teachers_size_is_loaded(photos: Path) -> None:
    for student, teacher, expected in ((8, 12, 12), (8, 4, 8), (8, None, 8), (None, 12, 16)):
        images = load(photos, image_size=student, teacher_image_size=teacher).train
        assert read_all(images).shape[1:3] == (expected, expected)


class TestALayoutThatIsNotRight:
    def test_without_the_folder_itself(self, tmp_path: Path) -> None:
        with pytest.raises(MissingFileError, match="nowhere: no such folder"):
            load(tmp_path / "nowhere")

    @pytest.mark.parametrize(
        ("name", "words"), [("photos.zip", "a file; unpack it"), ("photos", "a file; name the f")]
    )
    def test_that_is_a_file(self, tmp_path: Path, name: str, words: str) -> None:
        (tmp_path / name).touch()
        with pytest.raises(MissingFileError, match=words):
            load(tmp_path / name)

    def test_with_a_name_that_no_folder_has(self, tmp_path: Path) -> None:
        with pytest.raises(DataLayoutError, match=r"cannot be looked at \(File name too long"):
            load(tmp_path / ("x" * 300))

    def test_of_tar_files(self, tmp_path: Path) -> None:
        (tmp_path / "train-000.tar").touch()
        with pytest.raises(DataLayoutError, match=r"here are tar files: shards:.* reads them"):
            load(tmp_path)

    def test_without_a_path(self) -> None:
        with pytest.raises(UsageError, match="folder:PATH"):
            load_dataset(DataRecipe(name="folder"))

    @pytest.mark.parametrize("split", ["train", "test"])
    def test_with_an_empty_class_folder(self, photos: Path, split: str) -> None:
        (photos / split / "grey").mkdir()
        with pytest.raises(DataLayoutError, match=f"{split}/grey: no images"):
            load(photos)

    def test_with_one_class(self, photos: Path) -> None:
        shutil.rmtree(photos / "train/dark")
        with pytest.raises(DataLayoutError, match="1 class folders"):
            load(photos)

    def test_with_different_classes_in_train_and_test(self, photos: Path) -> None:
        (photos / "test/dark").rename(photos / "test/dim")
        with pytest.raises(DataLayoutError, match="different class folders"):
            load(photos)


def truncated_jpeg(path: Path) -> None:
    Image.effect_noise((64, 64), 80).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:400])


def corrupt_png(path: Path) -> None:
    Image.effect_noise((64, 64), 80).save(path, "PNG")
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)


def truncated_gif(path: Path) -> None:
    Image.effect_noise((64, 64), 80).save(path, "GIF")
    path.write_bytes(path.read_bytes()[:30])


def truncated_tiff(path: Path) -> None:
    Image.effect_noise((64, 64), 80).save(path, "TIFF")
    path.write_bytes(path.read_bytes()[:200])


def bomb(path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(path, "PNG")


SPOILERS = {
    "text.jpg": lambda path: path.write_text("no image"),
    "empty.png": lambda path: path.write_bytes(b""),
    "truncated.jpg": truncated_jpeg,
    "corrupt.png": corrupt_png,
    "truncated.gif": truncated_gif,
    "truncated.tif": truncated_tiff,
    "bomb.png": bomb,
}


class TestAnImageThatCannotBeDecoded:
    @pytest.mark.parametrize("name", SPOILERS)
    def test_is_refused_by_name_and_with_what_to_do(self, photos: Path, name: str) -> None:
        SPOILERS[name](photos / "train/light" / name)
        with pytest.raises(UnreadableImageError, match=rf"light/{name}.*on_bad_image"):
            load(photos)

    @pytest.mark.parametrize("name", SPOILERS)
    def test_is_passed_over_and_named_when_asked(self, photos: Path, name: str) -> None:
        SPOILERS[name](photos / "train/light" / name)
        dataset = load(photos, on_bad_image="skip")
        assert dataset.skipped == (str(photos / "train/light" / name),)
        assert len(dataset.train.labels) == 20

    def test_does_not_decide_the_size(self, photos: Path) -> None:
        (photos / "train/dark/0-first.jpg").write_text("no image")
        assert read_all(load(photos, on_bad_image="skip").train).shape == (20, 16, 16, 3)

    def test_leaves_a_class_that_has_no_other_without_images(self, photos: Path) -> None:
        for image in (photos / "train/dark").iterdir():
            image.write_text("no image")
        with pytest.raises(
            (DataLayoutError, UnreadableImageError), match=r"train: not one .*'dark'"
        ):
            load(photos, on_bad_image="skip", image_size=8)
