"""ImageNet and Tiny ImageNet: what must be fetched by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foundation.errors import DataLayoutError, MissingFileError
from pipeline.data import load_dataset
from pipeline.recipe.file import RecipeFile
from pipeline.recipe.sections.data import DataRecipe
from pipeline.recipe.sections.recipe import Recipe
from pipeline.training.prepare import TrainingData

CLASSES = ["n01443537", "n01629819"]


def photo(path: Path, level: int, size: tuple[int, int] = (64, 64)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, level)).save(path, "JPEG")


def load(name: str, root: Path, **settings):
    return load_dataset(DataRecipe(name=f"{name}:{root}", **settings))


def levels(images) -> list[int]:
    return images.read(np.arange(len(images.labels)))[:, 0, 0, 0].tolist()


class TestImageNet:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        for label, name in enumerate(CLASSES):
            for number in range(3):
                photo(tmp_path / "train" / name / f"{name}_{number}.JPEG", 100 * label, (50, 40))
            photo(tmp_path / "val" / name / "ILSVRC2012_val_1.JPEG", 50 + 100 * label)
        return tmp_path

    def test_is_read_from_train_and_val_at_its_usual_size(self, root: Path) -> None:
        dataset = load("imagenet", root)
        assert dataset.classes == CLASSES
        assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
        np.testing.assert_allclose(levels(dataset.test), [50, 150], atol=2)

    def test_is_prepared_as_everybody_prepares_it(self, root: Path) -> None:
        recipe = Recipe(data={"name": f"imagenet:{root}", "val_fraction": 0.4})
        data = TrainingData(RecipeFile(recipe))
        record = data.splits.preprocessing
        assert (record.height, record.width, record.resize_to) == (224, 224, [256, 256])
        assert (record.fit, record.mean) == ("crop", [0.485, 0.456, 0.406])
        assert any("usual way of ImageNet" in line for line in data.remarks)

    def test_is_read_at_the_asked_size(self, root: Path) -> None:
        train = load("imagenet", root, image_size=8, teacher_image_size=10).train
        assert train.read(np.array([0])).shape == (1, 10, 10, 3)

    def test_that_is_not_there_is_told_with_what_to_fetch(self, root: Path) -> None:
        (root / "val").rename(root / "elsewhere")
        with pytest.raises(MissingFileError) as caught:
            load("imagenet", root)
        assert str(root / "val") in str(caught.value)
        for part in ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "image-net.org"):
            assert part in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_is_looked_for_in_data_without_a_path(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(MissingFileError, match=r"^data/imagenet/val"):
            load_dataset(DataRecipe(name="imagenet"))


class TestTinyImageNet:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        folder = tmp_path / "tiny-imagenet-200"
        for label, name in enumerate(CLASSES):
            for number in range(3):
                path = folder / "train" / name / "images" / f"{name}_{number}.JPEG"
                photo(path, 100 * label + number)
            (folder / "train" / name / f"{name}_boxes.txt").write_text("box")
        lines = []
        for number, label in enumerate((1, 0, 1)):
            photo(folder / f"val/images/val_{number}.JPEG", 50 + 10 * number)
            lines.append(f"val_{number}.JPEG\t{CLASSES[label]}\t0\t32\t44\t62\n")
        (folder / "val/val_annotations.txt").write_text("".join(lines))
        photo(folder / "test/images/test_0.JPEG", 0)
        return tmp_path

    def table(self, root: Path) -> Path:
        return root / "tiny-imagenet-200/val/val_annotations.txt"

    def test_is_read_as_it_is_published(self, root: Path) -> None:
        dataset = load("tiny-imagenet", root)
        assert dataset.classes == CLASSES
        assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
        np.testing.assert_allclose(levels(dataset.train), [0, 1, 2, 100, 101, 102], atol=2)
        assert dataset.test.labels.tolist() == [1, 0, 1]
        np.testing.assert_allclose(levels(dataset.test), [50, 60, 70], atol=2)
        assert dataset.train.read(np.array([0])).shape == (1, 64, 64, 3)

    def test_is_read_at_the_asked_size(self, root: Path) -> None:
        assert load("tiny-imagenet", root, image_size=32).test.read(np.array([0])).shape[1] == 32

    def test_that_is_not_there_is_told_with_what_to_fetch(self, tmp_path: Path) -> None:
        with pytest.raises(MissingFileError, match=r"tiny-imagenet-200: no such .*\.zip") as caught:
            load("tiny-imagenet", tmp_path)
        assert "\n" not in str(caught.value)

    def test_says_what_is_left_out(self, root: Path) -> None:
        folder = root / "tiny-imagenet-200"
        photo(folder / "val/images/val_9.JPEG", 0)
        photo(folder / "train/.trash/images/1.JPEG", 0)
        (folder / f"train/{CLASSES[0]}/images/._1.JPEG").touch()
        dataset = load("tiny-imagenet", root)
        assert (dataset.classes, len(dataset.train.labels)) == (CLASSES, 6)
        said = "\n".join(dataset.remarks)
        for words in ("1 images of val/ stand in no line", "1 hidden or system folder", "._1.JPEG"):
            assert words in said

    def test_with_a_table_in_latin_1_is_refused(self, root: Path) -> None:
        with self.table(root).open("ab") as table:
            table.write(f"caf\xe9.JPEG\t{CLASSES[0]}\t0\n".encode("latin-1"))
        with pytest.raises(DataLayoutError, match=r"val_annotations\.txt: byte 0xE9 in line 4"):
            load("tiny-imagenet", root)

    def test_without_its_table_is_refused(self, root: Path) -> None:
        self.table(root).unlink()
        with pytest.raises(DataLayoutError, match=r"val_annotations\.txt: not there"):
            load("tiny-imagenet", root)

    @pytest.mark.parametrize(
        "line",
        ["val_9.JPEG\tn00000000\t0\t0\t1\t1", "nothing", "", f"../../x.JPEG\t{CLASSES[0]}\t0"],
    )
    def test_with_a_line_that_is_not_right_is_refused(self, root: Path, line: str) -> None:
        with self.table(root).open("a") as table:
            table.write(f"{line}\n")
        with pytest.raises(DataLayoutError, match=r"val_annotations\.txt line 4"):
            load("tiny-imagenet", root)

    def test_with_an_empty_table_is_refused(self, root: Path) -> None:
        self.table(root).write_text("")
        with pytest.raises(DataLayoutError, match="names no images"):
            load("tiny-imagenet", root)
