"""Networks as people have them, held against the file as it came: slow, so behind a marker."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from any_graphs import adopted
from torch import Tensor, nn

from export.graph_bundling import make_graph_bundles
from export.graph_requests import GraphSource
from export.requests import BundleRequest
from export.samples import GraphSamples
from foundation.errors import ExportError

pytestmark = pytest.mark.slow


def shown(count: int, size: int, seed: int) -> np.ndarray:
    """Pictures (count, 3, size, size) in large patches, so that there is something to tell."""
    draw = np.random.default_rng(seed)
    patches = draw.random((count, 3, size // 8, size // 8), np.float32)
    return 0.8 * patches.repeat(8, 2).repeat(8, 3) + 0.2 * draw.random(
        (count, 3, size, size), np.float32
    )


def lively(network: nn.Module, ask: Callable[[Tensor], object], size: int) -> nn.Module:
    """A network of random weights whose answers hang on what it is shown: its batch statistics are
    those of pictures."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    network.train()
    with torch.no_grad():
        for start in range(4):
            ask(torch.from_numpy(shown(4, size, start)))
    return network.eval()


def figures(source: GraphSource, root: Path, format_name: str, precision: str):
    request = BundleRequest("local", format_name, precision, opset=17)
    (manifest,) = make_graph_bundles(
        source, [request], root, lambda _: None, on_remark=lambda _: None
    )
    return {output["name"]: output for output in manifest.parity["outputs"]}


def with_pictures(source: GraphSource, size: int) -> GraphSource:
    """Its INT8 ranges are found on pictures too."""
    pictures = shown(16, size, 9)[:, None]
    calibration = GraphSamples({"images": pictures}, [str(number) for number in range(16)])
    return GraphSource(
        source.model, source.inputs, source.outputs, calibration, source.probe, source.reference
    )


class Segmenter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        from torchvision.models.segmentation import lraspp_mobilenet_v3_large  # noqa: PLC0415

        self.network = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=5)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.network(images)["out"]
        return scores, scores.argmax(1)


def test_a_segmenter_of_torchvision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Segmenter()
    lively(network, network, 96)
    torch.onnx.export(
        network, (torch.zeros(1, 3, 96, 96),), tmp_path / "seg.onnx", dynamo=False,
        input_names=["images"], output_names=["scores", "mask"], opset_version=17,
        dynamic_axes={"images": {0: "n", 2: "h", 3: "w"}},
    )  # fmt: skip
    pictures = shown(6, 96, 5)[:, None]
    source = with_pictures(
        adopted(tmp_path / "seg.onnx", {"images": [1, 3, 96, 96]}, tmp_path, probe=pictures), 96
    )
    assert [spec.shape for spec in source.outputs] == [[1, 5, 96, 96], [1, 96, 96]]
    for format_name in ("onnx", "openvino"):
        exact = figures(source, tmp_path, format_name, "fp32")
        assert exact["scores"]["relative_error"] < 1e-4
        assert exact["mask"]["equal"] > 0.999
        # Held by the exporter's own limit; what is above it says little of weights drawn at random,
        # whose ranges are such as no training leaves (6.6 to 17.6 dB were seen).
        int8 = figures(source, tmp_path, format_name, "int8")
        assert set(int8) == {"scores", "mask"}


class Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        from torchvision.models.detection import (  # noqa: PLC0415
            ssdlite320_mobilenet_v3_large as ssdlite,
        )

        self.network = ssdlite(
            weights=None, weights_backbone=None, num_classes=4, score_thresh=0.0,
            detections_per_img=20, topk_candidates=40,
        )  # fmt: skip
        for module in self.network.head.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                # Else all scores are alike, and which box comes first is chance.
                nn.init.normal_(module.weight, std=0.02)
                nn.init.normal_(module.bias, std=0.1)

    def heads(self, images: Tensor) -> object:
        return self.network.head(list(self.network.backbone(images).values()))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (found,) = self.network([images[0]])[0:1]
        return found["boxes"], found["scores"], found["labels"]


def test_a_detector_of_torchvision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Detector()
    lively(network, network.heads, 320)
    torch.onnx.export(
        network, (torch.zeros(1, 3, 320, 320),), tmp_path / "det.onnx", dynamo=False,
        input_names=["images"], output_names=["boxes", "confidences", "labels"], opset_version=17,
    )  # fmt: skip
    pictures = shown(4, 320, 5)[:, None]
    source = with_pictures(adopted(tmp_path / "det.onnx", {}, tmp_path, probe=pictures), 320)
    assert [len(spec.shape) for spec in source.outputs] == [2, 1, 1]
    for format_name in ("onnx", "openvino"):
        exact = figures(source, tmp_path, format_name, "fp32")
        assert exact["boxes"]["relative_error"] < 1e-4
        assert exact["labels"]["equal"] == 1.0
    # Which of two boxes as good as each other comes first, a rounding decides: without a scorer
    # INT8 may be refused, and is then kept with its figures.
    try:
        figures(source, tmp_path, "onnx", "int8")
    except ExportError as error:
        assert "--scorer" in str(error)
        assert (tmp_path / "failed/local-onnx-int8/parity.json").is_file()


def test_a_voice_detector_of_the_package_registry(tmp_path: Path) -> None:
    """Audio, its state and its rate go in; a probability and the next state come out."""
    spec = importlib.util.find_spec("silero_vad")
    if spec is None or spec.origin is None:
        pytest.skip("silero-vad is not installed here (pip install --no-deps silero-vad)")
    path = Path(spec.origin).parent / "data/silero_vad.onnx"
    draw = np.random.default_rng(0)
    probe = {
        "input": 0.1 * draw.standard_normal((6, 1, 576), np.float32),
        "state": 0.1 * draw.standard_normal((6, 2, 1, 128), np.float32),
        "sr": np.full(6, 16000, np.int64),
    }
    shapes = {"input": [1, 576], "state": [2, 1, 128]}
    source = adopted(path, shapes, tmp_path, probe=probe)
    for precision in ("fp32", "fp16"):
        exact = figures(source, tmp_path, "onnx", precision)
        assert max(output["relative_error"] for output in exact.values()) < 1e-4
