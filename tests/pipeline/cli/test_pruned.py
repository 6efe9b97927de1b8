"""A student that is pruned before the first stage and before the second, by the real command."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from foundation.files import read_json
from pipeline.models.pruned_form import read_form
from pipeline.run_folder.folder import RunFolder
from pipeline.training.networks import form_paths, trained_student
from smskd.checkpoints.files import load_tensors

pytest.importorskip("torch_pruning", reason="torch-pruning is not installed (extra `prune`)")

RECIPE = """\
name = "pruned"

[data]
name = "digits"
image_size = 8
student_fraction = 0.1
batch_size = 16

[teacher]
model = "resnet8"
training = { epochs = 1 }

[student]
model = "resnet8"

[[stages]]
methods = "kd"
epochs = 2

[[stages]]
methods = ["fitnet", "simkd"]
epochs = 6
prune = 0.4

[[stages]]
methods = "at"
epochs = 1
reference_feature_weight = 0.1
"""
COMMAND = [
    str(Path(sys.executable).with_name("compress")), "distill", "pruned.toml", "--prune", "0.25",
]  # fmt: skip
BEFORE_SECOND = "stages/2-fitnet+simkd/pruned.safetensors"


def start(folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    settings = {**environment, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(COMMAND, cwd=folder, env=settings, text=True, **quiet)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, doomed: dict[str, str]) -> Iterator[RunFolder]:
    folder = tmp_path_factory.mktemp("pruned")
    (folder / "pruned.toml").write_text(RECIPE)
    process = start(folder, doomed)
    assert process.wait(240) == 0, process.stderr.read()
    return RunFolder(folder / "runs/pruned")


def test_the_record_tells_what_each_pruning_took_away(whole: RunFolder) -> None:
    student = whole.record()["networks"]["student"]
    first, second = student["pruned"]
    assert [one["before_stage"] for one in (first, second)] == [1, 2]
    assert first["after"] == second["before"]
    assert second["after"] == {key: student[key] for key in ("parameters", "macs")}
    for one in (first, second):
        assert one["after"]["macs"] < 0.8 * one["before"]["macs"]
    assert first["channels"]["layer3.0.conv1"] == [64, 48]
    assert second["channels"]["layer3.0.conv1"] == [48, 32]  # 28.8 is nearest to 32


def test_each_stage_trained_the_student_of_its_form(whole: RunFolder) -> None:
    widths = []
    for name in ("1-kd", "2-fitnet+simkd", "3-at"):
        tensors = load_tensors(whole.stages / name / "weights.safetensors")[0]
        widths.append(tensors["layer3.0.conv1.weight"].shape[0])
    assert widths == [48, 32, 32]
    references = [
        "reference" in read_json(path)["history"][0]["losses"]
        for path in sorted(whole.stages.glob("*/metrics.json"))
    ]
    assert references == [False, True, True]


def test_the_second_pruning_starts_from_what_the_first_stage_learned(whole: RunFolder) -> None:
    learned = load_tensors(whole.stages / "1-kd/weights.safetensors")[0]["fc.bias"]
    assert torch.equal(read_form(whole.path / BEFORE_SECOND).tensors["fc.bias"], learned)


def test_the_student_is_built_again_where_torch_pruning_is_not(
    whole: RunFolder, python, tmp_path: Path
) -> None:
    images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    said = python(
        "import json, sys; sys.modules['torch_pruning'] = None\n"
        "import torch; from pathlib import Path\n"
        "from pipeline.training.networks import trained_student\n"
        "from pipeline.run_folder.folder import RunFolder\n"
        "images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))\n"
        "print(json.dumps(trained_student(RunFolder(Path(sys.argv[1])))(images).tolist()))",
        whole.path,
        cwd=tmp_path,
    )
    assert said.code == 0, said.err
    expected = trained_student(whole)(images)
    assert torch.allclose(torch.tensor(said.json()), expected, atol=1e-5)


@pytest.mark.slow
def test_a_run_killed_after_a_pruning_ends_with_the_weights_of_one_that_never_stopped(
    whole: RunFolder, tmp_path: Path, doomed: dict[str, str]
) -> None:
    (tmp_path / "pruned.toml").write_text(RECIPE)
    run = RunFolder(tmp_path / "runs/pruned")
    with start(tmp_path, doomed) as process:
        deadline = time.monotonic() + 240
        while not (run.path / BEFORE_SECOND).with_name("resume.safetensors").exists():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert not run.student.exists()
    written = [path.stat().st_mtime_ns for path in form_paths(run).values()]
    again = start(tmp_path, doomed)
    assert again.wait(240) == 0, again.stderr.read()
    assert [path.stat().st_mtime_ns for path in form_paths(run).values()] == written
    ours, theirs = load_tensors(run.student)[0], load_tensors(whole.student)[0]
    assert ours.keys() == theirs.keys()
    assert all(ours[key].equal(theirs[key]) for key in theirs)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--prune", "1.5"), 11, "command line, student.prune: input should be less than 1"),
        (("--student", "shufflenetv2", "--prune", "0.3"), 19, "ShuffleNetV2 cannot be pruned"),
    ],
)
def test_what_cannot_be_pruned_is_told_before_any_training(
    compress, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    said = compress("distill", "--set", "data.image_size=16", *arguments, cwd=tmp_path)
    assert said.code == code
    assert words in said.complaint
    assert "epoch" not in said.err
