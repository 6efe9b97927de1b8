from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest

from export.bundling import make_bundles
from export.checking.reference import torch_predictor
from export.formats import FORMATS
from export.graphs.embedding import embed_preprocessing
from export.quantization import QuantizationScheme
from export.requests import BundleRequest, ExportSource
from foundation.bundle import Manifest, TensorSpec, open_bundle
from foundation.errors import ExportError

Bundles = dict[str, tuple[Path, Manifest]]
EVERY = [
    "onnx-fp32", "onnx-fp16", "onnx-int8",
    "openvino-fp32", "openvino-fp16", "openvino-bf16", "openvino-int8",
]  # fmt: skip


@pytest.fixture(scope="module")
def embedded(source: ExportSource, tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """Every kind, of channels that differ, so that one taken for another would be seen."""
    root = tmp_path_factory.mktemp("embedded")
    scheme = QuantizationScheme(reduce_range=True)  # right on every processor
    requests = [
        BundleRequest("local", *kind.split("-"), scheme=scheme, embedding="normalise")
        for kind in EVERY
    ]
    manifests = make_bundles(uneven(source), requests, root)
    return {
        kind: (root / manifest.name, manifest)
        for kind, manifest in zip(EVERY, manifests, strict=True)
    }


def uneven(source: ExportSource) -> ExportSource:
    shape = dataclasses.replace(source.preprocessing, mean=[0.3, 0.4, 0.5], std=[0.2, 0.25, 0.3])
    return dataclasses.replace(source, preprocessing=shape)


@pytest.mark.parametrize("kind", EVERY)
def test_the_graph_takes_bytes_and_gives_the_originals_logits(
    kind: str, embedded: Bundles, source: ExportSource
) -> None:
    folder, manifest = embedded[kind]
    bundle = open_bundle(folder)
    assert manifest.input == TensorSpec("images", "uint8", "NHWC", ["batch", 32, 32, 3])
    assert manifest.preprocessing.embedded
    images = source.probe_images
    assert bundle.prepare(images).dtype == np.uint8
    expected = torch_predictor(source.model)(uneven(source).preprocessing.apply(images))
    np.testing.assert_array_equal(bundle.probe()[1], expected)
    predict = FORMATS.get(manifest.format)().load(bundle.model_path)
    largest = np.abs(expected).max()
    allowed = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 1e-2, "int8": 0.05}[manifest.precision]
    for part in (images[:1], images[1:8]):
        logits = predict(bundle.prepare(part))
        start = 0 if len(part) == 1 else 1
        assert np.abs(logits - expected[start : start + len(part)]).max() <= allowed * largest
    assert manifest.accuracy["top1"] > 0.8


def operators(model_file: Path) -> Counter[str]:
    """What ONNX Runtime makes of a graph."""
    options = onnxruntime.SessionOptions()
    optimised = model_file.with_name("optimised.onnx")
    options.optimized_model_filepath = str(optimised)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model_file, options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(optimised).graph.node)
    optimised.unlink()
    return kinds


def test_onnx_runtime_fuses_the_integer_operators_as_it_does_without(
    embedded: Bundles, bundles: Bundles
) -> None:
    without = operators(bundles["onnx-int8"][0] / "model.onnx")
    found = operators(embedded["onnx-int8"][0] / "model.onnx")
    assert without["QLinearConv"] + without["QGemm"] >= 3
    # Turning the image may even spare a turn that a blocked layout would have asked for.
    prelude = {"Transpose", "Cast", "Mul", "Add"}
    for kind in (set(without) | set(found)) - prelude:
        assert found[kind] == without[kind], kind
    assert sum(found.values()) - sum(without.values()) <= len(prelude)


def test_openvino_runs_the_same_operators_in_eight_bits(
    embedded: Bundles, bundles: Bundles
) -> None:
    def precisions(folder: Path) -> Counter[str]:
        compiled = openvino.Core().compile_model(
            folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        facts = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
        return Counter(
            fact["runtimePrecision"].astype(str)
            for fact in facts
            if fact["layerType"].astype(str) in {"Convolution", "FullyConnected"}
        )

    expected = precisions(bundles["openvino-int8"][0])
    assert sum(count for name, count in expected.items() if name.lower() in ("u8", "i8")) >= 2
    assert precisions(embedded["openvino-int8"][0]) == expected


def test_half_weights_stay_half(embedded: Bundles, bundles: Bundles) -> None:
    sizes = {
        which: (made["openvino-fp16"][0] / "model.bin").stat().st_size
        for which, made in (("embedded", embedded), ("plain", bundles))
    }
    assert sizes["plain"] <= sizes["embedded"] <= sizes["plain"] + 200


def test_the_onnx_file_itself_says_that_it_is_embedded(embedded: Bundles) -> None:
    model = onnx.load(embedded["onnx-fp32"][0] / "model.onnx")
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert '"embedded": true' in told["preprocessing"]
    assert {"classes", "origin"} <= set(told)
    onnx.checker.check_model(model, full_check=True)


def test_a_name_that_is_taken_is_not_taken_again(
    onnx_file: Path, source: ExportSource, tmp_path: Path
) -> None:
    model = onnx.load(onnx_file)
    for node in model.graph.node:
        node.input[:] = ["images" if name == "input" else name for name in node.input]
    model.graph.input[0].name = "images"
    onnx.save(model, tmp_path / "m.onnx")
    name = embed_preprocessing("onnx", tmp_path / "m.onnx", source.preprocessing)
    (entry,) = onnx.load(tmp_path / "m.onnx").graph.input
    assert entry.name == name != "images"
    logits = FORMATS.get("onnx")().predict(tmp_path / "m.onnx", source.probe_images)
    expected = FORMATS.get("onnx")().predict(
        onnx_file, source.preprocessing.apply(source.probe_images)
    )
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())


def test_a_format_without_a_way_is_refused_before_anything_is_made(
    source: ExportSource, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="cannot be embedded in format 'tflite', only in onnx"):
        embed_preprocessing("tflite", tmp_path / "m", source.preprocessing)
