"""What is found in class folders as people have them, and what is said of the rest."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foundation.errors import DataLayoutError, UnreadableImageError
from pipeline.data import load_dataset
from pipeline.recipe.sections.data import DataRecipe

CAFE = os.fsdecode(b"caf\xe9")


def load(root: Path, **settings):
    return load_dataset(DataRecipe(name=f"folder:{root}", **settings))


def remarks(root: Path) -> str:
    """What is said of a set that is otherwise as it was: classes and images unchanged."""
    dataset = load(root)
    assert dataset.classes == ["dark", "light"]
    assert len(dataset.train.labels) == 20
    return "\n".join(dataset.remarks)


def both(photos: Path) -> list[Path]:
    return [photos / "train", photos / "test"]


class TestWhatIsNoClass:
    @pytest.mark.parametrize("name", [".ipynb_checkpoints", "__MACOSX", "@eaDir", ".git"])
    def test_is_left_out_in_both_splits_and_said(self, photos: Path, name: str) -> None:
        """A notebook's copies would make a class of their own, and a gate would pass it."""
        for split in both(photos):
            shutil.copytree(split / "dark", split / name)
        assert f"2 hidden or system folders ('train/{name}', 'test/{name}')" in remarks(photos)

    def test_within_a_class_is_no_image_either(self, photos: Path) -> None:
        shutil.copytree(photos / "train/dark", photos / "train/dark/.thumbnails")
        assert "'train/dark/.thumbnails'" in remarks(photos)

    @pytest.mark.parametrize("name", ["._00.png", ".DS_Store", "Thumbs.db", "desktop.ini"])
    def test_may_be_a_file(self, photos: Path, name: str) -> None:
        for folder in (photos / "train", photos / "train/dark"):
            (folder / name).write_bytes(b"\0\5\x16\7")
        said = remarks(photos)
        assert f"2 hidden or system files ('train/{name}', 'train/dark/{name}')" in said

    def test_lies_beside_the_splits(self, photos: Path) -> None:
        (photos / "val").mkdir()
        assert "only train/ and test/ are read, not 'val'" in remarks(photos)

    def test_is_a_picture_in_no_class(self, photos: Path) -> None:
        shutil.copy(photos / "train/dark/00.png", photos / "train/lone.png")
        assert "1 left out that lie in no class folder ('train/lone.png')" in remarks(photos)


class TestWhatIsNoImage:
    def test_is_counted_with_the_names_of_a_few(self, photos: Path) -> None:
        for number in range(5):
            (photos / f"train/dark/{number}.txt").write_text("words")
        assert "5 other files ('train/dark/" in remarks(photos)

    def test_but_a_picture_of_another_kind_is_told_apart(self, photos: Path) -> None:
        (photos / "train/dark/a.HEIC").write_bytes(bytes(8))
        assert "1 left out, of a kind of picture that is not read ('train/dark/a.H" in remarks(
            photos
        )

    def test_but_a_picture_by_its_content_is_told_apart(self, photos: Path) -> None:
        for name in ("a.img", "b"):
            shutil.copy(photos / "train/dark/00.png", photos / "train/dark" / name)
        said = remarks(photos)
        assert "2 left out that are pictures by their content, but not by their suffix" in said

    def test_makes_a_class_without_images_tell_what_it_has(self, photos: Path) -> None:
        for image in (photos / "train/dark").iterdir():
            image.rename(image.with_suffix(".img"))
        with pytest.raises(DataLayoutError, match=r"dark: no images.*10 left out .* rename them"):
            load(photos)

    def test_is_a_pipe(self, photos: Path) -> None:
        os.mkfifo(photos / "train/dark/a.png")
        (photos / "train/dark/b.png").symlink_to("a.png")
        (photos / "train/dark/c.png").symlink_to("/dev/zero")
        assert "3 left out that are pipes, sockets or devices" in remarks(photos)

    def test_is_a_folder_called_like_one(self, photos: Path) -> None:
        (photos / "train/dark/a.png").mkdir()
        remarks(photos)


class TestImagesInInnerFolders:
    def test_belong_to_the_class(self, photos: Path) -> None:
        (photos / "train/dark/roll/two").mkdir(parents=True)
        for number in (8, 9):
            image = photos / f"train/dark/0{number}.png"
            image.rename(photos / f"train/dark/roll/two/0{number}.png")
        assert "2 images lie in folders within their class folder" in remarks(photos)

    def test_are_found_once_however_links_go_round(self, photos: Path) -> None:
        inner = photos / "train/dark/inner"
        inner.mkdir()
        (photos / "train/dark/00.png").rename(inner / "00.png")
        for number, target in enumerate((".", "..", "../..", "inner", "/")):
            (photos / f"train/dark/round{number}").symlink_to(target)
        assert "5 links not followed" in remarks(photos)


class TestALink:
    def test_to_a_class_or_to_an_image_is_followed(self, photos: Path) -> None:
        (photos / "train/dark").rename(photos.parent / "elsewhere")
        (photos / "train/dark").symlink_to(photos.parent / "elsewhere")
        (photos.parent / "elsewhere/00.png").rename(photos.parent / "00.png")
        (photos / "train/dark/00.png").symlink_to(photos.parent / "00.png")
        remarks(photos)

    def test_that_leads_nowhere_is_an_image_that_cannot_be_read(self, photos: Path) -> None:
        (photos / "train/dark/a.png").symlink_to("nowhere.png")
        (photos / "train/light/b.png").symlink_to("b.png")
        with pytest.raises(UnreadableImageError, match=r"a\.png: .*a link that leads nowhere"):
            load(photos)
        assert len(load(photos, on_bad_image="skip").skipped) == 2


class TestClassesThatDiffer:
    def test_are_named_with_the_split_they_are_in(self, photos: Path) -> None:
        (photos / "test/dark").rename(photos / "test/dim")
        with pytest.raises(
            DataLayoutError, match=r"different .*only in train/: 'dark'; only in test/: 'dim'\)"
        ):
            load(photos)

    @pytest.mark.parametrize(
        "names", [("dark", "Dark"), ("caf\u00e9", "cafe\u0301"), ("a b", "a b ")]
    )
    def test_in_what_is_easily_overlooked_are_told_so(self, photos: Path, names) -> None:
        for split, name in zip(both(photos), names, strict=True):
            (split / "dark").rename(split / name)
        with pytest.raises(DataLayoutError, match="differ in upper and lower case, blanks or acc"):
            load(photos)

    def test_within_a_split_by_their_case_alone_are_said_to_be_two(self, draw_photos, tmp_path):
        said = load(draw_photos(tmp_path / "x", ("cat", "Cat"))).remarks
        assert "classes 'Cat' and 'cat' are two, though their names are nearly the same" in said


class TestASplitThatIsNotThere:
    @pytest.mark.parametrize(("there", "missing"), [("val", "test"), ("Train", "train")])
    def test_may_have_another_name(self, photos: Path, there: str, missing: str) -> None:
        (photos / missing).rename(photos / "x")
        (photos / "x").rename(photos / there)
        remarks(photos)

    def test_is_a_folder_deeper(self, photos: Path) -> None:
        with pytest.raises(DataLayoutError, match=r"they are in .*/photos: name that folder"):
            load(photos.parent)


class TestANameThatIsNotUtf8:
    def test_of_a_class_is_refused(self, photos: Path) -> None:
        for split in both(photos):
            (split / "dark").rename(split / CAFE)
        with pytest.raises(DataLayoutError, match=r"caf\\xe9: .* not UTF-8.*rename it"):
            load(photos)

    def test_of_a_class_that_cannot_be_printed_is_refused(self, photos: Path) -> None:
        for split in both(photos):
            (split / "dark").rename(split / "da\nrk")
        with pytest.raises(DataLayoutError, match=r"da\\nrk': .* cannot be printed.*rename it"):
            load(photos)

    def test_of_a_file_is_read_and_can_be_told(self, photos: Path) -> None:
        path = photos / "train/dark" / f"{CAFE}.png"
        (photos / "train/dark/00.png").rename(path)
        remarks(photos)
        path.write_bytes(b"")
        with pytest.raises(UnreadableImageError, match=r"caf\\xe9\.png: .*it is empty"):
            load(photos)


class TestAnOddName:
    NAMES = ("a b.png", "new\nline.png", "tab\t.png", "ünï.png", "e\u0301.png", "日本.png",
             "[red]x.png", "-dash.png", "q'uo\"te.png", "%s{0}.PNG")  # fmt: skip

    def test_of_a_file_is_read_and_of_the_folder_too(self, photos: Path) -> None:
        for number, name in enumerate(self.NAMES):
            (photos / f"train/dark/0{number}.png").rename(photos / "train/dark" / name)
        odd = photos.rename(photos.parent / "odd [bold]ü\n2")
        remarks(odd)

    @pytest.mark.parametrize("name", NAMES)
    def test_is_told_letter_for_letter(self, photos: Path, name: str) -> None:
        (photos / "train/dark" / name).write_bytes(b"")
        with pytest.raises(UnreadableImageError, match="it is empty") as caught:
            load(photos)
        assert name in str(caught.value)


def test_a_line_of_images_that_repeat_names_one_of_each(photos: Path) -> None:
    shutil.copy(photos / "train/dark/03.png", photos / "test/dark/00.png")
    shutil.copy(photos / "train/dark/05.png", photos / "train/light/05.png")
    said = remarks(photos)
    assert "1 of 8 test images are also training images, pixel for pixel (" in said
    assert "test/dark/00.png is " in said
    assert "train/dark/03.png)" in said
    assert "1 training images are in two classes, pixel for pixel (" in said


class TestWhatIsDecidedByLooking:
    def test_is_the_size_and_one_odd_image_does_not_decide_it(self, photos: Path) -> None:
        Image.new("RGB", (2, 3)).save(photos / "train/dark/00.png")
        dataset = load(photos)
        said = "\n".join(dataset.remarks)
        assert dataset.train.read([0]).shape[1:3] == (16, 16)
        assert "taken at 16×16, the median of the shorter sides of the 20 that were" in said
        assert "(from 2 to 16 pixels)" in said
        assert "1 of 20 images are not square; they are squashed to 16×16" in said
        assert "the smallest image is 2×3 (" in said

    def test_is_told_where_all_are_alike(self, photos: Path) -> None:
        assert "images are taken at 16×16, as all 20 that were looked at are" in remarks(photos)

    def test_is_not_told_where_it_was_said(self, photos: Path) -> None:
        assert not any("taken at" in line for line in load(photos, image_size=16).remarks)

    @pytest.mark.parametrize(("top", "white"), [(4000, 4095), (60_000, 65_535), (900, 1023)])
    def test_are_the_bits_of_grey(self, photos: Path, top: int, white: int) -> None:
        for path in (photos / "train").rglob("*.png"):
            values = np.full((16, 16), top if path.name == "09.png" else top // 2, np.uint16)
            Image.fromarray(values).save(path)
        dataset = load(photos)
        assert any(f"up to {top}; {white} becomes white" in line for line in dataset.remarks)
        assert abs(int(dataset.train.read([9]).max()) - round(255 * top / white)) <= 1

    def test_is_how_many_are_transparent(self, photos: Path) -> None:
        Image.new("RGBA", (16, 16)).save(photos / "train/dark/00.png")
        dataset = load(photos, ground=[1, 2, 3])
        assert (dataset.train.read([0]) == [1, 2, 3]).all()
        assert any("1 of 20 images are transp" in line and "[1, 2, 3]" in line
                   for line in dataset.remarks)  # fmt: skip


def test_an_image_over_the_limit_is_refused_with_the_key(photos: Path) -> None:
    with pytest.raises(UnreadableImageError, match=r"megapixels, over the 0\.0001 of data\.max_m"):
        load(photos, image_size=8, max_megapixels=1e-4)
