"""A teacher that goes on from what others have trained, and is taken as a teacher by its run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from foundation.errors import CorruptFileError, MissingFileError, ModelMismatchError, RecipeError
from foundation.files import read_json
from pipeline.data.facts import DataFacts, read_facts
from pipeline.data.fitting import preparations
from pipeline.models import build_model
from pipeline.recipe.file import dump_recipe, load_recipe
from pipeline.recipe.noted import noted_network
from pipeline.recipe.sections.training import TeacherTrainingRecipe
from pipeline.recipe.teachers import FINE_TUNING
from pipeline.run_folder.folder import RunFolder, start_run
from pipeline.training.fine_tuning import (
    begin_with_weights,
    remark_on_beginning,
    stage_of,
    tuning_of,
)
from pipeline.training.networks import NetworkSpec, trained_teacher
from pipeline.training.prepare import TrainingData, prepare
from pipeline.training.steps import distil, teach
from smskd.checkpoints.files import load_tensors, save_model
from smskd.listening import Listener
from smskd.training.stage_files import METRICS, WEIGHTS

FIXED = """\
from torch import nn

def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(4, 7))
"""
QUICK = {
    "data.batch_size": 8,
    "data.val_fraction": 0.3,
    "engine.accelerator": "cpu",
    "teacher.training.epochs": 2,
    "teacher.training.head_epochs": 1,
}


class StopIn(Listener):
    """Stops training in an epoch of a phase."""

    def __init__(self, phase: str, epoch: int) -> None:
        self.at, self.phase, self.epoch = (phase, epoch), "", 1

    def stage_started(self, name: str, epochs: int, done: int) -> None:
        del epochs
        self.phase, self.epoch = name, done + 1

    def epoch_done(self, record: dict[str, Any]) -> None:
        self.epoch = record["epoch"] + 1

    def batch_done(self, batch: int, batches: int | None) -> None:
        if (self.phase, self.epoch) == self.at:
            raise KeyboardInterrupt


@pytest.fixture
def seven(tmp_path: Path) -> Path:
    """Weights of a ResNet-8 that knows seven classes."""
    torch.manual_seed(1)
    path = tmp_path / "seven.pt"
    torch.save(build_model("resnet8", 7, 3).state_dict(), path)
    return path


@pytest.fixture
def fixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A factory that takes no number of classes."""
    (tmp_path / "fixed_net.py").write_text(FIXED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("fixed_net", None)
    return "fixed_net:net"


def taught(
    folder: Path, photos: Path, weights: Path | str, listener: Listener | None = None, **more: Any
) -> tuple[RunFolder, list[str]]:
    changes = {
        **QUICK, "data.name": f"folder:{photos}", "teacher.model": "resnet8",
        "teacher.training.weights": str(weights), **more,
    }  # fmt: skip
    file, lines = load_recipe(None, changes), list[str]()
    run, data = start_run(folder, file.recipe, lines.append), TrainingData(file)
    prepare(run, data)
    teach(run, data, listener or Listener(), has_student=False)
    return run, lines


def facts_of(classes: Sequence[str]) -> DataFacts:
    file = load_recipe(None, {"data.name": "digits"})
    shape = TrainingData(file).splits.preprocessing
    shape = replace(shape, height=16, width=16, channels=3, mean=[0.5] * 3, std=[0.2] * 3)
    return DataFacts("toy", list(classes), shape, {"train": 1}, [])


def test_all_but_the_head_begins_with_weights_of_other_classes(seven: Path) -> None:
    lines: list[str] = []
    spec = NetworkSpec("resnet8", begins_with=str(seven))
    first, again = (begin_with_weights(spec, facts_of("abc"), 0, lines.append) for _ in range(2))
    assert first.head == ("fc",)
    assert f"resnet8: fc is new, for 3 classes where {seven} have 7; all else" in lines[-1]
    given, network = torch.load(seven), first.network.state_dict()
    assert network["fc.weight"].shape[0] == 3
    assert all(network[n].equal(given[n]) for n in given if not n.startswith("fc."))
    assert all(tensor.equal(network[n]) for n, tensor in again.network.state_dict().items())


def test_a_head_is_new_for_as_many_other_classes_and_kept_for_the_same(
    seven: Path, tmp_path: Path
) -> None:
    other = begin_with_weights(
        NetworkSpec("resnet8", begins_with=str(seven)), facts_of("abcdefg"), 0, print
    )
    given = torch.load(seven)
    assert other.head == ("fc",)
    assert not other.network.fc.weight.equal(given["fc.weight"])
    noting = tmp_path / "noting.pt"
    torch.save({"state_dict": given, "classes": list("abcdefg")}, noting)
    lines: list[str] = []
    spec = NetworkSpec("resnet8", begins_with=str(noting))
    same = begin_with_weights(spec, facts_of("abcdefg"), 0, lines.append)
    assert same.network.fc.weight.equal(given["fc.weight"])
    assert "knows these 7 classes; its head fc is kept" in lines[-1]


def test_a_factory_without_a_number_of_classes_gets_a_new_layer(
    fixed: str, photos: Path, tmp_path: Path
) -> None:
    torch.manual_seed(2)
    network: nn.Module = build_model(fixed, 7, 3)
    save_model(tmp_path / "fixed.safetensors", network)
    run, lines = taught(
        tmp_path / "runs/a", photos, tmp_path / "fixed.safetensors", **{"teacher.model": fixed}
    )
    assert any("5 is new, for 2 classes where" in line for line in lines)
    assert trained_teacher(run)(torch.zeros(1, 3, 16, 16)).shape == (1, 2)
    again = load_recipe(None, {"teacher.model": str(run.path), "student.model": "resnet8"})
    assert (again.recipe.teacher.model, again.recipe.teacher.head) == (fixed, "5")


def test_a_layer_that_is_not_to_be_found_is_told_of_in_a_line(seven: Path) -> None:
    spec = NetworkSpec("resnet8", begins_with=str(seven), head="layer1")
    with pytest.raises(ModelMismatchError, match=r"'layer1' is a Sequential.*--head"):
        begin_with_weights(spec, facts_of("abc"), 0, print)


def test_stopped_and_run_again_it_ends_with_the_same_weights(
    photos: Path, seven: Path, tmp_path: Path
) -> None:
    whole, _ = taught(tmp_path / "whole", photos, seven)
    for at in (("head", 1), ("all", 2)):
        with pytest.raises(KeyboardInterrupt):
            taught(tmp_path / "stopped", photos, seven, StopIn(*at))
    stopped, _ = taught(tmp_path / "stopped", photos, seven)
    first, again = (load_tensors(run.teacher / WEIGHTS) for run in (whole, stopped))
    assert all(first[0][name].equal(again[0][name]) for name in first[0])
    assert first[1] == again[1]
    noted = whole.record()["networks"]["teacher"]
    assert noted == stopped.record()["networks"]["teacher"]
    assert noted["begins_with"] == "seven.pt"
    assert read_json(whole.teacher / "head" / METRICS)["name"] == "head"


def test_none_is_said_to_be_no_fine_tuning() -> None:
    lines: list[str] = []
    remark_on_beginning(TeacherTrainingRecipe(weights="none"), "resnet8", lines.append)
    remark_on_beginning(TeacherTrainingRecipe(), "resnet8", lines.append)
    assert len(lines) == 1 and "this is no fine-tuning" in lines[0]


def test_it_says_that_it_ended_early(photos: Path, seven: Path, tmp_path: Path) -> None:
    quiet = {"teacher.training.lr": 1e-9, "teacher.training.epochs": 6}
    more = {**quiet, "teacher.training.patience": 2, "teacher.training.ema_epochs": 0.0}
    run, lines = taught(tmp_path / "a", photos, seven, **more)
    assert "ended after 3 of 6 epochs, for none was better" in lines[-1]
    assert len(read_json(run.teacher / METRICS)["history"]) == 3


def test_a_run_or_its_file_is_a_teacher_with_all_that_it_takes(
    photos: Path, seven: Path, tmp_path: Path
) -> None:
    """Its images are prepared as they were, whoever's data they are."""
    more = {"data.mean": [0.1, 0.2, 0.3], "data.std": [0.4, 0.5, 0.6]}
    run, _ = taught(tmp_path / "runs/a", photos, seven, **more)
    copy = tmp_path / "alone.safetensors"
    copy.write_bytes((run.teacher / WEIGHTS).read_bytes())
    for word in (run.path, copy):
        changes = {
            "data.name": f"folder:{photos}", "data.batch_size": 8, "teacher.model": str(word),
            "student.model": "resnet8", "stages": [{"methods": "kd", "epochs": 1}],
            "engine.accelerator": "cpu",
        }  # fmt: skip
        file = load_recipe(None, changes)
        assert file.recipe.teacher.model == "resnet8"
        seen = preparations(file.recipe).teacher
        assert (seen.mean, seen.size) == ((0.1, 0.2, 0.3), (16, 16))
        assert load_recipe(_kept(tmp_path, file.recipe)).recipe == file.recipe
    distilled, data = start_run(tmp_path / "runs/b", file.recipe), TrainingData(file)
    prepare(distilled, data)
    teach(distilled, data, Listener())
    distil(distilled, data, Listener())
    assert read_facts(distilled.data).teacher_preprocessing.mean == [0.1, 0.2, 0.3]
    theirs, ours = (each.record()["networks"]["teacher"] for each in (run, distilled))
    assert theirs["test"] == ours["test"]


def _kept(folder: Path, recipe: Any) -> Path:
    path = folder / "kept.toml"
    path.write_text(dump_recipe(recipe))
    return path


def test_code_that_a_file_names_is_nobodys_own_word(
    fixed: str, photos: Path, tmp_path: Path
) -> None:
    save_model(tmp_path / "fixed.safetensors", build_model(fixed, 7, 3))
    more = {"teacher.model": fixed}
    run, _ = taught(tmp_path / "a", photos, tmp_path / "fixed.safetensors", **more)
    file = load_recipe(None, {"teacher.model": str(run.path)})
    assert not file.is_typed("teacher", "model")
    assert file.where("teacher", "model") == f"{run.teacher / WEIGHTS}, teacher.model"
    assert load_recipe(None, {"teacher.model": fixed}).is_typed("teacher", "model")


def test_words_that_mean_no_finished_teacher(tmp_path: Path, seven: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").write_text("{}")
    with pytest.raises(MissingFileError, match="no finished teacher in this run yet"):
        load_recipe(None, {"teacher.model": str(tmp_path / "run")})
    with pytest.raises(CorruptFileError, match="does not tell of which network its weights are"):
        load_recipe(None, {"teacher.model": str(seven)})
    bare = tmp_path / "bare.safetensors"
    save_model(bare, build_model("resnet8", 7, 3))
    assert noted_network(bare) is None
    save_model(bare, build_model("resnet8", 7, 3), network={"model": "resnet8"})
    with pytest.raises(CorruptFileError, match="notes of its network is not whole"):
        load_recipe(None, {"teacher.model": str(bare)})


def test_a_run_with_weights_beside_it_is_one_too_many(
    photos: Path, seven: Path, tmp_path: Path
) -> None:
    run, _ = taught(tmp_path / "a", photos, seven)
    with pytest.raises(RecipeError, match=r"brings its own, but got 'x\.pt'"):
        load_recipe(None, {"teacher.model": str(run.path), "teacher.weights": "x.pt"})


def test_a_training_that_begins_with_weights_is_a_fine_tuning_where_nothing_else_is_said() -> None:
    changes = {"teacher.training.weights": "x.pt", "teacher.training.layer_decay": 0.5}
    training = load_recipe(None, changes).recipe.teacher.training
    expected = {**FINE_TUNING, "layer_decay": 0.5, "keep": "best"}
    assert {key: getattr(training, key) for key in expected} == expected
    plain = load_recipe(None, {"teacher.training.weights": "none"}).recipe.teacher.training
    assert (plain.head_epochs, plain.layer_decay, plain.patience) == (0, 1.0, 0)
    assert tuning_of(plain, ()) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"head_epochs": 2}, "head_epochs, head_lr and layer_decay are for a network that"),
        ({"patience": 2, "keep": "last"}, 'keep = "last" hands on another; leave keep out'),
        ({"layer_decay": 1.5}, "layer_decay: must be above 0 and at most 1, but got 1.5"),
        ({"ema_epochs": 1.0, "ema_decay": 0.9}, "ema_epochs and ema_decay say the same thing"),
        (
            {"weights": "timm:pretrained", "ema_epochs": 2.0, "ema_decay": 0.9},
            "ema_epochs and ema_decay say the same thing",
        ),
    ],
)
def test_keys_that_do_not_go_together(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        load_recipe(None, {f"teacher.training.{key}": value for key, value in changes.items()})


@pytest.mark.parametrize(
    ("training", "batches", "decay"),
    [
        (TeacherTrainingRecipe(ema_epochs=1.0), 20, 0.95),
        (TeacherTrainingRecipe(ema_epochs=2.0, accumulate=4), 20, 0.9),
        (TeacherTrainingRecipe(ema_epochs=1.0), 1, None),
        (TeacherTrainingRecipe(), 20, None),
        (TeacherTrainingRecipe(ema_decay=0.5), 20, 0.5),
    ],
)
def test_a_mean_over_an_epoch_is_told_by_the_step(
    training: TeacherTrainingRecipe, batches: int, decay: float | None
) -> None:
    assert stage_of(training, batches).ema_decay == (decay and pytest.approx(decay))
