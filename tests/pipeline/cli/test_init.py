"""`compress init`: what it sees, what it guesses, and that a run takes what it writes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from jsonschema import Draft202012Validator
from PIL import Image
from typer.testing import CliRunner

from deploy_targets.targets import load_target
from foundation.errors import (
    CompressError,
    DataLayoutError,
    MissingFileError,
    ModelMismatchError,
    UnknownNameError,
    UsageError,
    WeightsMismatchError,
)
from foundation.preprocessing import Preprocessing
from pipeline.cli import app
from pipeline.commands.init.guesses import epochs, image_size, speed_class
from pipeline.commands.init.looking import ImagesSeen, TeacherSeen
from pipeline.commands.schemas import schemas
from pipeline.models import build_model
from pipeline.recipe.file import load_recipe
from pipeline.recipe.noted import NotedNetwork
from smskd.checkpoints.files import save_model

SMALL = ["--teacher", "resnet14", "--student", "resnet8"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*words: str):
    """What `compress init` ended in; an error of ours is raised."""
    said = CliRunner().invoke(app, ["init", *words])
    if isinstance(said.exception, CompressError):
        raise said.exception
    assert said.exit_code == 0, said.output
    return said


def seen(**facts: object) -> ImagesSeen:
    usual = {
        "name": "folder:x", "layout": "a folder a class", "classes": ["a", "b"],
        "counts": {"train": 1000}, "smallest_class": 100, "size": 300, "channels": 3, "remarks": [],
    }  # fmt: skip
    return ImagesSeen(**{**usual, **facts})


def test_it_writes_a_recipe_that_is_read_again(photos: Path) -> None:
    said = init("--data", "photos", "--target", "rpi4", "--teacher", "resnet20")
    recipe = load_recipe(Path("photos.toml")).recipe
    assert (recipe.name, recipe.data.name, recipe.data.image_size) == (
        "photos",
        "folder:photos",
        32,
    )
    assert recipe.teacher.model == "resnet20" and recipe.student.model == "resnet14"
    assert recipe.data.augment.shift == 4 and recipe.data.augment.flip
    assert recipe.export.targets == ["rpi4"]
    assert recipe.teacher.training.epochs == sum(stage.epochs for stage in recipe.stages) == 120
    assert "written: photos.toml" in said.output and "next: compress distill" in said.output


def test_every_guess_is_told_and_marked_and_nothing_else_is(photos: Path) -> None:
    said = json.loads(init("--data", "photos", "--json", *SMALL).stdout)
    Draft202012Validator(schemas()["init.schema.json"]).validate(said)
    lines = Path("photos.toml").read_text().splitlines()
    marked = [
        lines[place + 1].partition(" = ")[0]
        for place, line in enumerate(lines)
        if line.startswith("# guess: ") and not lines[place + 1].startswith("#")
    ]
    keys = [guess["key"] for guess in said["guessed"]]
    assert "teacher.model" not in keys and "student.model" not in keys
    # A table of one key stands in a line: augment = { preset = "cifar" }.
    assert sorted(marked) == sorted(
        key.split(".")[1 if key.endswith(("preset", "source")) else -1] for key in keys
    )
    assert said["images"]["counts"] == {"train": 20, "test": 8}
    assert said["images"]["classes"] == ["dark", "light"]


def test_a_run_takes_the_recipe_as_it_is(photos: Path) -> None:
    init("--data", "photos", *SMALL)
    few = [
        "teacher.training.epochs=1", "stages.0.epochs=1", "stages.0.hold_epochs=1",
        "stages.1.epochs=1",
    ]  # fmt: skip
    words = [word for key in few for word in ("--set", key)]
    said = CliRunner().invoke(app, ["distill", "photos.toml", *words, "--json"])
    assert said.exit_code == 0, said.output
    networks = json.loads(said.stdout)["networks"]
    assert {role: facts["model"] for role, facts in networks.items()} == {
        "teacher": "resnet14",
        "student": "resnet8",
    }


def test_weights_may_say_of_which_network_they_are(photos: Path) -> None:
    network = torchvision.models.shufflenet_v2_x0_5(num_classes=2)
    content = {"state_dict": network.state_dict(), "arch": "shufflenet_v2_x0_5"}
    torch.save(content, "weights.pt")
    init("--data", "photos", "--teacher", "weights.pt", "--student", "resnet8")
    teacher = load_recipe(Path("photos.toml")).recipe.teacher
    assert (teacher.model, teacher.weights) == ("torchvision/shufflenet_v2_x0_5", "weights.pt")
    torch.save(network.state_dict(), "weights.pt")
    with pytest.raises(UsageError, match="does not say of which network it is"):
        init("--data", "photos", "--teacher", "weights.pt", "--force")


def test_a_teacher_of_other_classes_is_refused_before_anything_is_written(photos: Path) -> None:
    save_model(Path("seven.safetensors"), build_model("resnet14", 7, 3))
    with pytest.raises(WeightsMismatchError, match="seven"):
        init("--data", "photos", *SMALL, "--teacher-weights", "seven.safetensors")
    assert not Path("photos.toml").exists()


@pytest.mark.parametrize(
    ("words", "kind", "reason"),
    [
        ([], UsageError, "--data"),
        (["--data", "nowhere"], MissingFileError, "nowhere: no such folder"),
        (["--data", "empty"], DataLayoutError, "empty"),
        (["--data", "texts"], DataLayoutError, "texts"),
        (["--data", "flat"], DataLayoutError, "no labels"),
        (["--data", "photos", "--teacher", "resnet21"], UnknownNameError, "resnet21"),
        (["--data", "photos", "--teacher", "none.pt"], MissingFileError, "none.pt: no such file"),
        (["--data", "photos", "--teacher", "none.onnx"], MissingFileError, "no such file"),
        (["--data", "photos", "--teacher", "a.bundle"], UsageError, "compress bundle unpack"),
        (["--data", "photos", *SMALL, "--target", "rpi9"], UnknownNameError, "rpi9"),
        (
            ["--data", "photos", *SMALL, "--teacher-weights", "no.safetensors"],
            MissingFileError,
            "no.safetensors",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_one_clear_line(
    photos: Path, words: list[str], kind: type[Exception], reason: str
) -> None:
    Path("empty").mkdir()
    Path("texts/a").mkdir(parents=True)
    Path("texts/a/one.txt").write_text("no image")
    Path("flat").mkdir()
    for number in range(4):
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(f"flat/{number}.png")
    with pytest.raises(kind, match=reason) as caught:
        init(*words)
    assert "\n" not in str(caught.value)
    assert not list(Path().glob("*.toml"))


def test_a_file_that_is_there_stays_unless_it_is_said(photos: Path) -> None:
    Path("photos.toml").write_text("mine")
    with pytest.raises(UsageError, match=r"photos\.toml: is there already"):
        init("--data", "photos", *SMALL)
    assert Path("photos.toml").read_text() == "mine"
    init("--data", "photos", *SMALL, "--force")
    assert load_recipe(Path("photos.toml")).recipe.student.model == "resnet8"


def test_at_a_terminal_it_asks_for_what_was_not_said(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["photos", "resnet14", "", "rpi4"])
    monkeypatch.setattr("typer.prompt", lambda *_words, **_options: next(answers))
    monkeypatch.setattr("pipeline.cli.init._is_somebody_there", lambda: True)
    init("--out", "mine.toml")
    recipe = load_recipe(Path("mine.toml")).recipe
    assert (recipe.name, recipe.teacher.model) == ("mine", "resnet14")
    assert (recipe.student.model, recipe.export.targets) == ("resnet8", ["rpi4"])
    assert next(answers, None) is None


def test_odd_names_make_a_recipe_too(photos: Path) -> None:
    photos.rename('my "photos" #1\nand more')
    init("--data", 'my "photos" #1\nand more', *SMALL, "--out", "odd.toml")
    assert load_recipe(Path("odd.toml")).recipe.data.name == 'folder:my "photos" #1\nand more'


def test_the_size_is_the_teachers_or_the_images_own() -> None:
    known = TeacherSeen("torchvision/x", None, 288, "its publisher")
    assert image_size(seen(), known).value == 288
    assert image_size(seen(size=40), known).value == 32  # too small for what it was made for
    unknown = TeacherSeen("resnet20")
    assert [image_size(seen(size=s), unknown).value for s in (8, 40, 80, 100, 300)] == [
        32, 32, 64, 96, 224,
    ]  # fmt: skip


def test_fewer_images_want_more_epochs() -> None:
    counts = (100, 2000, 4000, 1_000_000)
    assert [epochs(seen(counts={"train": count}))[0] for count in counts] == [120, 60, 30, 30]


def test_targets_are_slow_middling_and_fast() -> None:
    classes = {name: speed_class(load_target(name))[0] for name in ("rpi-zero2", "rpi4", "n100")}
    assert classes == {"rpi-zero2": "slow", "rpi4": "middling", "n100": "fast"}


def test_a_student_is_smaller_than_its_teacher(photos: Path) -> None:
    said = init("--data", "photos", "--teacher", "resnet14", "--target", "n100", "--json")
    (student,) = (g for g in json.loads(said.stdout)["guessed"] if g["key"] == "student.model")
    assert student["value"] == "resnet8" and "million parameters" in student["why"]


@pytest.mark.parametrize("size", [(64, 48), (300, 200)])
def test_photos_of_many_shapes_are_looked_at(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        Path("various", name).mkdir(parents=True)
        for number in range(12):
            width, height = size[0] + 8 * (number % 3), size[1]
            pixels = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(f"various/{name}/{number}.jpg")
    init("--data", "various", *SMALL)
    expected = 224 if size[0] == 300 and size[1] >= 224 else {48: 32, 200: 192}[size[1]]
    assert load_recipe(Path("various.toml")).recipe.data.image_size == expected


def test_it_needs_images_of_every_class(photos: Path) -> None:
    for file in Path("photos/test/dark").iterdir():
        file.unlink()
    with pytest.raises((DataLayoutError, ModelMismatchError), match="dark"):
        init("--data", "photos", *SMALL)


@pytest.mark.skipif("PHOTOS" not in os.environ, reason="PHOTOS=FOLDER names no photos")
def test_real_photos_are_looked_at() -> None:
    """PHOTOS=FOLDER: JPEG files, anywhere in it."""
    files = sorted(Path(os.environ["PHOTOS"]).rglob("*.JPEG"))[:40]
    assert len(files) == 40
    for number, file in enumerate(files):
        folder = Path("real", "first" if number < 20 else "second")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder)
    said = json.loads(init("--data", "real", "--target", "rpi4", "--json").stdout)
    assert said["images"]["counts"] == {"train": 40}
    recipe = load_recipe(Path("real.toml")).recipe
    assert (recipe.data.image_size, recipe.data.preprocessing.source) == (224, "imagenet")
    assert recipe.student.model == "torchvision/shufflenet_v2_x1_0"


def test_a_teacher_that_was_taught_tells_what_it_is(photos: Path, here: Path) -> None:
    shape = Preprocessing(32, 32, 3, [0.5] * 3, [0.2] * 3)
    noted = NotedNetwork("resnet14", ["dark", "light"], shape)
    save_model(here / "taught.safetensors", build_model("resnet14", 2, 3), **noted.as_facts())
    said = init(
        "--data", str(photos), "--teacher", "taught.safetensors", "--out", "my.toml", "--yes"
    )
    assert "notes that it is resnet14, of 2 classes" in said.output
    recipe = load_recipe(here / "my.toml").recipe
    assert (recipe.teacher.model, recipe.teacher.weights) == ("resnet14", "taught.safetensors")
    plain = init("--data", str(photos), "--teacher", "torchvision/shufflenet_v2_x1_0", "--json")
    text = (here / "photos.toml").read_text()
    assert plain.exit_code == 0 and 'With weights = "torchvision:DEFAULT" in the place' in text
