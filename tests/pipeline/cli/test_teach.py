"""`compress teach` as a user calls it, and each mistake in a line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from foundation.errors import (
    CompressError,
    MissingFileError,
    RecipeError,
    UnknownNameError,
    UsageError,
    WeightsMismatchError,
)
from pipeline.commands.teach import weights_to_begin_with
from pipeline.models import build_model
from pipeline.preflight.names import check_names
from pipeline.recipe.file import load_recipe
from pipeline.run_folder.folder import RunFolder

QUICK = (
    "--epochs", "2", "--head-epochs", "1", "--batch-size", "8", "--set", "data.val_fraction=0.3",
    "--set", "engine.accelerator=cpu",
)  # fmt: skip


@pytest.fixture
def seven(tmp_path: Path) -> Path:
    """Weights of a ResNet-8 of seven classes."""
    torch.manual_seed(1)
    torch.save(build_model("resnet8", 7, 3).state_dict(), tmp_path / "seven.pt")
    return tmp_path / "seven.pt"


def test_from_weights_to_a_teacher_that_distil_takes_and_a_report(
    forked, photos: Path, seven: Path, tmp_path: Path
) -> None:
    asked = ["teach", "--data", f"folder:{photos}", "--teacher", "resnet8", "--weights", seven.name]
    said = forked(*asked, *QUICK, "--run", "runs/t", "--json", cwd=tmp_path)
    assert said.code == 0, said.err
    told = said.json()
    assert (told["kind"], told["epochs"], told["teacher"]["begins_with"]) == (
        "teacher", 2, "seven.pt",
    )  # fmt: skip
    run = RunFolder(tmp_path / "runs/t")
    assert run.has_teacher and not run.stages.exists()

    report = forked("report", "runs/t", cwd=tmp_path)
    assert report.code == 0, report.err
    page = (run.path / "report.html").read_text()
    assert "its new head alone" in page and "No student has learned from it" in page
    assert "began with seven.pt" in (run.path / "report.md").read_text()

    student = ["--student", "resnet8", "--stages", "kd", "--epochs", "1", "--run", "runs/d"]
    taken = forked(
        "distill", "--data", f"folder:{photos}", "--teacher", "runs/t", *student,
        "--set", "data.val_fraction=0.3", "--set", "data.batch_size=8", "--json", cwd=tmp_path,
    )  # fmt: skip
    assert taken.code == 0, taken.err
    assert taken.json()["networks"]["teacher"]["test"] == told["teacher"]["test"]


def test_a_recipe_says_the_same_as_the_options(forked, photos: Path, tmp_path: Path) -> None:
    """So `compress run` of it does the same; what nobody can read is told before any work."""
    (tmp_path / "mine.toml").write_text(
        f'[data]\nname = "folder:{photos}"\n[teacher]\nmodel = "resnet8"\nhead = "fc"\n'
        '[teacher.training]\nweights = "gone.pt"\npatience = 3\n'
    )
    options = ["--data", f"folder:{photos}", "--teacher", "resnet8", "--weights", "gone.pt"]
    of_options = forked("teach", *options, "--patience", "3", "--head", "fc", cwd=tmp_path)
    of_recipe = forked("teach", "mine.toml", cwd=tmp_path)
    assert (of_options.code, of_recipe.code) == (10, 10)
    assert of_options.complaint.startswith("error: command line, teacher.training.weights: gone.pt")
    assert of_recipe.complaint.startswith("error: mine.toml line 7, teacher.training.weights: gone")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("changes", "kind", "complaint"),
    [
        ({}, UsageError, "no library publishes weights of it to begin with; name a file with --w"),
        ({"training.weights": "gone.pt"}, MissingFileError, "no such file, and no weights that a"),
        (
            {"training.weights": "torchvision:DEFAULT"},
            WeightsMismatchError,
            "are for models of torchvision, but the model is 'resnet8'",
        ),
        (
            {"model": "torchvision/resnet18", "training.weights": "torchvision:IMAGENET1K_V9"},
            UnknownNameError,
            "unknown weights of torchvision/resnet18 'IMAGENET1K_V9'",
        ),
        ({"model": "torchvision/resnet81"}, UnknownNameError, "did you mean 'torchvision/resnet"),
        ({"model": "function:mine:ask"}, RecipeError, "is asked, and learns nothing"),
        ({"weights": "seven.pt"}, RecipeError, "are a finished teacher's, which learns nothing"),
    ],
)
def test_each_mistake_is_told_before_any_work(
    changes: dict[str, str], kind: type[CompressError], complaint: str
) -> None:
    asked = {"model": "resnet8", **changes}
    file = load_recipe(None, {f"teacher.{key}": value for key, value in asked.items()})
    with pytest.raises(kind, match=complaint):
        if weights_to_begin_with(file) is None:
            check_names(file)


def test_several_teachers_learn_nothing() -> None:
    teachers = [{"name": name, "model": f"{name}.onnx"} for name in "ab"]
    with pytest.raises(RecipeError, match="several teachers are finished ones"):
        weights_to_begin_with(load_recipe(None, {"teachers": teachers}))


def test_a_library_says_itself_what_to_begin_with() -> None:
    file = load_recipe(None, {"teacher.model": "torchvision/resnet18"})
    assert weights_to_begin_with(file) == "torchvision:DEFAULT"
    timm = load_recipe(None, {"teacher.model": "timm/convnext_atto"})
    assert weights_to_begin_with(timm) == "timm:pretrained"
    said = load_recipe(None, {"teacher.training.weights": "none"})
    assert weights_to_begin_with(said) is None
