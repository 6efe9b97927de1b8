"""Tiny real bundles: a convolution, a mean and a linear layer, in each format."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from foundation.bundle import (
    Manifest,
    Preprocessing,
    RuntimeRange,
    TensorSpec,
    checksums,
    read_manifest,
    write_manifest,
)

SIZE, CLASSES, PROBES = 8, 3, 5
PREPROCESSING = Preprocessing(SIZE, SIZE, 3, mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.4])


def images(count: int = PROBES, seed: int = 1) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def toy_model(batch: str | int = "batch", repeats: int = 0) -> onnx.ModelProto:
    """The model; `repeats` adds as many convolutions of four channels to its one of three."""
    rng = np.random.default_rng(0)
    weights = {
        "kernel": rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "matrix": rng.standard_normal((4, CLASSES)).astype(np.float32),
        "bias": rng.standard_normal(CLASSES).astype(np.float32),
    }
    more = []
    for i in range(repeats):
        weights[f"kernel{i}"] = rng.standard_normal((4, 4, 3, 3)).astype(np.float32) / 6
        before = f"more{i - 1}" if i else "conv"
        more.append(helper.make_node("Conv", [before, f"kernel{i}"], [f"more{i}"], pads=[1] * 4))
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "kernel"], ["conv"], pads=[1] * 4),
            *more,
            helper.make_node("Relu", [more[-1].output[0] if more else "conv"], ["relu"]),
            helper.make_node("GlobalAveragePool", ["relu"], ["pool"]),
            helper.make_node("Flatten", ["pool"], ["flat"]),
            helper.make_node("Gemm", ["flat", "matrix", "bias"], ["logits"]),
        ],
        "toy",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def embedded_toy_model() -> onnx.ModelProto:
    """The model with its preprocessing inside: it takes uint8 NHWC."""
    model = toy_model()
    graph = model.graph
    constants = {
        "full": np.float32(255).reshape(1),
        "mean": np.array(PREPROCESSING.mean, np.float32),
        "std": np.array(PREPROCESSING.std, np.float32),
    }
    steps = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["floats", "full"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["normal"]),
        helper.make_node("Transpose", ["normal"], ["image"], perm=[0, 3, 1, 2]),
    ]
    nodes = [*steps, *graph.node]
    del graph.node[:], graph.input[:]
    graph.node.extend(nodes)
    shape = ["batch", SIZE, SIZE, 3]
    graph.input.append(helper.make_tensor_value_info("pixels", TensorProto.UINT8, shape))
    graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
    onnx.checker.check_model(model, full_check=True)
    return model


def reference_logits(
    raw: NDArray[np.uint8], model: onnx.ModelProto | None = None
) -> NDArray[np.float32]:
    """What the FP32 model gives, worked out by onnx's own reference and no runtime."""
    prepared = {"image": PREPROCESSING.apply(raw)}
    return ReferenceEvaluator(model or toy_model()).run(None, prepared)[0]


def seal(
    folder: Path,
    export_format: str,
    model_file: str,
    precision: str = "fp32",
    *,
    batch: str | int = "batch",
    embedded: bool = False,
    model: onnx.ModelProto | None = None,
    min_version: str = "1.0",
) -> Path:
    """Make a bundle of a folder that holds a model; `model` gives the reference logits."""
    np.savez(folder / "probe.npz", images=images(), logits=reference_logits(images(), model))
    image = TensorSpec("image", "float32", "NCHW", [batch, 3, SIZE, SIZE])
    pixels = TensorSpec("pixels", "uint8", "NHWC", [batch, SIZE, SIZE, 3])
    manifest = Manifest(
        name=f"toy-{export_format}-{precision}",
        role="student",
        target="local",
        format=export_format,
        precision=precision,
        model_file=model_file,
        input=pixels if embedded else image,
        output=TensorSpec("logits", "float32", "NC", [batch, CLASSES]),
        preprocessing=replace(PREPROCESSING, embedded=embedded),
        classes=["cat", "dog", "eel"],
        files=checksums(folder),
        opset=20,
        runtime=RuntimeRange(
            {"onnx": "onnxruntime", "openvino": "openvino"}[export_format], min_version
        ),
    )
    write_manifest(folder, manifest)
    return folder


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        self._batches = iter([{"image": PREPROCESSING.apply(images(32, seed=2))}])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._batches, None)


@pytest.fixture(scope="session")
def onnx_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx-fp32")
    onnx.save(toy_model(), folder / "model.onnx")
    return seal(folder, "onnx", "model.onnx")


@pytest.fixture(scope="session")
def int8_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx-int8")
    quantize_static(
        toy_model(),
        folder / "model.onnx",
        _Reader(),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return seal(folder, "onnx", "model.onnx", "int8")


@pytest.fixture(scope="session")
def fixed_batch_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx-fixed")
    onnx.save(toy_model(batch=1), folder / "model.onnx")
    return seal(folder, "onnx", "model.onnx", batch=1)


@pytest.fixture(scope="session")
def embedded_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx-embedded")
    onnx.save(embedded_toy_model(), folder / "model.onnx")
    return seal(folder, "onnx", "model.onnx", embedded=True)


@pytest.fixture(scope="session")
def slow_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Like `onnx_bundle`, with several times its work."""
    folder = tmp_path_factory.mktemp("onnx-slow")
    model = toy_model(repeats=40)
    onnx.save(model, folder / "model.onnx")
    return seal(folder, "onnx", "model.onnx", model=model)


@pytest.fixture(scope="session")
def overflowing_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its logits hang on what a processor makes of a float that no integer holds: the least
    integer on x86, the greatest one on ARM."""
    folder = tmp_path_factory.mktemp("onnx-overflowing")
    model = toy_model()
    graph = model.graph
    graph.node[-1].output[0] = "plain"
    graph.node.extend(
        [
            helper.make_node("Abs", ["plain"], ["size"]),
            helper.make_node("Add", ["size", "beyond"], ["wide"]),
            helper.make_node("Cast", ["wide"], ["integer"], to=TensorProto.INT32),
            helper.make_node("Cast", ["integer"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["float", "beyond"], ["sign"]),
            helper.make_node("Add", ["plain", "sign"], ["logits"]),
        ]
    )
    graph.initializer.append(numpy_helper.from_array(np.float32(2.0**32), "beyond"))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, folder / "model.onnx")
    return seal(folder, "onnx", "model.onnx", model=model)


def _converted(onnx_file: Path, folder: Path, precision: str, *, embedded: bool = False) -> Path:
    openvino.save_model(
        openvino.convert_model(onnx_file),
        folder / "model.xml",
        compress_to_fp16=precision == "fp16",
    )
    return seal(folder, "openvino", "model.xml", precision, embedded=embedded)


@pytest.fixture(scope="session")
def openvino_bundle(onnx_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _converted(onnx_bundle / "model.onnx", tmp_path_factory.mktemp("openvino-fp32"), "fp32")


@pytest.fixture(scope="session")
def openvino_fp16_bundle(onnx_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _converted(onnx_bundle / "model.onnx", tmp_path_factory.mktemp("openvino-fp16"), "fp16")


@pytest.fixture(scope="session")
def openvino_bf16_bundle(onnx_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _converted(onnx_bundle / "model.onnx", tmp_path_factory.mktemp("openvino-bf16"), "bf16")


@pytest.fixture(scope="session")
def openvino_embedded_bundle(
    embedded_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("openvino-embedded")
    return _converted(embedded_bundle / "model.onnx", folder, "fp32", embedded=True)


@pytest.fixture(scope="session")
def openvino_int8_bundle(int8_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _converted(int8_bundle / "model.onnx", tmp_path_factory.mktemp("openvino-int8"), "int8")


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """A bundle of one's own, to spoil."""
    return lambda bundle: Path(shutil.copytree(bundle, tmp_path / "copy"))


@pytest.fixture
def reseal(
    copy_of: Callable[[Path], Path],
) -> Callable[[Path, str, Callable[[bytes], bytes]], Path]:
    """A bundle of one's own with a file changed and the checksums right again."""

    def change(bundle: Path, name: str, edit: Callable[[bytes], bytes]) -> Path:
        folder = copy_of(bundle)
        before = (folder / name).read_bytes()
        assert edit(before) != before
        (folder / name).write_bytes(edit(before))
        write_manifest(folder, replace(read_manifest(folder), files=checksums(folder)))
        return folder

    return change


@pytest.fixture
def shadowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Put code in the place of a library, in the processes that are started from here."""
    folder = tmp_path / "shadow"
    folder.mkdir()

    def shadow(library: str, code: str) -> None:
        (folder / f"{library}.py").write_text(code)
        path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))

    yield shadow
