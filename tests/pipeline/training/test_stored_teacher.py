"""Stored logits on the road: they teach as the network that gave them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from export.graphs.to_onnx import export_onnx
from foundation.errors import ModelMismatchError, RecipeError
from foundation.files import read_json
from pipeline.models import build_model
from pipeline.preflight.names import check_names
from pipeline.recipe.file import load_recipe
from pipeline.run_folder.folder import RunFolder, start_run
from pipeline.training.prepare import TrainingData, prepare
from pipeline.training.steps import distil, teach
from smskd.listening import Listener
from smskd.training.stage_files import METRICS

SIDE = 12
QUICK = {
    "data.image_size": SIDE,
    "data.batch_size": 16,
    # So that what is stored is of the very images that the other teacher is shown.
    "data.mean": [0.5, 0.5, 0.5],
    "data.std": [0.25, 0.25, 0.25],
    "student.model": "resnet8",
    "engine.accelerator": "cpu",
    "stages": [{"methods": "kd", "epochs": 2, "lr": 0.01}],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos/CLASS/*.png, a network as an ONNX file, and what it says of each photo."""
    root = tmp_path_factory.mktemp("stored")
    random, pixels = np.random.default_rng(0), {}
    for number in range(36):
        name = f"c{number % 3}/{number}.png"
        image = random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        (root / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / "photos" / name)
        pixels[name] = image
    torch.manual_seed(3)
    network = build_model("resnet8", 3, 3)
    with torch.no_grad():
        network.train()(torch.rand(64, 3, SIDE, SIDE))
    export_onnx(network.eval(), torch.zeros(1, 3, SIDE, SIDE), root / "net.onnx", 20)
    np.savez(root / "said.npz", ids=np.array(list(pixels)), logits=_said(network, pixels))
    return root


def _said(network: nn.Module, pixels: dict[str, np.ndarray]) -> np.ndarray:
    images = torch.from_numpy(np.stack(list(pixels.values()))).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        return network((images - 0.5) / 0.25).numpy()


def walk(folder: Path, place: Path, teacher: str, **changes: object) -> RunFolder:
    keys = {"data.name": f"folder:{place / 'photos'}", "teacher.model": str(place / teacher)}
    file = load_recipe(None, {**QUICK, **keys, **changes})
    check_names(file)
    run, data = start_run(folder, file.recipe), TrainingData(file)
    prepare(run, data)
    teach(run, data, Listener())
    distil(run, data, Listener())
    return run


def losses(run: RunFolder) -> list[float]:
    history = read_json(run.stages / "1-kd" / METRICS)["history"]
    return [epoch["losses"]["kd"] for epoch in history]


@pytest.mark.parametrize("views", [None, 1])
def test_they_teach_as_the_network_that_gave_them(
    place: Path, tmp_path: Path, views: int | None
) -> None:
    more = {} if views is None else {"data.teacher_views": views}
    stored = walk(tmp_path / "runs/stored", place, "said.npz", **more)
    asked = walk(tmp_path / "runs/asked", place, "net.onnx", **more)
    assert losses(stored) == pytest.approx(losses(asked), rel=1e-3)
    ours, theirs = (run.record()["networks"]["teacher"] for run in (stored, asked))
    assert ours["test"] == pytest.approx(theirs["test"], rel=1e-4)
    assert ours["validation"]["top1"] == theirs["validation"]["top1"]


def test_a_folder_without_labels_can_have_them_too(place: Path, tmp_path: Path) -> None:
    run = walk(tmp_path / "run", place, "said.npz", **{"data.unlabelled": True})
    assert run.record()["networks"]["student"]["agreement"]["test"]["n"] == 8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data.augment": {"mix": "mixup"}}, "nothing is stored of images that are mixed"),
        ({"data.augment": {"crop_min_area": 0.5}}, "a crop may show another thing"),
        ({"data.unlabelled_from": "folder:x"}, "path within one folder"),
        ({"data.name": "digits"}, "those of digits have none"),
    ],
)
def test_what_nothing_is_stored_of_is_refused(
    place: Path, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    if "data.name" in changes:
        changes = {**changes, "data.mean": [0.5], "data.std": [0.5]}
    with pytest.raises(RecipeError, match=words):
        walk(tmp_path / "run", place, "said.npz", **changes)


def test_a_photo_of_which_nothing_is_stored_is_named(place: Path, tmp_path: Path) -> None:
    with np.load(place / "said.npz") as arrays:
        ids, logits = arrays["ids"][:-1], arrays["logits"][:-1]
    np.savez(tmp_path / "less.npz", ids=ids, logits=logits)
    with pytest.raises(ModelMismatchError, match=r"nothing on 1 of \d+ images, .*'c2/35.png'"):
        walk(tmp_path / "run", tmp_path, "less.npz", **{"data.name": f"folder:{place / 'photos'}"})


def test_classes_in_another_order_are_refused(place: Path, tmp_path: Path) -> None:
    with np.load(place / "said.npz") as arrays:
        ids, logits = arrays["ids"], arrays["logits"]
    np.savez(tmp_path / "other.npz", ids=ids, logits=logits[:, ::-1], classes=["c2", "c1", "c0"])
    with pytest.raises(
        ModelMismatchError, match=r"its class 0 is 'c2', and that of the data.*'c0'"
    ):
        walk(tmp_path / "run", tmp_path, "other.npz", **{"data.name": f"folder:{place / 'photos'}"})


def test_varied_images_are_told_of(place: Path, tmp_path: Path) -> None:
    run = walk(tmp_path / "run", place, "said.npz", **{"data.augment": {"flip": True}})
    assert any("sees it varied" in line for line in run.remarks()["teacher"])
