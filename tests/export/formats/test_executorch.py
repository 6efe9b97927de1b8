"""ExecuTorch's programs hold what the network is, whatever the memory of an image looks like."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from export.checking.parity import check, compare
from export.formats import FORMATS
from export.graphs.to_onnx import export_onnx
from export.quantization import QuantizationScheme
from export.requests import BundleRequest, ExportSource, check_requests
from foundation.errors import ExportError, UsageError

FORMAT = FORMATS.get("executorch")()
SCHEME = QuantizationScheme()
CALIBRATION, TEST = 40, 500
needs_it = pytest.mark.skipif(
    importlib.util.find_spec("executorch") is None,
    reason="executorch is an extra: pip install 'edge-compress[executorch]'",
)


class DigitsNet(nn.Module):
    """Grouped and strided convolutions, a shortcut, two activations and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.norm, self.down = nn.BatchNorm2d(16), nn.Conv2d(16, 24, 3, stride=2)
        self.head = nn.Linear(24, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        first = torch.relu(self.first(images))
        both = first + F.hardswish(self.norm(self.grouped(first)))
        return self.head(torch.relu(self.down(both)).mean((2, 3)))


@pytest.fixture(scope="module")
def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The digits, (N, 1, 8, 8), shuffled, with their labels."""
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    images = (found.images[order, None] / 8 - 1).astype(np.float32)
    return images, found.target[order].astype(np.int64)


@pytest.fixture(scope="module")
def network(digits: tuple[NDArray[np.float32], NDArray[np.int64]]) -> nn.Module:
    torch.manual_seed(0)
    images, labels = (torch.from_numpy(part[TEST:]) for part in digits)
    model = DigitsNet().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        chosen = torch.randint(len(images), (64,))
        optimizer.zero_grad()
        F.cross_entropy(model(images[chosen]), labels[chosen]).backward()
        optimizer.step()
    return model.eval()


def written(
    network: nn.Module, precision: str, folder: Path, calibration: NDArray[np.float32]
) -> Path:
    made = FORMAT.write_network(network, precision, folder, calibration, SCHEME)
    assert [path.name for path in folder.iterdir()] == [made.model_file]
    return folder / made.model_file


@needs_it
def test_it_answers_what_onnx_runtime_does_in_any_order_of_memory(
    network: nn.Module, digits: tuple[NDArray[np.float32], ...], tmp_path: Path
) -> None:
    """ExecuTorch itself reads memory as if there were no strides, and says nothing."""
    images = digits[0][:20]
    export_onnx(network, torch.zeros(1, 1, 8, 8), tmp_path / "net.onnx", 20)
    reference = FORMATS.get("onnx")().predict(tmp_path / "net.onnx", images)
    (tmp_path / "made").mkdir()
    model = written(network, "fp32", tmp_path / "made", images[:0])
    answers = FORMAT.predict(model, images)
    check(compare(reference, answers), "fp32", "it")
    turned = np.ascontiguousarray(images.transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2)
    assert not turned[:1].flags.c_contiguous
    np.testing.assert_array_equal(FORMAT.predict(model, turned), answers)


@needs_it
def test_int8_of_the_digits_keeps_their_accuracy(
    network: nn.Module, digits: tuple[NDArray[np.float32], NDArray[np.int64]], tmp_path: Path
) -> None:
    images, labels = digits
    calibration = images[TEST : TEST + CALIBRATION]
    made = FORMAT.write_network(network, "int8", tmp_path, calibration, SCHEME)
    facts = made.facts["quantization"]
    assert facts["operators_quantized"] == {"conv2d": 3, "linear": 1}
    assert facts["operators_kept"] == []
    assert (facts["activation_type"], facts["calibration_images"]) == ("s8", CALIBRATION)
    assert "activation_type" in facts["not_applied"]
    with torch.no_grad():
        floats = network(torch.from_numpy(images[:TEST])).argmax(1).numpy()
    before = float((floats == labels[:TEST]).mean())
    answers = FORMAT.predict(tmp_path / made.model_file, images[:TEST]).argmax(1)
    after = float((answers == labels[:TEST]).mean())
    assert before > 0.9
    assert after > before - 0.02
    with pytest.raises(ExportError, match="keeps no single operators in floating point"):
        excluding = dataclasses.replace(SCHEME, excluded=("node_Conv_1",))
        FORMAT.write_network(network, "int8", tmp_path, calibration, excluding)


def test_of_an_onnx_file_it_is_refused_before_anything_is_made(
    source: ExportSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    graph = dataclasses.replace(source, model=tmp_path / "net.onnx")
    with pytest.raises(ExportError, match=r"executorch: is made of a network in PyTorch, but net"):
        check_requests(graph, [BundleRequest("local", "executorch", "fp32")])


def test_without_its_package_it_is_said_what_to_install_before_anything_is_made(
    source: ExportSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UsageError, match=r"needs executorch and torchao, .*install 'edge-compress\[executorch\]'"
    ):
        check_requests(source, [BundleRequest("local", "executorch", "fp32")])
