from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.data.facts import read_facts, read_images
from pipeline.recipe_file import load_recipe
from pipeline.runs import RunFolder, start_run
from pipeline.steps.prepare import TrainingData, prepare


def prepared(folder: Path, **settings: object) -> tuple[RunFolder, TrainingData]:
    overrides = {f"data.{key}": value for key, value in {"image_size": 8, **settings}.items()}
    file = load_recipe(None, overrides)
    run, data = start_run(folder, file.recipe), TrainingData(file)
    prepare(run, data)
    return run, data


def rows(pixels: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in pixels}


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> tuple[RunFolder, TrainingData]:
    folder = tmp_path_factory.mktemp("prepare") / "x"
    return prepared(folder, student_fraction=0.25, calibration_images=50, evaluation_images=100)


@pytest.mark.parametrize(
    ("name", "part", "count"),
    [("calibration", "train", 50), ("probe", "validation", 32), ("test", "test", 100)],
)
def test_each_use_gets_images_of_its_own_part(digits, name: str, part: str, count: int) -> None:
    run, data = digits
    kept = read_images(run.data / f"{name}.npz")
    source = getattr(data.splits, part)
    every = source.read(np.arange(len(source.labels)))
    label_of = {image.tobytes(): label for image, label in zip(every, source.labels, strict=True)}
    assert len(kept.labels) == count
    assert [label_of[image.tobytes()] for image in kept.pixels] == kept.labels.tolist()


def test_the_test_images_hold_every_class(digits) -> None:
    assert set(read_images(digits[0].data / "test.npz").labels.tolist()) == set(range(10))


def test_the_facts_are_those_of_the_splits(digits) -> None:
    run, data = digits
    facts = read_facts(run.data)
    assert facts.name == "digits"
    assert facts.classes == data.splits.classes
    assert facts.preprocessing == data.splits.preprocessing
    assert facts.counts == {"train": 1293, "student_train": 324, "validation": 144, "test": 360}


def test_images_that_were_passed_over_are_in_the_facts(tmp_path: Path, photos: Path) -> None:
    (photos / "train/dark/bad.jpg").write_text("no image")
    settings = {"name": f"folder:{photos}", "on_bad_image": "skip", "val_fraction": 0.2}
    run, _ = prepared(tmp_path / "x", **settings)
    assert read_facts(run.data).skipped == [str(photos / "train/dark/bad.jpg")]


def test_what_was_prepared_is_not_loaded_again(digits) -> None:
    run, data = digits
    again = TrainingData(data.file)
    prepare(run, again)
    assert "_loaded" not in vars(again)
