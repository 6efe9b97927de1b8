"""Every network of the matrix in both formats, in FP32 and INT8, each held to its tolerance.

`make test-export` runs it and ends with the table of docs/export.md. No weights are downloaded:
the networks learn real images for a minute, so that their batch norms have real statistics, and
their answers margins that rounding can be judged by.
"""

from __future__ import annotations

import io
import math
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional as F

from deploy_targets.targets import load_target
from export.bundling import make_bundles
from export.formats._graph import MAIN
from export.original import export_fp32_onnx
from export.requests import ExportSource
from foundation.bundle import Preprocessing, open_bundle
from pipeline.commands.bundle import verify
from pipeline.exporting.export import requests_for
from pipeline.models import build_model
from pipeline.recipe.sections.export import ExportRecipe

pytestmark = pytest.mark.matrix

ARCHIVE = Path(__file__).parents[3] / "shared/data/cifar10-images.tar.xz"
CLASSES = 10
PHOTOS_A_CLASS = 32
CALIBRATION = PROBE = 64  # or half of the images, where there are fewer
BATCH, STEPS = 32, 80
FORMATS = ("onnx", "openvino")
COLUMNS = (
    "| model | input | format | precision | relative error | SQNR, dB | same top-1 | INT8 | MB |",
    "| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
)


@dataclass(frozen=True)
class Case:
    """A network, the size of its images, and how it learns them.

    Attributes:
        trained: all of it; otherwise the last layer alone, by least squares.
        images: that it learns.
    """

    model: str
    size: int = 64
    trained: bool = True
    images: int = CLASSES * PHOTOS_A_CLASS


CASES = [
    Case("resnet20", size=32),
    Case("torchvision/resnet18"),
    Case("torchvision/mobilenet_v2"),
    Case("torchvision/mobilenet_v3_small"),
    Case("torchvision/efficientnet_b0"),
    # Seven tenths of a second an image: all of it is not trained here.
    Case("torchvision/vit_b_16", size=224, trained=False, images=48),
    Case("timm/mobilenetv3_small_050"),
    Case("timm/edgenext_xx_small"),
]


@pytest.fixture(scope="module")
def photos() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Real images, uint8 (N, 32, 32, 3), shuffled, with labels: CIFAR-10's, or else the digits."""
    images, labels = _cifar() if ARCHIVE.is_file() else _digits()
    order = np.random.default_rng(0).permutation(len(labels))
    return images[order], labels[order]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.model)
def case(request: pytest.FixtureRequest) -> Case:
    asked: Case = request.param
    if asked.model.startswith("timm/"):
        pytest.importorskip("timm", reason="timm is not installed (extra `timm`)")
    return asked


@pytest.fixture(scope="module")
def source(case: Case, photos: tuple[NDArray[np.uint8], NDArray[np.int64]]) -> ExportSource:
    """The network, having learned its images; it is asked about those that it knows."""
    shape = Preprocessing(case.size, case.size, 3, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    images, labels = _resized(photos[0][: case.images], case.size), photos[1][: case.images]
    torch.manual_seed(0)
    network = build_model(case.model, CLASSES, shape.channels)
    half = len(images) // 2
    learn = _train if case.trained else _fit_head
    learn(network, torch.from_numpy(shape.apply(images)), torch.from_numpy(labels))
    return ExportSource(
        model=network,
        role="student",
        preprocessing=shape,
        classes=[str(label) for label in range(CLASSES)],
        calibration=images[-min(CALIBRATION, half) :],
        probe_images=images[: min(PROBE, half)],
    )


@pytest.fixture(scope="module")
def multiply_adds(source: ExportSource, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Of each convolution and product, for one image."""
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    export_fp32_onnx(source, path, 20)
    graph = onnx.load(path).graph
    sizes = {
        value.name: [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output)
    } | {entry.name: list(entry.dims) for entry in graph.initializer}

    def count(node: onnx.NodeProto) -> int:
        summed = sizes[node.input[1]][1:] if node.op_type == "Conv" else sizes[node.input[0]][-1:]
        return math.prod(sizes[node.output[0]]) * math.prod(summed)

    return {node.name: count(node) for node in graph.node if node.op_type in MAIN}


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Takes rows; when all is done, the terminal shows them."""
    rows: list[str] = []
    yield rows
    plugins = request.config.pluginmanager
    with plugins.get_plugin("capturemanager").global_and_fixture_disabled():
        plugins.get_plugin("terminalreporter").write("\n".join(["", *COLUMNS, *sorted(rows), ""]))


@pytest.mark.parametrize("export_format", FORMATS)
def test_a_network_says_the_same_in_fp32_and_int8(
    *,
    case: Case,
    source: ExportSource,
    multiply_adds: dict[str, int],
    export_format: str,
    tmp_path: Path,
    table: list[str],
) -> None:
    asked = ExportRecipe(formats=[export_format], precisions=["fp32", "int8"])
    manifests = make_bundles(source, requests_for(load_target("local"), asked), tmp_path)
    bundles = [open_bundle(tmp_path / manifest.name) for manifest in manifests]
    facts = bundles[1].manifest.format_facts["quantization"]
    floating = sum(multiply_adds[name] for name in facts["operators_kept"])
    rounded = 1 - floating / sum(multiply_adds.values())
    for bundle, share in zip(bundles, ("", f"{rounded:.1%}"), strict=True):
        parity, precision = bundle.manifest.parity, bundle.manifest.precision
        table.append(
            f"| {case.model} | {case.size}×{case.size} | {export_format} | {precision} "
            f"| {parity['relative_error']:.1e} | {parity['signal_to_noise_db']:.1f} "
            f"| {parity['top1_agreement']:.1%} | {share} | {bundle.model_bytes / 1e6:.2f} |"
        )
    fp32, int8 = (bundle.manifest.parity for bundle in bundles)
    assert fp32["relative_error"] <= 1e-4
    assert int8["top1_agreement"] >= 0.8
    assert int8["signal_to_noise_db"] >= 6
    # It knows what it was asked: an agreement on ties would be chance.
    best = np.sort(bundles[0].probe()[1], axis=1)
    assert np.median(best[:, -1] - best[:, -2]) > 0.1 * best.std()
    # INT8 is INT8: nearly all multiply-adds are of integers, and the weights are small. NNCF keeps
    # squeeze-and-excitation in floating point: two of five convolutions of EfficientNet, on maps
    # of one pixel.
    assert rounded >= 0.95
    assert bundles[1].model_bytes < 0.5 * bundles[0].model_bytes
    for bundle in bundles:  # its own runtime, by what the manifest alone says
        assert verify(bundle.folder)[1] is None


def _train(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Train briefly, measure the batch norms' statistics over all images, and train on with those.

    Without the last part a few images, which the statistics do not suit, have logits so large
    that nothing else would count.
    """
    for name, parameter in network.named_parameters():
        if name.rpartition(".")[2].startswith("gamma"):  # 1e-6 in a fresh network: not there yet
            nn.init.ones_(parameter)
    network.train()
    _descend(network, images, labels, STEPS, rate=3e-3)
    network.eval()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
        norm.train()
    with torch.no_grad():
        for batch in images.split(BATCH):
            network(batch)
    network.eval()
    _descend(network, images, labels, STEPS, rate=1e-3)


def _descend(
    network: nn.Module, images: torch.Tensor, labels: torch.Tensor, steps: int, rate: float
) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for _ in range(steps):
        chosen = torch.randperm(len(images))[:BATCH]
        loss = F.cross_entropy(network(images[chosen]), labels[chosen], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def _fit_head(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Set the last layer by ridge regression on what the rest, as it was drawn, makes of them."""
    network.eval()
    head = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    seen: list[torch.Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].double()))
    with torch.no_grad():
        for batch in images.split(8):
            network(batch)
        hook.remove()
        features = torch.cat(seen)
        mean = features.mean(0)
        centred = features - mean
        gram = centred @ centred.T
        ridge = 0.1 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        wanted = F.one_hot(labels, CLASSES).double() - 1 / CLASSES
        weight = 10 * (centred.T @ torch.linalg.solve(gram + ridge, wanted)).T
        head.weight.copy_(weight)
        head.bias.copy_(-weight @ mean)


def _cifar() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    images, labels = [], []
    taken: Counter[str] = Counter()
    with tarfile.open(ARCHIVE, "r|xz") as archive:
        for member in archive:
            split, *rest = Path(member.name).parts
            if split != "test" or len(rest) != 2 or taken[rest[0]] == PHOTOS_A_CLASS:
                continue
            taken[rest[0]] += 1
            content = archive.extractfile(member)
            assert content is not None
            images.append(np.asarray(Image.open(io.BytesIO(content.read())).convert("RGB")))
            labels.append(list(taken).index(rest[0]))
            if taken.total() == CLASSES * PHOTOS_A_CLASS:
                break
    return np.stack(images), np.array(labels)


def _digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    from sklearn.datasets import load_digits  # noqa: PLC0415

    digits = load_digits()
    grey = (digits.images[: CLASSES * PHOTOS_A_CLASS] * (255 / 16)).astype(np.uint8)
    return _resized(np.repeat(grey[..., None], 3, axis=3), 32), digits.target[: len(grey)]


def _resized(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    resized = [Image.fromarray(image).resize((size, size)) for image in images]
    return np.stack([np.asarray(image) for image in resized])
