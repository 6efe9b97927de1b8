"""`kill -9`, then the same command again: the user's view of it, through the real command."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pipeline.models import build_model
from smskd.checkpoints.files import load_tensors
from smskd.training.stage_files import METRICS

COMPRESS = Path(sys.executable).with_name("compress")
STAGES = ("1-kd", "2-at", "3-rkd")
PATIENCE_S = 240


def command(recipe: str) -> list[str]:
    few = ["--set", "data.student_fraction=0.1", "--set", "data.batch_size=16", "--epochs", "12"]
    teacher = ["--teacher-epochs", "1"]
    return [str(COMPRESS), "distill", recipe, *teacher, *few]


def start(
    folder: Path, environment: dict[str, str], asked: list[str] | None = None
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        asked or command("tiny.toml"),
        cwd=folder,
        env={**environment, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_in(stage: Path, process: subprocess.Popen[bytes]) -> bool:
    """Kill the process once the stage has saved an epoch; False if it was done before that."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if (stage / "resume.safetensors").exists():
            process.send_signal(signal.SIGKILL)
            process.wait()
            return not (stage / METRICS).exists()
        if process.poll() is not None:
            return False
        time.sleep(0.005)
    raise AssertionError(f"{stage}: no epoch was saved in {PATIENCE_S} s")


@pytest.mark.slow
def test_a_run_killed_in_every_stage_ends_with_the_weights_of_one_that_never_stopped(
    tmp_path: Path, tiny: str, doomed: dict[str, str]
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        (folder / "tiny.toml").write_text(tiny)
    assert start(whole, doomed).wait(PATIENCE_S) == 0

    in_the_middle = [
        kill_in(killed / "runs/tiny/stages" / name, start(killed, doomed)) for name in STAGES
    ]
    assert all(in_the_middle)
    assert not (killed / "runs/tiny/student.safetensors").exists()
    assert start(killed, doomed).wait(PATIENCE_S) == 0

    for name in ("student.safetensors", *(f"stages/{s}/weights.safetensors" for s in STAGES)):
        ours = load_tensors(killed / "runs/tiny" / name)[0]
        theirs = load_tensors(whole / "runs/tiny" / name)[0]
        assert ours.keys() == theirs.keys()
        assert all(ours[key].equal(theirs[key]) for key in theirs), name


@pytest.mark.slow
def test_a_teacher_killed_in_both_of_its_phases_ends_with_the_same_bytes(
    tmp_path: Path, photos: Path, doomed: dict[str, str]
) -> None:
    torch.manual_seed(1)
    torch.save(build_model("resnet8", 7, 3).state_dict(), tmp_path / "seven.pt")
    asked = [
        str(COMPRESS), "teach", "--data", f"folder:{photos}", "--teacher", "resnet8",
        "--weights", str(tmp_path / "seven.pt"), "--head-epochs", "12", "--epochs", "12",
        "--patience", "0", "--batch-size", "4", "--set", "data.val_fraction=0.3",
        "--set", "engine.accelerator=cpu", "--run", "t",
    ]  # fmt: skip
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    assert start(whole, doomed, asked).wait(PATIENCE_S) == 0

    phases = (killed / "t/teacher/head", killed / "t/teacher")
    in_the_middle = [kill_in(phase, start(killed, doomed, asked)) for phase in phases]
    assert all(in_the_middle)
    assert not (killed / "t/teacher/weights.safetensors").exists()
    assert start(killed, doomed, asked).wait(PATIENCE_S) == 0

    for name in ("head/weights.safetensors", "weights.safetensors"):
        ours, theirs = (folder / "t/teacher" / name for folder in (killed, whole))
        assert ours.read_bytes() == theirs.read_bytes(), name
