"""A toy classifier trained for real, and its exports, which take seconds and so are made once."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from export.bundling import make_bundles
from export.graphs.to_onnx import export_onnx
from export.original import export_fp32_onnx
from export.quantization import QuantizationScheme
from export.requests import BundleRequest, ExportSource, bundle_name
from foundation.bundle import Manifest, Preprocessing

CLASSES = ["top-left", "top-right", "bottom-left", "bottom-right"]
EVERY = [
    ("onnx", "fp32"),
    ("onnx", "int8"),
    ("openvino", "fp32"),
    ("openvino", "fp16"),
    ("openvino", "int8"),
]


class ToyNet(nn.Module):
    """Ordinary, depthwise and residual convolutions with batch-norm, and a linear head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 8, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
        )
        self.block = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6()
        )
        self.head = nn.Linear(8 * 4 * 4, len(CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.block(x)
        return self.head(F.adaptive_avg_pool2d(x, 4).flatten(1))


def draw(n: int, channels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise with one quarter brighter; the class says which."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(CLASSES), n)
    images = rng.integers(0, 160, (n, 32, 32, channels), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16] += 60
    return images, labels


def trained_source(channels: int) -> ExportSource:
    torch.manual_seed(0)
    preprocessing = Preprocessing(32, 32, channels, [0.4] * channels, [0.25] * channels)
    model = ToyNet(channels).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for step in range(30):
        images, labels = draw(32, channels, seed=100 + step)
        logits = model(torch.from_numpy(preprocessing.apply(images)))
        optimizer.zero_grad()
        F.cross_entropy(logits, torch.from_numpy(labels)).backward()
        optimizer.step()
    return ExportSource(
        model=model,
        role="student",
        preprocessing=preprocessing,
        classes=CLASSES,
        calibration=draw(50, channels, seed=1)[0],
        probe_images=draw(20, channels, seed=2)[0],
        evaluation=draw(150, channels, seed=3),
        origin={"recipe": "toy", "seed": 0},
    )


@pytest.fixture(scope="session")
def source() -> ExportSource:
    return trained_source(channels=3)


@pytest.fixture(scope="session")
def gray_source() -> ExportSource:
    return trained_source(channels=1)


@pytest.fixture(scope="session")
def onnx_file(source: ExportSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_fp32_onnx(source, path, opset=20)
    return path


@pytest.fixture(scope="session")
def calibration(source: ExportSource) -> np.ndarray:
    return source.preprocessing.apply(source.calibration)


@pytest.fixture(scope="session")
def bundles(
    source: ExportSource, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, Manifest]]:
    """Folder and manifest of every format in every precision, by "format-precision"."""
    root = tmp_path_factory.mktemp("bundles")
    scheme = QuantizationScheme(reduce_range=True)  # right on every processor
    requests = [BundleRequest("local", name, precision, scheme=scheme) for name, precision in EVERY]
    manifests = make_bundles(source, requests, root)
    return {
        f"{request.format}-{request.precision}": (root / bundle_name("student", request), manifest)
        for request, manifest in zip(requests, manifests, strict=True)
    }


@dataclass(frozen=True)
class Exported:
    """An FP32 ONNX file of a trained network, and prepared images with their labels."""

    file: Path
    calibration: np.ndarray
    images: np.ndarray
    labels: np.ndarray


def plain_chain() -> tuple[nn.Module, Exported]:
    """Three convolutions and a linear head in a row, trained; not yet exported."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 12, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(12 * 16, len(CLASSES)),
    )
    prepare = Preprocessing(32, 32, 3, [0.4] * 3, [0.25] * 3).apply
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(40):
        images, labels = draw(32, 3, seed=100 + step)
        loss = F.cross_entropy(model(torch.from_numpy(prepare(images))), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    images, labels = draw(200, 3, seed=3)
    data = Exported(Path(), prepare(draw(32, 3, seed=1)[0]), prepare(images), labels)
    return model, data


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Convolutions in a row that bear quantisation well."""
    model, data = plain_chain()
    file = tmp_path_factory.mktemp("chain") / "chain.onnx"
    export_onnx(model, torch.zeros(1, 3, 32, 32), file, opset=20)
    return dataclasses.replace(data, file=file)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The same function as `chain`, with a channel between the first two convolutions so large
    that one scale for all of them leaves the others less than a step."""
    model, data = plain_chain()
    with torch.no_grad():
        model[0].weight[0] *= 3000
        model[0].bias[0] *= 3000
        model[2].weight[:, 0] /= 3000
    file = tmp_path_factory.mktemp("hostile") / "hostile.onnx"
    export_onnx(model, torch.zeros(1, 3, 32, 32), file, opset=20)
    return dataclasses.replace(data, file=file)
