"""A trained network in every form in which a user may bring one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from export.graphs.to_onnx import export_onnx
from pipeline.models import build_model
from smskd.checkpoints.files import load_model, save_model

IMAGE = torch.zeros(1, 1, 16, 16)

MINE = """\
from pathlib import Path
from pipeline.models import build_model
from smskd.checkpoints.files import load_model

def net(num_classes, in_channels):
    network = build_model("resnet8", num_classes, in_channels)
    load_model(Path(__file__).with_name("net.safetensors"), network)
    return network

def broken(num_classes):
    raise RuntimeError("no luck today\\nnor tomorrow")
"""


@pytest.fixture(scope="session")
def brought_once(road, tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert road.said.code == 0, road.said.err
    folder = tmp_path_factory.mktemp("brought")
    network = build_model("resnet8", 10, 1)
    load_model(road.run.teacher / "weights.safetensors", network)
    network.eval()
    save_model(folder / "net.safetensors", network)
    wrapped = {f"module.model.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": wrapped, "epoch": 3}, folder / "wrapped.pt")
    (folder / "mine.py").write_text(MINE)
    _write_graphs(folder, network)
    _write_what_does_not_fit(folder)
    _make_hostile(network)
    save_model(folder / "hostile.safetensors", network)
    return folder


@pytest.fixture
def brought(brought_once: Path, tmp_path: Path) -> Path:
    """A folder with a network from elsewhere, and with much that is wrong.

    The tiny road's teacher, a ResNet-8 for digits of 16 × 16, as net.safetensors, wrapped.pt,
    mine:net, net.onnx, and beside.onnx with its weights in a file beside it. hostile.safetensors
    computes the same in floating point, but not in 8 bits.
    """
    return Path(shutil.copytree(brought_once, tmp_path / "brought"))


def _write_graphs(folder: Path, network: nn.Module) -> None:
    export_onnx(network, IMAGE, folder / "net.onnx", 20)
    model = onnx.load(folder / "net.onnx")
    onnx.save(
        model, folder / "beside.onnx", save_as_external_data=True, size_threshold=0,
        location="beside.weights",
    )  # fmt: skip
    model = onnx.load(folder / "net.onnx")
    for axis, name in ((2, "height"), (3, "width")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    del model.graph.value_info[:]
    onnx.save(model, folder / "free.onnx")
    model = onnx.load(folder / "net.onnx")
    logits = model.graph.output[0].name
    next(n for n in model.graph.node if n.output[0] == logits).output[0] = "before"
    model.graph.node.append(helper.make_node("Magic", ["before"], [logits], domain="my.own"))
    model.opset_import.append(helper.make_opsetid("my.own", 1))
    onnx.save(model, folder / "magic.onnx")
    _write_one_that_openvino_lacks(folder)
    _write_one_for_four_images(folder)


def _write_one_that_openvino_lacks(folder: Path) -> None:
    """The same answers, to which nothing is added: the image's determinant, times zero."""
    model = onnx.load(folder / "net.onnx")
    logits, image = model.graph.output[0].name, model.graph.input[0].name
    next(n for n in model.graph.node if n.output[0] == logits).output[0] = "before"
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0), "nothing"))
    model.graph.node.extend(
        [
            helper.make_node("Det", [image], ["det"]),
            helper.make_node("Mul", ["det", "nothing"], ["none"]),
            helper.make_node("Add", ["before", "none"], [logits]),
        ]
    )
    onnx.save(model, folder / "det.onnx")


def _write_one_for_four_images(folder: Path) -> None:
    model = onnx.load(folder / "net.onnx")
    logits = model.graph.output[0].name
    next(n for n in model.graph.node if n.output[0] == logits).output[0] = "before"
    four = numpy_helper.from_array(np.zeros((4, 10), np.float32), "four")
    model.graph.initializer.append(four)
    model.graph.node.append(helper.make_node("Add", ["before", "four"], [logits]))
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    del model.graph.value_info[:]
    onnx.save(model, folder / "four.onnx")


def _write_what_does_not_fit(folder: Path) -> None:
    seven = build_model("resnet8", 7, 1).eval()
    save_model(folder / "seven.safetensors", seven)
    export_onnx(seven, IMAGE, folder / "seven.onnx", 20)
    save_model(folder / "resnet14.safetensors", build_model("resnet14", 10, 1))
    torch.save(print, folder / "code.pt")
    (folder / "torn.onnx").write_bytes((folder / "net.onnx").read_bytes()[:5000])
    (folder / "alone.onnx").write_bytes((folder / "beside.onnx").read_bytes())
    model = onnx.load(folder / "alone.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "nowhere.weights"
    (folder / "alone.onnx").write_bytes(model.SerializeToString())


@torch.no_grad()
def _make_hostile(network: nn.Module) -> None:
    """One channel between two convolutions so large that a step of 8 bits swallows the others."""
    block = network.layer1[0]  # type: ignore[index, union-attr]
    for tensor in (block.bn1.weight, block.bn1.bias):  # type: ignore[union-attr]
        tensor[0] *= 3000
    block.conv2.weight[:, 0] /= 3000  # type: ignore[union-attr]
