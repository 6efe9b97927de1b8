from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foundation.bundle import Preprocessing
from foundation.errors import CorruptFileError, MissingFileError
from pipeline.data.facts import (
    DataFacts,
    public_name,
    public_place,
    read_facts,
    read_images,
    write_facts,
    write_images,
)
from pipeline.data.images import ArrayImages

COUNTS = {"train": 3, "student_train": 3, "validation": 1, "test": 1}
FACTS = DataFacts(
    "digits", ["<b>", "ü"], Preprocessing(8, 8, 1, [0.5], [0.25]), COUNTS, ["a/b.jpg"]
)


@pytest.fixture
def images() -> ArrayImages:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    return ArrayImages(pixels, np.arange(5))


def test_facts_come_back_as_they_were_written(tmp_path: Path) -> None:
    write_facts(tmp_path, FACTS)
    assert read_facts(tmp_path) == FACTS


@pytest.mark.parametrize(
    ("name", "public"),
    [("digits", "digits"), ("noise:16", "noise:16"), ("folder:photos", "folder:photos"),
     ("folder:/home/me/photos/", "folder:photos"), ("shards:~/big/tars", "shards:tars"),
     ("folder:a/..", "folder:here"), ("folder:.", "folder:here")],
)  # fmt: skip
def test_a_datasets_name_for_everybody_has_no_folders(
    name: str, public: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert public_name(name) == public


def test_a_file_of_a_dataset_goes_by_its_place_in_it() -> None:
    assert public_place("/home/me/photos/train/cat/1.png", "folder:/home/me/photos/") == (
        "train/cat/1.png"
    )
    assert public_place("elsewhere/1.png", "folder:photos") == "elsewhere/1.png"
    assert public_place("train/1.png", "digits") == "train/1.png"


def test_an_image_of_a_table_goes_by_its_place_beside_it(tmp_path: Path) -> None:
    (tmp_path / "t.csv").touch()
    for place, public in ((tmp_path / "in/1.png", "in/1.png"), ("/elsewhere/1.png", "1.png")):
        assert public_place(str(place), f"table:{tmp_path}/t.csv") == public


def test_images_come_back_as_they_were_written(tmp_path: Path, images) -> None:
    again = read_images(write_images(tmp_path / "x.npz", images))
    np.testing.assert_array_equal(again.pixels, images.pixels)
    np.testing.assert_array_equal(again.labels, images.labels)
    assert (again.pixels.dtype, again.labels.dtype) == (np.uint8, np.int64)


def test_the_teachers_size_and_files_are_its_own_only_where_they_differ() -> None:
    assert FACTS.teacher_preprocessing == FACTS.preprocessing
    assert FACTS.images_for("teacher", "test.npz") == FACTS.images_for("student", "test.npz")
    other = replace(FACTS, teachers_own=Preprocessing(16, 16, 1, [0.5], [0.25]))
    assert other.teacher_preprocessing == Preprocessing(16, 16, 1, [0.5], [0.25])
    assert other.images_for("teacher", "test.npz") == "teacher-test.npz"
    assert other.images_for("student", "test.npz") == "test.npz"


@pytest.mark.parametrize("read", [read_facts, lambda folder: read_images(folder / "x.npz")])
def test_what_is_not_there_is_told_with_the_command_that_makes_it(tmp_path: Path, read) -> None:
    with pytest.raises(MissingFileError, match="compress distill"):
        read(tmp_path)


@pytest.mark.parametrize("content", ["[]", "{}", '{"name": "x", "preprocessing": {}}', "{"])
def test_facts_that_are_none_are_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "facts.json").write_text(content)
    with pytest.raises(CorruptFileError, match=r"facts\.json"):
        read_facts(tmp_path)


def test_facts_with_another_key_are_refused(tmp_path: Path) -> None:
    path = write_facts(tmp_path, FACTS)
    path.write_text(json.dumps({**json.loads(path.read_text()), "extra": 1}))
    with pytest.raises(CorruptFileError, match="extra"):
        read_facts(tmp_path)


class TestImagesThatAreSpoilt:
    def test_by_a_changed_byte_are_refused(
        self, tmp_path: Path, images, flip_a_byte: Callable[[Path], None]
    ) -> None:
        path = write_images(tmp_path / "x.npz", images)
        flip_a_byte(path)
        with pytest.raises(CorruptFileError, match=r"x\.npz"):
            read_images(path)

    def test_by_a_missing_end_are_refused(self, tmp_path: Path, images) -> None:
        path = write_images(tmp_path / "x.npz", images)
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(CorruptFileError, match=r"x\.npz"):
            read_images(path)

    @pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04nor this"])
    def test_by_being_something_else_are_refused(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(CorruptFileError, match=r"x\.npz"):
            read_images(tmp_path / "x.npz")

    def test_by_a_pickle_inside_are_refused_and_it_is_not_loaded(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "x.npz", images=np.array([{"a": 1}], object), labels=np.arange(1))
        with pytest.raises(CorruptFileError, match=r"x\.npz"):
            read_images(tmp_path / "x.npz")
