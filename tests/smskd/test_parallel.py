"""Several processes, each with its part of every batch, learn what one learns from the whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from made_once import made_once
from torch import Tensor

from foundation.files import read_json
from smskd.checkpoints.files import load_tensors
from smskd.parallel import gathered, rank, world_size

PROGRAM = Path(__file__).parent / "two_processes.py"
CASES = [
    "kd", "at", "rkd", "sp", "pkt", "cc", "dist", "mse", "nst", "crd", "several",
    "anchored features", "held", "one schedule", "accumulated", "uncounted", "8-bit",
    "whole", "stopped",
]  # fmt: skip


def run_here(folder: Path) -> None:
    subprocess.run([sys.executable, PROGRAM, folder], check=True)


def run_in_two(folder: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    port = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    subprocess.run(
        [*launcher, *port, PROGRAM, folder],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "one-process", run_here)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "two-processes", run_in_two)


def end_of(folder: Path, name: str, process: int = 0) -> dict[str, Tensor]:
    return load_tensors(folder / "ends" / f"{name}-{process}.safetensors")[0]


def history_of(folder: Path, name: str) -> list[dict[str, Any]]:
    metrics = [read_json(path) for path in sorted((folder / name).glob("*/metrics.json"))]
    return [record for stage in metrics for record in stage["history"]]


def losses_of(folder: Path, name: str) -> list[dict[str, float]]:
    return [record["losses"] for record in history_of(folder, name)]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_learn_what_one_learns_from_the_joint_batch(
    one: Path, two: Path, name: str
) -> None:
    found, expected = end_of(two, name), end_of(one, name)
    for key, tensor in expected.items():
        assert torch.allclose(found[key], tensor, rtol=0, atol=1e-5), key
    losses = losses_of(two, name)
    assert len(losses) in {2, 6}
    assert any(name.startswith("reference") for name in losses[-1])
    for ours, theirs in zip(losses, losses_of(one, name), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-6)


def test_features_are_held_on_to_relative_to_the_joint_batchs_size(one: Path, two: Path) -> None:
    """Loss and gradient of one process are the mean over processes."""
    parts = [end_of(two, "feature loss", process) for process in (0, 1)]
    whole = end_of(one, "feature loss")
    loss = torch.stack([part["loss"] for part in parts]).mean()
    assert loss.item() == pytest.approx(whole["loss"].item(), rel=1e-5)
    gradient = torch.cat([part["gradient"] for part in parts]) / 2
    assert torch.allclose(gradient, whole["gradient"], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_both_processes_end_with_the_same_student(two: Path, name: str) -> None:
    first, second = end_of(two, name, 0), end_of(two, name, 1)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_methods_end_with_what_they_end_with_in_one_process(one: Path, two: Path) -> None:
    """CRD's heads, and memories of all samples, those of the other process too."""
    path = Path("crd", "2-crd", "method.safetensors")
    found, expected = load_tensors(two / path)[0], load_tensors(one / path)[0]
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.allclose(found[key], tensor, atol=1e-4), key
    labels = next(tensor for key, tensor in expected.items() if key.endswith("labels"))
    assert labels.min() >= 0


def test_one_process_writes_and_nothing_is_left_over(one: Path, two: Path) -> None:
    def files(folder: Path) -> set[str]:
        return {
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.is_file() and "ends" not in path.parts
        }

    assert files(two) == files(one)


def test_a_run_that_was_stopped_ends_as_one_that_never_was(two: Path) -> None:
    found, expected = end_of(two, "stopped"), end_of(two, "whole")
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert losses_of(two, "stopped") == losses_of(two, "whole")
    assert len(losses_of(two, "stopped")) == 6


def test_one_process_alone_has_nothing_to_gather() -> None:
    tensor = torch.randn(2, 3)
    assert (rank(), world_size()) == (0, 1)
    assert gathered(tensor) is tensor
