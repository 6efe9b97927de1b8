from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest
from onnx import numpy_helper

from export.checking.layers import _lasting_errors, first_divergence
from export.formats import FORMATS
from export.formats._graph import Graph
from export.graphs.embedding import embed_preprocessing
from export.quantization import QuantizationScheme
from foundation.bundle import Preprocessing
from foundation.files import write_json

EVERY = [
    (name, precision) for name in ("onnx", "openvino") for precision in FORMATS.get(name).precisions
]


def written(chain: Any, name: str, precision: str, folder: Path) -> Path:
    made = FORMATS.get(name)()
    scheme = QuantizationScheme()
    return folder / made.write(chain.file, precision, folder, chain.calibration, scheme).model_file


def middle_convolution(file: Path) -> str:
    return Graph(onnx.load(file)).main()[1]


def break_onnx(file: Path, operator: str) -> None:
    """Turn around the signs of a convolution's weights, quantised or behind a Cast or not."""
    model = onnx.load(file)
    made_by = {tensor: node for node in model.graph.node for tensor in node.output}
    weight = next(node for node in model.graph.node if node.name == operator).input[1]
    while weight in made_by:
        weight = made_by[weight].input[0]
    entry = next(entry for entry in model.graph.initializer if entry.name == weight)
    entry.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(entry), entry.name))
    onnx.save(model, file)


def break_openvino(file: Path, operator: str) -> None:
    """The same for OpenVINO."""
    model = openvino.Core().read_model(file)
    node = next(n for n in model.get_ops() if n.get_friendly_name() == f"{operator}/WithoutBiases")
    weights = node.input_value(1)
    turned = openvino.opset13.multiply(weights, np.float32(-1))
    node.input(1).replace_source_output(turned.output(0))
    broken = file.with_name("broken.xml")
    openvino.save_model(model, broken, compress_to_fp16=False)
    broken.with_suffix(".bin").replace(file.with_suffix(".bin"))
    broken.replace(file)


@pytest.mark.parametrize(("name", "precision"), EVERY)
def test_the_broken_convolution_is_named_and_a_sound_model_has_none(
    name: str, precision: str, chain: Any, tmp_path: Path
) -> None:
    file = written(chain, name, precision, tmp_path)
    sound = first_divergence(chain.file, file, name, chain.images)
    assert sound.first is None, sound.line
    assert sound.precision == precision
    assert "no operator parts" in sound.line
    assert len(sound.layers) >= 6

    operator = middle_convolution(chain.file)
    {"onnx": break_onnx, "openvino": break_openvino}[name](file, operator)
    report = first_divergence(chain.file, file, name, chain.images, precision)
    assert report.first is not None
    assert (report.first.operator, report.first.kind) == (operator, "Conv")
    assert report.first.relative_error > 0.5
    assert f"first part at Conv {operator!r}" in report.line
    assert "\n" not in report.line


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_a_model_that_prepares_its_images_is_compared_too(
    name: str, chain: Any, tmp_path: Path
) -> None:
    file = written(chain, name, "int8", tmp_path)
    operator = middle_convolution(chain.file)
    {"onnx": break_onnx, "openvino": break_openvino}[name](file, operator)
    shape = Preprocessing(32, 32, 3, [0.4] * 3, [0.25] * 3)
    embed_preprocessing(name, file, shape)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    report = first_divergence(
        chain.file, file, name, shape.apply(pixels), "int8", unprepared=pixels
    )
    assert len(report.layers) >= 6
    assert report.first is not None
    assert report.first.operator == operator


def test_when_time_runs_out_the_first_operators_were_compared(
    chain: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(chain, "onnx", "int8", tmp_path)
    break_onnx(file, middle_convolution(chain.file))
    whole = first_divergence(chain.file, file, "onnx", chain.images)
    monkeypatch.setattr("export.checking.layers._CHUNK_BYTES", 200_000)
    monkeypatch.setattr("export.checking.layers._SECONDS", 0.0)
    part = first_divergence(chain.file, file, "onnx", chain.images)
    assert part.layers == whole.layers[: len(part.layers)] != whole.layers
    assert part.line.endswith(f"up to {part.layers[-1].operator!r}")


def test_fewer_images_of_a_network_with_large_maps_are_compared(
    chain: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    reader = FORMATS.get("onnx")
    kept = reader.read_tensors

    def read(self: Any, file: Path, names: Any, images: Any) -> Any:
        seen.append(len(images))
        return kept(self, file, names, images)

    monkeypatch.setattr(reader, "read_tensors", read)
    file = written(chain, "onnx", "fp32", tmp_path)
    first_divergence(chain.file, file, "onnx", chain.images)
    monkeypatch.setattr("export.checking.layers._BYTES", 1)
    first_divergence(chain.file, file, "onnx", chain.images)
    assert seen == [4, 4, 1, 1]


def test_the_report_can_be_kept_as_evidence(chain: Any, tmp_path: Path) -> None:
    file = written(chain, "onnx", "int8", tmp_path)
    report = first_divergence(chain.file, file, "onnx", chain.images)
    write_json(tmp_path / "evidence.json", report.as_dict())
    kept = json.loads((tmp_path / "evidence.json").read_text())
    assert kept["line"] == report.line
    assert kept["layers"][0].keys() == {"operator", "kind", "tensor", "relative_error"}


def test_weights_that_are_not_numbers_are_found_and_can_be_written_down(
    chain: Any, tmp_path: Path
) -> None:
    file = written(chain, "onnx", "fp32", tmp_path)
    model = onnx.load(file)
    operator = middle_convolution(chain.file)
    bias = next(node for node in model.graph.node if node.name == operator).input[2]
    entry = next(entry for entry in model.graph.initializer if entry.name == bias)
    entry.CopyFrom(numpy_helper.from_array(np.full(12, np.nan, np.float32), bias))
    onnx.save(model, file)
    report = first_divergence(chain.file, file, "onnx", chain.images)
    assert report.first is not None
    assert report.first.operator == operator
    write_json(tmp_path / "evidence.json", report.as_dict())


def test_tensors_are_compared_a_few_at_a_time(
    chain: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(chain, "onnx", "int8", tmp_path)
    whole = first_divergence(chain.file, file, "onnx", chain.images)
    monkeypatch.setattr("export.checking.layers._CHUNK_BYTES", 40_000)
    parts = first_divergence(chain.file, file, "onnx", chain.images)
    assert [layer.tensor for layer in parts.layers] == [layer.tensor for layer in whole.layers]


def test_an_error_that_is_gone_in_what_follows_is_not_blamed(chain: Any) -> None:
    graph = Graph(onnx.load(chain.file))
    tensors = [tensor for operator in graph.operators.values() for tensor in operator.outputs]
    good = dict.fromkeys(tensors, 0.01)
    assert _lasting_errors(graph, good | {tensors[1]: 1.0}, 0.3) == set()
    unseen = {name: 1.0 for name in tensors[2:] if name != tensors[4]}
    assert _lasting_errors(graph, {tensors[0]: 0.01} | unseen, 0.3) == set(unseen)


def test_a_format_that_shows_no_tensors_says_so(chain: Any, tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    model = onnx.load(chain.file)
    for node in model.graph.node:
        node.output[:] = [f"{name}_" for name in node.output]
        node.input[:] = [n if n in _given(model) else f"{n}_" for n in node.input]
    model.graph.output[0].name += "_"
    del model.graph.value_info[:]
    onnx.save(model, other)
    report = first_divergence(chain.file, other, "onnx", chain.images)
    assert report.layers == []
    assert "no tensor" in report.line


def _given(model: onnx.ModelProto) -> set[str]:
    return {entry.name for entry in (*model.graph.initializer, *model.graph.input)}
