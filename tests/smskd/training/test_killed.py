"""A run that was killed and taken up again ends bit for bit as one that never stopped."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from foundation.files import read_json
from smskd.checkpoints.files import load_tensors

PROGRAM = Path(__file__).parent / "killed_run.py"
Run = Callable[..., Path]


def files_of(folder: Path) -> dict[str, dict[str, Tensor]]:
    """Every tensor that a run left."""
    return {
        path.relative_to(folder).as_posix(): load_tensors(path)[0]
        for path in sorted(folder.rglob("*.safetensors"))
    }


def history_of(folder: Path) -> list[Any]:
    records = [
        r for path in sorted(folder.glob("*/metrics.json")) for r in read_json(path)["history"]
    ]
    return [{key: value for key, value in r.items() if key != "seconds"} for r in records]


def assert_same(killed: Path, whole: Path) -> None:
    ours, theirs = files_of(killed), files_of(whole)
    assert ours.keys() == theirs.keys()
    for name, tensors in theirs.items():
        assert ours[name].keys() == tensors.keys()
        for key, tensor in tensors.items():
            assert torch.equal(ours[name][key], tensor), f"{name}: {key}"
    assert history_of(killed) == history_of(whole)


@pytest.fixture(scope="module")
def program(doomed: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, PROGRAM],
        env=doomed,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.communicate()


@pytest.fixture(scope="module")
def run(program: subprocess.Popen[str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Distils to the end, through the kills that are asked for; gives the folder."""
    done: dict[tuple[str, ...], Path] = {}

    def run_once(*places: str, optimizer: str = "sgd", keep: str = "last") -> Path:
        asked = (optimizer, keep, *places)
        if asked not in done:
            folder = tmp_path_factory.mktemp("run")
            print(json.dumps([str(folder), *asked]), file=program.stdin, flush=True)
            assert program.stdout.readline() == "done\n"
            done[asked] = folder
        return done[asked]

    return run_once


def test_a_whole_run_leaves_all_that_is_compared(run: Run) -> None:
    files = files_of(run())
    assert files.keys() == {
        "1-kd/weights.safetensors",
        "2-fitnet+mgd+sakd/method.safetensors",
        "2-fitnet+mgd+sakd/weights.safetensors",
        "3-rkd+crd/method.safetensors",
        "3-rkd+crd/weights.safetensors",
        "student.safetensors",
    }
    changed = [
        files[f"{name}/weights.safetensors"]["10.weight"] for name in ("1-kd", "2-fitnet+mgd+sakd")
    ]
    assert not torch.equal(*changed)
    assert len(history_of(run())) == 9


@pytest.mark.parametrize(
    "places",
    [
        ("1.2.3",),  # in the middle of each stage
        ("2.2.3",),
        ("3.2.3",),
        ("1.1.2",),  # before there is anything to take up
        ("2.3.5",),  # after the last batch, before the stage is saved
        ("2.2.1", "2.2.4", "2.3.2"),  # again and again
        ("1.3.1", "2.1.1", "3.3.5"),  # once in each stage
    ],
    ids=" ".join,
)
def test_a_killed_run_ends_as_one_that_never_stopped(run: Run, places: tuple[str, ...]) -> None:
    assert_same(run(*places), run())


def test_adamw_is_taken_up_with_its_moments_and_8_bit_numbers_with_their_ranges(run: Run) -> None:
    places = ("2.2.3", "3.3.1", "4.1.2", "4.3.4")
    killed, whole = run(*places, optimizer="adamw"), run(optimizer="adamw")
    assert_same(killed, whole)
    assert "4-kd+int8/ranges.safetensors" in files_of(whole)
    assert not torch.equal(
        *(files_of(folder)["student.safetensors"]["10.weight"] for folder in (whole, run()))
    )


def test_stages_on_one_schedule_are_taken_up_on_either_side_of_a_border(run: Run) -> None:
    killed, whole = run("1.3.5", "2.1.1", "2.3.2", "3.1.4", optimizer="lamb"), run(optimizer="lamb")
    assert_same(killed, whole)
    assert "2-fitnet+mgd+sakd/continuation.safetensors" in files_of(whole)


@pytest.mark.parametrize(
    "places",
    [
        ("2.1.3",),  # while the reference is asked about the first view
        ("2.2.5",),  # about the second, all of it
        ("2.3.1", "2.4.4"),  # while it is read
        ("2.1.5", "2.2.2", "2.3.3", "2.6.5"),
    ],
    ids=" ".join,
)
def test_a_reference_that_was_asked_once_for_each_view_is_taken_up(
    run: Run, places: tuple[str, ...]
) -> None:
    assert_same(run(*places, optimizer="views"), run(optimizer="views"))


def test_the_best_epoch_outlives_the_kill(run: Run) -> None:
    killed, whole = run("1.3.2", "2.3.3", "3.2.3", keep="best"), run(keep="best")
    assert_same(killed, whole)
    kept = [read_json(path)["best"]["epoch"] for path in sorted(whole.glob("*/metrics.json"))]
    assert min(kept) < 3, "the last epoch was the best in every stage: this proves nothing"


def test_a_run_that_is_killed_from_outside_ends_as_one_that_never_stopped(
    run: Run, tmp_path: Path, doomed: dict[str, str]
) -> None:
    """Wherever the kill falls; the process is a fresh one each time."""
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(PROGRAM.parent)!r}); import killed_run, time\n"
        "killed_run.Killer.batch_done = lambda self, *_: time.sleep(0.02)\n"
        f"killed_run.run(killed_run.Path({str(tmp_path)!r}), 'sgd', 'last', None)",
    ]
    with subprocess.Popen(command, env=doomed) as process:
        deadline = time.monotonic() + 240
        while not (tmp_path / "2-fitnet+mgd+sakd" / "resume.safetensors").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -9
    subprocess.run(command, check=True)
    assert_same(tmp_path, run())
