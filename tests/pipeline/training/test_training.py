"""Teach and distil, together: what one leaves, the other builds on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from foundation.errors import MissingFileError, ModelMismatchError, WeightsMismatchError
from pipeline.models import build_model
from pipeline.recipe.file import load_recipe
from pipeline.run_folder.folder import RunFolder, start_run
from pipeline.training.networks import trained_student, trained_teacher
from pipeline.training.prepare import TrainingData, prepare
from pipeline.training.steps import distil, teach
from smskd.checkpoints.files import save_model
from smskd.listening import Listener

QUICK = {
    "data.image_size": 8,
    "data.batch_size": 256,
    "data.student_fraction": 0.2,
    "teacher.model": "resnet8",
    "teacher.training.epochs": 1,
    "stages": [{"methods": "kd", "epochs": 1}, {"methods": "rkd", "epochs": 1}],
    "engine.accelerator": "cpu",
}


class Diary(Listener):
    """Remembers which stages were trained and which were found done."""

    def __init__(self) -> None:
        self.trained: list[str] = []
        self.found: list[str] = []

    def stage_started(self, name: str, epochs: int, done: int) -> None:
        self.trained.append(name)

    def stage_done(self, name: str, seconds: float) -> None:
        if name not in self.trained:
            self.found.append(name)


def train(folder: Path, **changes: object) -> tuple[RunFolder, Diary, Diary]:
    file = load_recipe(None, {**QUICK, **changes})
    run, data = start_run(folder, file.recipe), TrainingData(file)
    taught, distilled = Diary(), Diary()
    prepare(run, data)
    teach(run, data, taught)
    distil(run, data, distilled)
    return run, taught, distilled


def given_weights(path: Path, model: str = "resnet8", classes: int = 10, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    network = build_model(model, classes, 1)
    if path.suffix == ".pt":
        torch.save(network.state_dict(), path)
    else:
        save_model(path, network)
    return path


def weights(run: RunFolder) -> dict[str, bytes]:
    names = ("teacher/weights", "stages/1-kd/weights", "stages/2-rkd/weights", "student")
    return {name: (run.path / f"{name}.safetensors").read_bytes() for name in names}


def test_teacher_and_student_are_trained_and_their_worth_is_noted(tmp_path: Path) -> None:
    run, taught, distilled = train(tmp_path / "x")
    assert (taught.trained, distilled.trained) == (["labels"], ["kd", "rkd"])
    networks = run.record()["networks"]
    for role in ("teacher", "student"):
        assert networks[role]["model"] == "resnet8"
        assert networks[role]["parameters"] > 70_000
        assert networks[role]["test"]["n"] == 360
        assert 0 <= networks[role]["test"]["top1"] <= 1
        assert networks[role]["validation"]["n"] == 144


def test_the_student_is_what_the_last_stage_left(tmp_path: Path) -> None:
    run, _, _ = train(tmp_path / "x")
    left = weights(run)
    assert left["student"] == left["stages/2-rkd/weights"] != left["stages/1-kd/weights"]
    state = trained_student(run).state_dict()
    assert not torch.equal(state["conv1.weight"], trained_teacher(run).state_dict()["conv1.weight"])


def test_the_same_recipe_gives_the_same_weights_bit_by_bit(tmp_path: Path) -> None:
    first, second = (weights(train(tmp_path / name)[0]) for name in ("x", "y"))
    assert first == second


def test_trained_once_nothing_is_trained_again(tmp_path: Path) -> None:
    before = weights(train(tmp_path / "x")[0])
    run, taught, distilled = train(tmp_path / "x")
    assert taught.trained == distilled.trained == []
    assert weights(run) == before


def test_a_stage_that_is_gone_is_trained_again_to_the_same_weights(tmp_path: Path) -> None:
    run, _, _ = train(tmp_path / "x")
    before = weights(run)
    for name in ("weights.safetensors", "metrics.json"):
        (run.stages / "2-rkd" / name).unlink()
    run.student.unlink()
    run, taught, distilled = train(tmp_path / "x")
    assert (taught.trained, distilled.trained, distilled.found) == ([], ["rkd"], ["kd"])
    assert weights(run) == before


def test_a_teacher_that_is_gone_is_trained_again_and_its_students_stay(tmp_path: Path) -> None:
    run, _, _ = train(tmp_path / "x")
    before = weights(run)
    (run.teacher / "weights.safetensors").unlink()
    run, taught, distilled = train(tmp_path / "x")
    assert (taught.trained, distilled.trained) == (["labels"], [])
    assert weights(run) == before


@pytest.mark.parametrize("name", ["t.safetensors", "t.pt"])
def test_a_teacher_may_come_with_its_weights(tmp_path: Path, name: str) -> None:
    path = given_weights(tmp_path / name)
    run, taught, _ = train(tmp_path / "x", **{"teacher.weights": str(path)})
    assert taught.trained == []
    torch.manual_seed(0)
    expected = build_model("resnet8", 10, 1).state_dict()
    assert all(torch.equal(expected[k], v) for k, v in trained_teacher(run).state_dict().items())


def test_students_of_another_teacher_are_not_taken_for_those_of_this_one(tmp_path: Path) -> None:
    path = given_weights(tmp_path / "t.safetensors", seed=0)
    run, _, _ = train(tmp_path / "x", **{"teacher.weights": str(path)})
    before = weights(run)
    given_weights(path, seed=1)
    run, _, distilled = train(tmp_path / "x", **{"teacher.weights": str(path)})
    assert distilled.trained == ["kd", "rkd"]
    assert all(after != before[name] for name, after in weights(run).items())


def test_weights_that_fall_short_of_what_is_known_of_them_end_it_before_the_training(
    tmp_path: Path,
) -> None:
    path = given_weights(tmp_path / "t.safetensors")
    given = {f"{role}.weights": str(path) for role in ("teacher", "student")}
    for role in ("teacher", "student"):
        with pytest.raises(ModelMismatchError, match=r"rightly, but 95\.00 % was expected"):
            train(tmp_path / "x", **given, **{f"{role}.expect_top1": 95.0})
    assert not list((tmp_path / "x").glob("stages/*/weights.safetensors"))
    remarks = RunFolder(tmp_path / "x").remarks()["teacher"]
    assert "no better than chance" in remarks[-1]


@pytest.mark.parametrize(
    ("model", "classes", "words"), [("resnet14", 10, "unknown here"), ("resnet8", 7, "(7, 64)")]
)
def test_weights_of_another_network_are_refused(
    tmp_path: Path, model: str, classes: int, words: str
) -> None:
    path = given_weights(tmp_path / "t.safetensors", model, classes)
    with pytest.raises(WeightsMismatchError) as refused:
        train(tmp_path / "x", **{"teacher.weights": str(path)})
    assert words in str(refused.value)


def test_weights_that_are_not_there_are_told_by_their_path(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"t\.pt: no such file"):
        train(tmp_path / "x", **{"teacher.weights": str(tmp_path / "t.pt")})


def test_a_student_that_does_not_fit_is_told_of_before_the_teacher_is_trained(
    tmp_path: Path,
) -> None:
    with pytest.raises(ModelMismatchError, match="torchvision"):
        train(tmp_path / "x", **{"student.model": "torchvision.models:resnet18"})
    assert not (tmp_path / "x/teacher").exists()


def test_a_student_that_begins_with_other_weights_is_trained_anew(tmp_path: Path) -> None:
    path = given_weights(tmp_path / "w.safetensors")
    how = {"student.model": "resnet8", "student.weights": str(path)}
    run, _, first = train(tmp_path / "x", **how)
    before = run.student.read_bytes()
    assert train(tmp_path / "x", **how)[2].trained == []
    given_weights(path, seed=1)
    run, taught, again = train(tmp_path / "x", **how)
    assert (taught.trained, again.trained) == ([], first.trained)
    assert run.student.read_bytes() != before
