"""INT8 bundles of a network that was trained with integers."""

from __future__ import annotations

import copy
import json
import tempfile
from collections import Counter
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, fx, nn

from export.bundling import make_bundles
from export.checking.reference import torch_predictor
from export.formats import FORMATS, Written
from export.learnt_quantization import LearntQuantization, takes_learnt, write_learnt
from export.quantization import QuantizationScheme
from export.requests import BundleRequest, ExportSource
from foundation.bundle import Preprocessing
from foundation.errors import ExportError
from smskd.quantization.integers import IntegerWeights, in_integers
from smskd.quantization.quantizing import fake_quantized

SHAPE = Preprocessing(channels=3, height=16, width=16, mean=[0.5] * 3, std=[0.25] * 3)


class Residual(nn.Module):
    """Batch norm, a strided block beside a shortcut, a ReLU6, a pool and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8))
        self.deep = nn.Sequential(
            nn.Conv2d(8, 8, 3, 2, 1, groups=8), nn.BatchNorm2d(8), nn.ReLU6(),
            nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16),
        )  # fmt: skip
        self.shortcut = nn.Conv2d(8, 16, 1, 2)
        self.head = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images).relu()
        return self.head((self.deep(x) + self.shortcut(x)).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def learnt(images: Tensor) -> fx.GraphModule:
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = Residual()
        model(images)
        quantized = fake_quantized(model, images).train()
        quantized(images)
    return quantized.eval()


def written(
    learnt: fx.GraphModule, name: str, folder: Path, kind: Any = "u8", opset: int = 20
) -> Written:
    made, files = written_once(learnt, name, kind, opset)
    for file, content in files.items():
        (folder / file).write_bytes(content)
    return made


@cache
def written_once(
    learnt: fx.GraphModule, name: str, kind: Any, opset: int
) -> tuple[Written, dict[str, bytes]]:
    """What is written, and the files of it: several tests look at the same."""
    network, export_format = in_integers(learnt, kind), FORMATS.get(name)()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        made = write_learnt(
            network, SHAPE, export_format, folder, activation_type=kind, opset=opset
        )
        return made, {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", ["u8", "s8"])
@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_a_runtime_says_what_the_trained_network_says(
    learnt: fx.GraphModule, images: Tensor, tmp_path: Path, name: str, kind: str
) -> None:
    made = written(learnt, name, tmp_path, kind)
    outputs = FORMATS.get(name)().predict(tmp_path / made.model_file, images.numpy())
    with torch.no_grad():
        expected = learnt(images).numpy()
    step = np.abs(expected).max() / 100
    assert np.abs(outputs - expected).max() < 2 * step
    assert (outputs.argmax(1) == expected.argmax(1)).mean() > 0.96
    assert made.facts["quantization"]["activation_type"] == kind
    assert made.facts["quantization"]["operators_quantized"]["Conv"] == 4


def test_onnx_runtime_computes_convolutions_and_sums_in_integers(
    learnt: fx.GraphModule, images: Tensor, tmp_path: Path
) -> None:
    made = written(learnt, "onnx", tmp_path)
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    session = onnxruntime.InferenceSession(
        tmp_path / made.model_file, options, providers=["CPUExecutionProvider"]
    )
    session.run(None, {made.input_name: images.numpy()})
    events = json.loads(Path(session.end_profiling()).read_text())
    ran = Counter(e["args"]["op_name"] for e in events if e["name"].endswith("_kernel_time"))
    assert (ran["QLinearConv"], ran["QLinearAdd"], ran["QGemm"]) == (4, 1, 1)
    assert not ran["Conv"]


def test_openvino_computes_convolutions_in_integers(learnt: fx.GraphModule, tmp_path: Path) -> None:
    import openvino  # noqa: PLC0415

    made = written(learnt, "openvino", tmp_path)
    compiled = openvino.Core().compile_model(tmp_path / made.model_file, "CPU")
    facts = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    ran = [
        fact["runtimePrecision"].astype(str)
        for fact in facts
        if fact["layerType"].astype(str) == "Convolution"
    ]
    assert ran == ["u8"] * 4
    assert (tmp_path / "model.bin").stat().st_size < 2 * sum(
        one.numel() for one in learnt.parameters()
    )


def test_weights_lie_in_the_file_as_bytes_and_biases_as_whole_numbers(
    learnt: fx.GraphModule, tmp_path: Path
) -> None:
    made = written(learnt, "onnx", tmp_path)
    graph = onnx.load(tmp_path / made.model_file).graph
    types = Counter(onnx.TensorProto.DataType.Name(one.data_type) for one in graph.initializer)
    assert types["INT8"] >= 5
    assert types["INT32"] >= 5
    floats = [one for one in graph.initializer if one.data_type == onnx.TensorProto.FLOAT]
    assert max(np.prod(one.dims) for one in floats) <= 16


@pytest.mark.parametrize("opset", [18, 21])
def test_an_older_and_a_newer_opset_take_it(
    learnt: fx.GraphModule, tmp_path: Path, opset: int
) -> None:
    made = written(learnt, "onnx", tmp_path, opset=opset)
    assert made.facts["opsets"]["ai.onnx"] == opset


def test_an_int8_bundle_is_made_of_them_and_a_float_one_is_not(
    learnt: fx.GraphModule, tmp_path: Path
) -> None:
    numbers = np.random.default_rng(0)
    pixels = numbers.integers(0, 256, (32, 16, 16, 3), np.uint8)
    student = Residual().eval()
    source = ExportSource(
        model=student,
        role="student",
        preprocessing=SHAPE,
        classes=[str(number) for number in range(10)],
        calibration=pixels[:0],
        probe_images=pixels,
        origin={"weights_sha256": "of the student", "run": "run"},
        learnt=LearntQuantization(
            partial(in_integers, learnt), {"weights_sha256": "of the last stage"}
        ),
    )
    seven_bits = QuantizationScheme(reduce_range=True)
    integers, floats = make_bundles(
        source,
        [BundleRequest("local", "onnx", precision) for precision in ("int8", "fp32")],
        tmp_path,
    )
    assert integers.format_facts["quantization"]["method"] == "learnt"
    assert integers.parity["top1_agreement"] > 0.96
    assert integers.origin == {"weights_sha256": "of the last stage", "run": "run"}
    assert "quantization" not in floats.format_facts
    assert floats.origin == source.origin
    for manifest, model in ((integers, in_integers(learnt)), (floats, student)):
        probe = np.load(tmp_path / manifest.name / "probe.npz")
        expected = torch_predictor(model)(SHAPE.apply(pixels))
        np.testing.assert_allclose(probe["logits"], expected, rtol=1e-5)
    with pytest.raises(ExportError, match="needs calibration images"):
        make_bundles(source, [BundleRequest("old", "onnx", "int8", seven_bits)], tmp_path)


def test_a_network_without_integers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="exports without integers"):
        write_learnt(
            Residual(), SHAPE, FORMATS.get("onnx")(), tmp_path, activation_type="u8", opset=20
        )


def test_only_what_the_training_saw_is_made_of_learnt_integers() -> None:
    scheme = QuantizationScheme()
    assert takes_learnt("int8", scheme)
    assert takes_learnt("int8", replace(scheme, activation_type="s8", calibration="entropy"))
    assert not takes_learnt("fp32", scheme)
    for change in (
        {"reduce_range": True},
        {"per_channel": False},
        {"weight_type": "u8"},
        {"method": "dynamic"},
        {"excluded": ("conv",)},
    ):
        assert not takes_learnt("int8", replace(scheme, **change)), change


def nearly_dead(learnt: fx.GraphModule) -> fx.GraphModule:
    """With weights of one channel so small that its step is at its floor, and a bias of its own."""
    dead = copy.deepcopy(learnt)
    with torch.no_grad():
        dead.get_parameter("shortcut.weight")[3] = 1e-12
        dead.get_parameter("shortcut.bias")[3] = 0.6
    return dead


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_a_bias_of_a_nearly_dead_channel_fits_its_integer(
    learnt: fx.GraphModule, images: Tensor, tmp_path: Path, name: str
) -> None:
    dead = nearly_dead(learnt)
    integers = in_integers(dead)
    layers = [one for one in integers.modules() if isinstance(one, IntegerWeights)]
    biases = [one()[1] for one in layers if one.bias is not None]
    assert any(torch.isclose(bias[3], torch.tensor(0.6), rtol=1e-4) for bias in biases)
    made = written(dead, name, tmp_path)
    outputs = FORMATS.get(name)().predict(tmp_path / made.model_file, images.numpy())
    with torch.no_grad():
        expected = dead(images).numpy()
    assert np.abs(outputs - expected).max() < np.abs(expected).max() / 20  # one whole bias: 2 times


def test_a_bias_fits_where_the_input_is_nearly_dead() -> None:
    weight, bias = torch.tensor([[0.5, -1.0]]), torch.tensor([0.6])
    for step in (1e-8, 1e-3, 6 / 255):
        held = IntegerWeights(weight * 1e-9, bias, torch.tensor(step))()
        assert held[1] is not None
        assert held[1].item() == pytest.approx(0.6, rel=1e-4)
    usual = IntegerWeights(weight, bias, torch.tensor(6 / 255))
    assert usual.weight_scale.item() == pytest.approx(1 / 127)  # no wider than it has to be


def test_integers_that_are_not_the_student_are_refused(
    learnt: fx.GraphModule, tmp_path: Path
) -> None:
    """Integers are their own reference: only the network in floating point tells."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3), np.uint8)
    student = Residual().eval()
    source = ExportSource(
        model=student,
        role="student",
        preprocessing=SHAPE,
        classes=[str(number) for number in range(10)],
        calibration=pixels[:0],
        probe_images=pixels,
        learnt=LearntQuantization(partial(in_integers, learnt), {}, lambda: student),
    )
    with pytest.raises(ExportError, match="its integers are not the student that was trained: int"):
        make_bundles(source, [BundleRequest("local", "onnx", "int8")], tmp_path)
    assert (tmp_path / "failed" / "local-onnx-int8" / "parity.json").is_file()
    own = partial(copy.deepcopy, learnt)  # rounded as it was trained, but nothing an integer
    source = replace(source, learnt=LearntQuantization(partial(in_integers, learnt), {}, own))
    (made,) = make_bundles(source, [BundleRequest("local", "onnx", "int8")], tmp_path)
    assert made.parity["float_student"]["signal_to_noise_db"] > 8
