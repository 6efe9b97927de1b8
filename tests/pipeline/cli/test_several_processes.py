"""`compress distill` under torchrun: several processes train one student."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from foundation.files import read_json
from pipeline.run_folder.folder import RunFolder
from smskd.training.stage_files import METRICS, WEIGHTS

RECIPE = """\
[data]
name = "digits"
image_size = 8
batch_size = 64
teacher_views = 2

[teacher]
model = "plain:network"
training = { epochs = 2 }

[student]
model = "plain:network"

[[stages]]
methods = ["kd", "rkd"]
epochs = 2

[[stages]]
methods = "crd"
epochs = 1
"""

# Without batch-norm, whose statistics are those of a process's own share of a batch.
NETWORK = """\
from torch import nn


def network(num_classes, in_channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, num_classes)
    )
"""


def distil(folder: Path, processes: int) -> tuple[RunFolder, subprocess.CompletedProcess[str]]:
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "-m", "--"]
    command = ["pipeline", "distill", "recipe.toml", "--run", f"runs/{processes}", "--trust-code"]
    settings = {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, *(launch if processes > 1 else ["-m"]), *command],
        cwd=folder,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return RunFolder(folder / "runs" / str(processes)), done


@pytest.mark.slow
def test_two_processes_teach_the_same_student_as_one_and_speak_once(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "plain.py").write_text(NETWORK)
    alone, one = distil(tmp_path, 1)
    together, two = distil(tmp_path, 2)
    assert one.returncode == two.returncode == 0, one.stderr + two.stderr
    assert len(one.stdout.splitlines()) == len(two.stdout.splitlines())
    assert two.stderr.count("stage crd: 1 epochs") == 1
    for name in ("1-kd+rkd", "2-crd"):
        losses = [
            [record["losses"] for record in read_json(run.stages / name / METRICS)["history"]]
            for run in (alone, together)
        ]
        for ours, theirs in zip(*losses, strict=True):
            assert ours.keys() == theirs.keys()
            # Not to the digit: a batch of an odd number of images loses one to be shared evenly.
            assert all(abs(ours[key] - theirs[key]) < 0.1 * abs(ours[key]) for key in ours)
    assert (together.teacher / WEIGHTS).exists()
    assert together.record()["steps"].keys() == alone.record()["steps"].keys()

    _, again = distil(tmp_path, 2)
    assert again.returncode == 0, again.stderr
    assert "epoch" not in again.stderr
