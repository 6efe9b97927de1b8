from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.data.facts import read_facts
from pipeline.run_folder.folder import RunFolder

OWN_NETWORK = """\
from torch import nn

def small(num_classes, in_channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, 4, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, num_classes),
    )
"""


@pytest.fixture(scope="module")
def distilled(compress, draw_photos, tmp_path_factory):
    """A run made by options alone, on photos of which one is bad, with a network of one's own."""
    folder = tmp_path_factory.mktemp("distill")
    photos = draw_photos(folder / "photos")
    (photos / "train/dark/bad.jpg").write_text("no image")
    (folder / "my_nets.py").write_text(OWN_NETWORK)
    said = compress(
        "distill", "--data", "folder:photos", "--teacher", "resnet8", "--teacher-epochs", 1,
        "--student", "my_nets:small", "--stages", "kd, rkd", "--epochs", 1, "--seed", 3,
        "--run", "out", "--set", "data.val_fraction=0.2", "--set", "data.on_bad_image=skip",
        "--json", cwd=folder,
    )  # fmt: skip
    assert said.code == 0, said.err
    return said, RunFolder(folder / "out")


def test_every_option_has_its_place_in_the_recipe_of_the_run(distilled) -> None:
    recipe = distilled[1].recipe()
    assert recipe.data.name == "folder:photos"
    assert (recipe.seed, recipe.data.val_fraction, recipe.data.on_bad_image) == (3, 0.2, "skip")
    assert [(stage.name, stage.epochs) for stage in recipe.stages] == [("kd", 1), ("rkd", 1)]
    assert (recipe.teacher.model, recipe.teacher.training.epochs) == ("resnet8", 1)


def test_it_ends_with_a_student_and_before_the_export(distilled) -> None:
    said, run = distilled
    assert set(said.json()["networks"]) == {"teacher", "student"}
    assert run.student.is_file()
    assert not run.bundles.exists()


def test_an_image_that_was_skipped_is_named_in_the_facts(distilled) -> None:
    facts = read_facts(distilled[1].data)
    assert facts.skipped == ["train/dark/bad.jpg"]
    assert facts.classes == ["dark", "light"]


def test_a_network_in_a_file_of_the_current_folder_is_found(distilled) -> None:
    assert distilled[0].json()["networks"]["student"]["model"] == "my_nets:small"


def test_what_was_trained_is_found_done(own: RunFolder, compress, tmp_path: Path) -> None:
    before = own.student.stat().st_mtime_ns
    said = compress("distill", "tiny.toml", cwd=tmp_path)
    assert said.code == 0, said.err
    assert "epoch" not in said.err
    assert own.student.stat().st_mtime_ns == before
    assert "resnet8" in said.out
