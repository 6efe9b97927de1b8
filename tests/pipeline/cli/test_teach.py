"""`compress teach` as a user calls it, and each mistake in a line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from foundation.files import read_json
from pipeline.models import build_model
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
    again = forked(*asked, *QUICK, "--run", "runs/t", cwd=tmp_path)
    assert again.code == 0 and "epoch " not in again.err
    assert "next: compress distill" in again.out and "--teacher runs/t" in again.out

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


def test_a_recipe_does_the_same_as_the_options(
    forked, photos: Path, seven: Path, tmp_path: Path
) -> None:
    """So `compress run` of it does; and another teacher is another run."""
    (tmp_path / "mine.toml").write_text(
        f'[data]\nname = "folder:{photos}"\nbatch_size = 8\nval_fraction = 0.3\n'
        '[teacher]\nmodel = "resnet8"\n[teacher.training]\nweights = "seven.pt"\nepochs = 2\n'
        'head_epochs = 1\n[engine]\naccelerator = "cpu"\n'
    )
    said = forked("teach", "mine.toml", "--run", "runs/a", cwd=tmp_path)
    assert said.code == 0, said.err
    options = ["--data", f"folder:{photos}", "--teacher", "resnet8", "--weights", "seven.pt"]
    said = forked("teach", *options, *QUICK, "--run", "runs/b", cwd=tmp_path)
    assert said.code == 0, said.err
    first, second = (
        read_json(tmp_path / "runs" / name / "teacher/metrics.json")["weights_sha256"]
        for name in "ab"
    )
    assert first == second
    other = forked("teach", "mine.toml", "--run", "runs/a", "--lr", "0.1", cwd=tmp_path)
    assert other.code == 17
    assert "teacher.training.lr is 0.0005 there, 0.1 here" in other.complaint


def test_none_is_said_to_be_no_fine_tuning(forked, photos: Path, tmp_path: Path) -> None:
    asked = ["--data", f"folder:{photos}", "--teacher", "resnet8", "--weights", "none"]
    said = forked(
        "teach", *asked, "--epochs", "1", "--batch-size", "8", "--set", "data.val_fraction=0.3",
        cwd=tmp_path,
    )  # fmt: skip
    assert said.code == 0, said.err
    assert "begins with weights drawn at random (weights = none); this is no fine-tun" in said.err


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        ("--teacher resnet8", 2, "no library publishes weights of it to begin with; name a file"),
        ("--teacher resnet8 --weights none --head-epochs 2", 11, "begins with trained weights"),
        ("--teacher resnet8 --weights gone.pt", 10, "gone.pt: no such file, and no weights that"),
        ("--teacher resnet8 --weights torchvision:DEFAULT", 15, "are for models of torchvision"),
        (
            "--teacher torchvision/resnet18 --weights torchvision:IMAGENET1K_V9",
            12,
            "unknown weights of torchvision/resnet18 'IMAGENET1K_V9'",
        ),
        ("--teacher torchvision/resnet81", 12, "unknown model 'torchvision/resnet81', did you"),
        ("--teacher resnet14 --weights seven.pt", 15, "these weights do not fit"),
        ("--teacher resnet8 --weights seven.pt --head layer9", 12, "unknown layer of"),
        ("--teacher resnet8 --weights seven.pt --head conv1", 19, "no linear layer or convolution"),
        ("--teacher function:mine:ask --weights seven.pt", 11, "is asked, and learns nothing"),
        ("--teacher resnet8 --set teacher.weights=seven.pt", 11, "a finished teacher's, which"),
        ("--teacher resnet8 --weights seven.pt --layer-decay 2", 11, "must be above 0 and at most"),
        ("--teacher resnet8 --weights seven.pt --patience -1", 11, "teacher.training.patience"),
    ],
)
def test_each_mistake_is_told_in_a_line(
    forked, photos: Path, seven: Path, *, words: str, code: int, complaint: str
) -> None:
    said = forked("teach", "--data", f"folder:{photos}", *words.split(), cwd=seven.parent)
    assert complaint in said.complaint
    assert said.code == code
