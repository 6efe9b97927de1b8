"""ncnn's files hold what the network is, in the precision that was asked for."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import nn

from export.checking.parity import check, compare
from export.formats import FORMATS
from export.graphs.to_onnx import export_onnx
from export.quantization import QuantizationScheme
from export.requests import BundleRequest, ExportSource, check_requests
from foundation.errors import ExportError, UsageError

pytest.importorskip("ncnn")
pytest.importorskip("pnnx")

FORMAT = FORMATS.get("ncnn")()
MODEL, WEIGHTS = "model.ncnn.param", "model.ncnn.bin"
# Neither side is a multiple of four, which is where memory and image part ways.
HEIGHT, WIDTH = 17, 23


class Mixed(nn.Module):
    """Grouped and strided convolutions, a shortcut, two activations and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.norm, self.down = nn.BatchNorm2d(8), nn.Conv2d(8, 12, 3, stride=2)
        self.head = nn.Linear(12, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        first = torch.relu(self.first(images))
        both = first + nn.functional.hardswish(self.norm(self.grouped(first)))
        return self.head(self.down(both).mean((2, 3)))


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network, path = Mixed(), tmp_path_factory.mktemp("graph") / "net.onnx"
    with torch.no_grad():
        network.train()(torch.randn(32, 3, HEIGHT, WIDTH))
    export_onnx(network.eval(), torch.zeros(1, 3, HEIGHT, WIDTH), path, 20)
    return path


@pytest.fixture(scope="module")
def images() -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((6, 3, HEIGHT, WIDTH)).astype(np.float32)


def written(graph: Path, precision: str, folder: Path) -> Path:
    nothing = np.empty((0, 3, HEIGHT, WIDTH), np.float32)
    made = FORMAT.write(graph, precision, folder, nothing, QuantizationScheme())
    assert made.model_file == MODEL
    return folder / made.model_file


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_it_answers_what_the_onnx_file_does(
    graph: Path, images: NDArray[np.float32], precision: str, tmp_path: Path
) -> None:
    reference = FORMATS.get("onnx")().predict(graph, images)
    model = written(graph, precision, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [WEIGHTS, MODEL]
    check(compare(reference, FORMAT.predict(model, images)), precision, "it")
    assert FORMAT.precision_of(model) == precision


def test_an_image_whose_memory_is_in_another_order_is_the_same_image(
    graph: Path, images: NDArray[np.float32], tmp_path: Path
) -> None:
    """ncnn itself reads memory as if there were no strides, and says nothing."""
    model = written(graph, "fp32", tmp_path)
    turned = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert not turned.flags.c_contiguous
    assert np.array_equal(FORMAT.predict(model, turned), FORMAT.predict(model, images))


def test_halves_take_half_the_room_and_the_same_network_gives_the_same_bytes(
    graph: Path, tmp_path: Path
) -> None:
    sizes = {}
    for name, precision in (("one", "fp32"), ("again", "fp32"), ("half", "fp16")):
        (tmp_path / name).mkdir()
        written(graph, precision, tmp_path / name)
        sizes[name] = (tmp_path / name / WEIGHTS).read_bytes()
    assert sizes["one"] == sizes["again"]
    assert (tmp_path / "one" / MODEL).read_bytes() == (tmp_path / "again" / MODEL).read_bytes()
    assert len(sizes["half"]) < 0.6 * len(sizes["one"])


def test_an_operator_that_ncnn_lacks_is_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Det", ["image"], ["det"]),
        helper.make_node("Add", ["flat", "det"], ["logits"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3])
    model = helper.make_model(
        helper.make_graph(nodes, "g", [image], [logits]),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=9,
    )
    onnx.save(model, tmp_path / "net.onnx")
    nothing = np.empty((0, 3, 8, 8), np.float32)
    with pytest.raises(ExportError, match=r"[Dd]et.*use another format"):
        FORMAT.write(tmp_path / "net.onnx", "fp32", tmp_path, nothing, QuantizationScheme())


def test_without_its_packages_it_is_said_what_to_install_before_anything_is_made(
    source: ExportSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pnnx" else find(name)
    )
    with pytest.raises(UsageError, match=r"needs pnnx, not .*pip install 'edge-compress\[ncnn\]'"):
        check_requests(source, [BundleRequest("local", "ncnn", "fp32")])
