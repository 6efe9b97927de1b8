"""What a user can get wrong: each mistake ends in one line and in an exit code of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from pipeline.models import build_model
from smskd.checkpoints.files import save_model

DISTILL = ["distill", "tiny.toml"]
RUN = ["run", "tiny.toml"]
ON_PHOTOS = ["--set", "data.name=folder:photos", "--set", "data.val_fraction=0.2"]


@dataclass(frozen=True)
class Mistake:
    """Something wrong, the command that meets it, and what it must say.

    Attributes:
        spoil: changes a folder that holds tiny.toml, photos/ and, if `walked`, runs/tiny.
    """

    code: int
    words: tuple[str, ...]
    arguments: list[str]
    spoil: Callable[[Path], object] = lambda folder: None
    walked: bool = False


def recipe(old: str, new: str) -> Callable[[Path], None]:
    """Replace something in tiny.toml."""

    def spoil(folder: Path) -> None:
        path = folder / "tiny.toml"
        text = path.read_text()
        assert text.count(old) == 1, old
        path.write_text(text.replace(old, new))

    return spoil


def flip(name: str) -> Callable[[Path], None]:
    """Change a byte of a file."""

    def spoil(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 0xFF
        (folder / name).write_bytes(content)

    return spoil


def weights(model: str, classes: int) -> Callable[[Path], None]:
    return lambda folder: save_model(folder / "t.safetensors", build_model(model, classes, 1))


def torch_file(content: object) -> Callable[[Path], None]:
    return lambda folder: torch.save(content, folder / "t.pt")


MISTAKES = {
    "no recipe": Mistake(10, ("nope.toml: no such recipe",), ["run", "nope.toml"]),
    "a misspelt key": Mistake(
        11, ("tiny.toml line 5, data.image_sise", "did you mean 'image_size'?"),
        RUN, recipe("image_size", "image_sise"),
    ),
    "a wrong type": Mistake(
        11, ("tiny.toml line 6, data.batch_size", "valid integer", "'128'"),
        RUN, recipe("batch_size = 128", 'batch_size = "128"'),
    ),
    "an impossible value": Mistake(
        11, ("tiny.toml line 10, teacher.training.epochs", "from 1 to 1,000,000", "-2"),
        RUN, recipe("epochs = 2", "epochs = -2"),
    ),
    "no TOML": Mistake(
        11, ("tiny.toml: not valid TOML", "line 6"), RUN, recipe("batch_size = 128", "batch_size"),
    ),
    "a --set that is wrong": Mistake(
        11, ("command line, stages[0].lr", "-1"), [*RUN, "--set", "stages.0.lr=-1"],
    ),
    "an unknown method": Mistake(
        12, ("tiny.toml line 24, stages[2].methods[0]", "'rkdd'", "did you mean 'rkd'?"),
        RUN, recipe('"rkd"', '"rkdd"'),
    ),
    "an unknown model": Mistake(
        12, ("command line, student.model", "did you mean 'resnet8'?"),
        [*DISTILL, "--student", "resnet9"],
    ),
    "an unknown dataset": Mistake(
        12, ("tiny.toml line 4, data.name", "did you mean 'digits'?"),
        RUN, recipe('"digits"', '"digit"'),
    ),
    "an unknown weighting": Mistake(
        12, ("stages[1].weighting", "did you mean 'tcp'?"),
        [*RUN, "--set", "stages.1.weighting=tpc"],
    ),
    "an unknown metric": Mistake(
        12, ("tiny.toml line 39, gate.limits.sise_mb", "did you mean 'size_mb'?"),
        RUN, recipe("size_mb", "sise_mb"),
    ),
    "an unknown target": Mistake(
        12, ("export.targets[0]", "did you mean 'rpi5'?"), ["export", "--target", "rpi55"],
        walked=True,
    ),
    "an unknown format": Mistake(
        12, ("export.formats", "did you mean 'onnx'?"), ["export", "--format", "onx"], walked=True,
    ),
    "an unknown host": Mistake(
        12, ("'locl'", "did you mean 'local'?"), ["bench", "--host", "locl"], walked=True,
    ),
    "an unknown bundle": Mistake(
        12, ("did you mean 'local-onnx-int8'?",), ["bench", "--bundle", "local-onnx-int"],
        walked=True,
    ),
    "an empty class folder": Mistake(
        13, ("photos/train/grey: no images",), [*DISTILL, *ON_PHOTOS],
        lambda folder: (folder / "photos/train/grey").mkdir(),
    ),
    "no training images": Mistake(
        13, ("folder:photos: has test images, but none to learn from",), [*DISTILL, *ON_PHOTOS],
        lambda folder: shutil.rmtree(folder / "photos/train"),
    ),
    "an image that cannot be read": Mistake(
        14, ("photos/train/dark/bad.jpg", 'on_bad_image = "skip"'), [*DISTILL, *ON_PHOTOS],
        lambda folder: (folder / "photos/train/dark/bad.jpg").write_text("no image"),
    ),
    "no weights": Mistake(
        10, ("t.pt: no such file",), [*DISTILL, "--teacher-weights", "t.pt"],
    ),
    "weights of another architecture": Mistake(
        15, ("t.safetensors", "unknown here"), [*DISTILL, "--teacher-weights", "t.safetensors"],
        weights("resnet14", 10),
    ),
    "weights for other classes": Mistake(
        15, ("t.safetensors", "fc.weight is (7, 64) there, (10, 64) here"),
        [*DISTILL, "--teacher-weights", "t.safetensors"], weights("resnet8", 7),
    ),
    "weights that are code": Mistake(
        16, ("t.pt: it holds print",),
        [*DISTILL, "--teacher-weights", "t.pt"], torch_file(print),
    ),
    "a spoilt teacher": Mistake(
        16, ("teacher/weights.safetensors: checksum differs",), DISTILL,
        flip("runs/tiny/teacher/weights.safetensors"), walked=True,
    ),
    "a spoilt student": Mistake(
        16, ("student.safetensors",), ["export", "--precision", "fp32", "--format", "onnx"],
        flip("runs/tiny/student.safetensors"), walked=True,
    ),
    "a spoilt bundle": Mistake(
        16, ("local-onnx-int8/model.onnx: checksum differs",), ["bench"],
        flip("runs/tiny/bundles/local-onnx-int8/model.onnx"), walked=True,
    ),
    "a record that is none": Mistake(
        16, ("run.json",), DISTILL,
        lambda folder: (folder / "runs/tiny/run.json").write_text("{}"), walked=True,
    ),
    "the run of another recipe": Mistake(
        17, ("runs/tiny: made by another recipe", "stages[1].epochs is 1 there, 3 here"),
        [*RUN, "--set", "stages.1.epochs=3"], walked=True,
    ),
    "code in a recipe": Mistake(
        24, ("tiny.toml line", "student.model", "nets:broken", "nets.py", "--trust-code"), RUN,
        recipe('[student]\nmodel = "resnet8"', '[student]\nmodel = "nets:broken"'),
    ),
    "code in somebody's run folder": Mistake(
        24, ("runs/tiny/recipe.toml line", "student.model", "nets:broken"), ["export"],
        lambda folder: (folder / "runs/tiny/recipe.toml").write_text(
            '[student]\nmodel = "nets:broken"\n'
        ), walked=True,
    ),
    "a factory that ends the program": Mistake(
        19, ("nets:quits", "ends the program"), [*DISTILL, "--student", "nets:quits"],
    ),
    "a factory that fails": Mistake(
        19, ("nets:broken", "no luck today"), [*DISTILL, "--student", "nets:broken"],
    ),
    "a model for larger images": Mistake(
        19, ("nets:large", "(1, 16, 16)", "image_size"), [*DISTILL, "--student", "nets:large"],
    ),
    "no run yet": Mistake(10, ("no run here yet",), ["export"]),
    "no bundle yet": Mistake(
        10, ("compress export",), ["bench"],
        lambda folder: shutil.rmtree(folder / "runs/tiny/bundles"), walked=True,
    ),
}  # fmt: skip

NETS = """\
from torch import nn

def broken(num_classes):
    raise RuntimeError("no luck today\\nnor tomorrow")

def large(num_classes, in_channels):
    return nn.Sequential(nn.Conv2d(in_channels, 4, 33), nn.Flatten(), nn.LazyLinear(num_classes))

def quits():
    raise SystemExit(0)
"""


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_in_one_line_with_an_exit_code_of_its_kind(
    name: str, road, draw_photos, forked, tmp_path: Path
) -> None:
    assert road.said.code == 0, road.said.err
    mistake = MISTAKES[name]
    shutil.copy(road.recipe, tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    if "photos" in str(mistake.words):
        draw_photos(tmp_path / "photos")
    if mistake.walked:
        shutil.copytree(road.run.path, tmp_path / "runs/tiny")
    mistake.spoil(tmp_path)
    said = forked(*mistake.arguments, cwd=tmp_path)
    assert said.code == mistake.code, said.err
    for word in mistake.words:
        assert word in said.complaint
    assert said.out == ""


def test_a_run_folder_in_use_is_left_alone(own, forked, tmp_path: Path) -> None:
    recipe_before = own.recipe_path.read_bytes()
    with FileLock(own.path / ".lock"):
        for arguments in (["bench"], ["report"], ["distill", "tiny.toml"]):
            said = forked(*arguments, cwd=tmp_path)
            assert said.code == 22, said.err
            assert "runs/tiny: another process" in said.complaint
        assert forked("gate", cwd=tmp_path).code == 2
    assert own.recipe_path.read_bytes() == recipe_before
    assert forked("gate", cwd=tmp_path).code == 0


@pytest.mark.parametrize(
    "arguments",
    [["run", "x.toml", "--bogus"], ["bogus"], ["bench", "--threads", "two"], ["run"]],
    ids=" ".join,
)
def test_wrong_use_of_the_command_line_is_exit_code_2(compress, tmp_path: Path, arguments) -> None:
    said = compress(*arguments, cwd=tmp_path)
    assert said.code == 2
    assert "Traceback" not in said.err
    assert said.out == ""
