"""Teachers that are asked, on the road: taught by, kept views of, judged and exported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from export.graphs.to_onnx import export_onnx
from foundation.errors import ModelMismatchError, RecipeError, RunMismatchError
from foundation.files import read_json
from pipeline.exporting.export import export_source
from pipeline.models import build_model
from pipeline.preflight.names import check_names
from pipeline.recipe.file import load_recipe
from pipeline.run_folder.folder import RunFolder, start_run
from pipeline.training.networks import trained_teacher
from pipeline.training.prepare import TrainingData, prepare
from pipeline.training.steps import distil, teach
from smskd.checkpoints.files import save_model
from smskd.listening import Listener
from smskd.training.stage_files import METRICS

QUICK = {
    "data.image_size": 16,
    "data.batch_size": 256,
    "data.student_fraction": 0.2,
    "data.teacher_views": 2,
    "student.model": "resnet8",
    "engine.accelerator": "cpu",
}
KD = [{"methods": "kd", "epochs": 1}]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(3)
    network = build_model("resnet8", 10, 1)
    with torch.no_grad():
        network.train()(torch.rand(64, 1, 16, 16))
    return network.eval()


@pytest.fixture(scope="module")
def graph(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "big.onnx"
    export_onnx(network, torch.zeros(1, 1, 16, 16), path, 20)
    return path


def walk(folder: Path, **changes: object) -> RunFolder:
    file = load_recipe(None, {**QUICK, **changes})
    check_names(file)
    run, data = start_run(folder, file.recipe), TrainingData(file)
    prepare(run, data)
    teach(run, data, Listener())
    distil(run, data, Listener())
    return run


def test_a_graph_teaches_as_the_network_that_it_was_made_of(
    network: nn.Module, graph: Path, tmp_path: Path
) -> None:
    save_model(tmp_path / "big.safetensors", network)
    stages = [{"methods": "fitnet", "epochs": 1}, {"methods": "kd", "epochs": 1}]
    of_graph = walk(tmp_path / "runs/graph", **{"teacher.model": str(graph), "stages": stages})
    weights = str(tmp_path / "big.safetensors")
    of_torch = walk(
        tmp_path / "runs/torch",
        **{"teacher.model": "resnet8", "teacher.weights": weights, "stages": stages},
    )
    ours, theirs = (run.record()["networks"] for run in (of_graph, of_torch))
    assert ours["teacher"]["model"] == "big.onnx"
    assert ours["teacher"]["test"] == pytest.approx(theirs["teacher"]["test"], rel=1e-3)
    losses = [
        [
            [epoch["losses"]["loss"] for epoch in _history(run / METRICS)]
            for run in sorted(folder.stages.glob("*-*"))
        ]
        for folder in (of_graph, of_torch)
    ]
    assert losses[0] == [pytest.approx(stage, rel=2e-2) for stage in losses[1]]


def _history(path: Path) -> list[dict[str, Any]]:
    history: list[dict[str, Any]] = read_json(path)["history"]
    return history


def test_a_run_keeps_its_own_copy_which_is_exported(graph: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(graph.read_bytes())
    run = walk(tmp_path / "runs/one", **{"teacher.model": str(copy), "stages": KD})
    copy.unlink()
    images = torch.rand(2, 1, 16, 16)
    assert trained_teacher(run)(images).shape == (2, 10)
    assert run.has_teacher
    assert export_source(run, "teacher").model == run.teacher_graph


def test_a_method_that_needs_the_teachers_classifier_says_that_there_is_none(
    graph: Path, tmp_path: Path
) -> None:
    stages = [{"methods": "simkd", "epochs": 1}]
    with pytest.raises(ModelMismatchError, match=r"SimKD .*linear layer"):
        walk(tmp_path / "runs/one", **{"teacher.model": str(graph), "stages": stages})


def test_weights_beside_a_teacher_that_is_asked_are_refused(graph: Path, tmp_path: Path) -> None:
    keys = {"teacher.model": str(graph), "teacher.weights": "w.pt", "stages": KD}
    with pytest.raises(RecipeError, match=r"teacher\.weights: teacher .* is asked"):
        walk(tmp_path / "runs/one", **keys)


def test_a_graph_of_other_classes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "seven.onnx"
    export_onnx(build_model("resnet8", 7, 1).eval(), torch.zeros(1, 1, 16, 16), path, 20)
    with pytest.raises(ModelMismatchError, match="gives 7 logits, but the data has 10 classes"):
        walk(tmp_path / "runs/one", **{"teacher.model": str(path), "stages": KD})


FUNCTION = """\
import numpy as np

def guess(pixels):
    dark = pixels.reshape(len(pixels), -1).astype(np.float32).mean(1, keepdims=True) / 255
    scores = np.exp(-np.abs(dark * 10 - np.arange(10)))
    return scores / scores.sum(1, keepdims=True)
"""


class TestFunction:
    @pytest.fixture(autouse=True)
    def _module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        (tmp_path / "asked_by_a_run.py").write_text(FUNCTION)
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path))
        yield
        sys.modules.pop("asked_by_a_run", None)

    def test_teaches_and_its_probabilities_are_noticed(self, tmp_path: Path) -> None:
        keys = {"teacher.model": "function:asked_by_a_run:guess", "stages": KD}
        run = walk(tmp_path / "runs/one", **keys)
        remarks = run.remarks()["teacher"]
        assert any("answers with probabilities" in line for line in remarks)
        logits = trained_teacher(run)(torch.zeros(2, 1, 16, 16))
        assert logits.exp().sum(1) == pytest.approx([1.0, 1.0], abs=1e-4)
        teacher = run.record()["networks"]["teacher"]
        assert teacher["parameters"] is None
        assert 0 < teacher["test"]["top1"] < 1

    def test_one_that_changed_since_is_refused(self, tmp_path: Path) -> None:
        keys = {"teacher.model": "function:asked_by_a_run:guess", "stages": KD}
        walk(tmp_path / "runs/one", **keys)
        (tmp_path / "asked_by_a_run.py").write_text(FUNCTION.replace("* 10", "* 9"))
        with pytest.raises(RunMismatchError, match=r"teacher\.model .* changed since"):
            walk(tmp_path / "runs/one", **keys)
