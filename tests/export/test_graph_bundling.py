"""Graphs that are no classifiers, made into bundles and held against the file as it came."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
from any_graphs import (
    SHAPES,
    adopted,
    detector,
    drawn,
    recurrent_in_branches,
    two_inputs,
)

from export.checking.outputs import accuracy_facts
from export.graph_bundling import make_graph_bundles
from export.graph_requests import GraphSource, Scoring
from export.graphs.any_graph import inputs_of
from export.graphs.postprocessing import floating_operators
from export.requests import BundleRequest
from foundation.bundle import open_any_bundle
from foundation.errors import ExportError, UnknownNameError, UsageError


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> GraphSource:
    folder = tmp_path_factory.mktemp("two")
    return adopted(two_inputs(folder / "two.onnx"), SHAPES, folder)


def made(source: GraphSource, root: Path, format_name: str, precision: str, **more):
    request = BundleRequest("local", format_name, precision, opset=17, **more)
    said: list[str] = []
    manifests = make_graph_bundles(source, [request], root, said.append, on_remark=said.append)
    return manifests[0], root / manifests[0].name


def outputs(manifest):
    return {output["name"]: output for output in manifest.parity["outputs"]}


def test_a_bundle_takes_arrays_by_name_and_gives_what_the_file_gives(source, tmp_path) -> None:
    manifest, folder = made(source, tmp_path, "onnx", "fp32")
    assert [spec.shape for spec in manifest.inputs] == [[1, 3, 8, 8], [1, 5]]
    assert [(spec.name, spec.dtype) for spec in manifest.outputs] == [
        ("map", "float32"), ("mask", "int64"), ("vector", "float32"),
    ]  # fmt: skip
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    feeds, reference = open_any_bundle(folder).probe()
    for at, feed in enumerate(feeds):
        for name, value in zip(("map", "mask", "vector"), session.run(None, feed), strict=True):
            np.testing.assert_allclose(value, reference[name][at], atol=1e-5)
    card = (folder / "README.md").read_text()
    assert "| input | `tokens` | int64 | 1 × 5 |" in card
    assert "| `mask` | 100.00% |" in card


def test_openvino_gives_the_same_output_by_output(source, tmp_path) -> None:
    manifest, folder = made(source, tmp_path, "openvino", "fp32")
    model = openvino.Core().compile_model(
        folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    feeds, reference = open_any_bundle(folder).probe()
    np.testing.assert_allclose(model(feeds[0])["vector"], reference["vector"][0], atol=1e-5)
    assert outputs(manifest)["map"]["relative_error"] < 1e-5


@pytest.mark.parametrize("format_name", ["onnx", "openvino"])
def test_int8_is_found_on_the_users_samples(source, tmp_path, format_name: str) -> None:
    manifest, _ = made(source, tmp_path, format_name, "int8")
    facts = manifest.format_facts["quantization"]
    assert facts["operators_quantized"]["Conv"] == 2
    assert facts["calibration_images"] == 16
    assert "choose" in facts["excluded"]
    assert outputs(manifest)["map"]["signal_to_noise_db"] > 20


def test_a_bundle_that_gives_something_else_is_refused_and_kept(source, tmp_path) -> None:
    other = {**source.reference, "vector": [-value for value in source.reference["vector"]]}
    with pytest.raises(ExportError, match=r"fp32 output 'vector' differs by .* kept in"):
        made(replace(source, reference=other), tmp_path, "onnx", "fp32")
    assert not (tmp_path / "local-onnx-fp32").exists()
    assert (tmp_path / "failed/local-onnx-fp32/parity.json").is_file()
    shorter = {**source.reference, "mask": [value[:, :4] for value in source.reference["mask"]]}
    with pytest.raises(ExportError, match="'mask' has another shape than the original's for 100%"):
        made(replace(source, reference=shorter), tmp_path, "onnx", "fp32")


def scored(source: GraphSource, scores: list[float]) -> GraphSource:
    """Somebody scores: the original first, then its bundle."""
    given = iter(scores)
    scoring = Scoring("mine:score", lambda _o, _i: {"iou": next(given), "n": 1.0}, source.probe)
    return replace(source, scoring=scoring)


def test_a_scorer_says_what_lower_precision_may_cost(source, tmp_path) -> None:
    manifest, _ = made(scored(source, [0.9, 0.89]), tmp_path, "onnx", "fp16", tolerated_drop=2.0)
    assert manifest.accuracy["scores"] == {"iou": 0.89, "n": 1.0}
    assert manifest.accuracy["drop"] == pytest.approx(1.0)
    with pytest.raises(ExportError, match=r"scores iou 0\.8, 10\.00 points below the original's 0"):
        made(scored(source, [0.9, 0.8]), tmp_path, "onnx", "fp16", tolerated_drop=2.0)


def test_a_lower_precision_that_fails_is_left_out_where_nobody_asked_for_it(
    source, tmp_path
) -> None:
    requests = [BundleRequest("local", "onnx", name, opset=17) for name in ("fp32", "fp16")]
    failed: list[str] = []
    manifests = make_graph_bundles(
        scored(source, [0.9, 0.9, 0.1]), requests, tmp_path, lambda _: None,
        on_remark=lambda _: None, on_failed=lambda request, _: failed.append(request.precision),
    )  # fmt: skip
    assert [manifest.precision for manifest in manifests] == ["fp32"]
    assert failed == ["fp16"]


def test_there_is_no_preparation_to_embed(source, tmp_path) -> None:
    with pytest.raises(UsageError, match="takes its arrays as they are"):
        made(source, tmp_path, "onnx", "fp32", embedding="normalise")


def test_a_detector_gives_as_many_boxes_as_it_finds(tmp_path) -> None:
    source = adopted(detector(tmp_path / "d.onnx"), {}, tmp_path)
    assert [spec.shape for spec in source.outputs] == [[1, "found", 4], ["found"]]
    assert len({boxes.shape for boxes in source.reference["boxes"]}) > 1
    for format_name in ("onnx", "openvino"):
        manifest, _ = made(source, tmp_path, format_name, "fp32")
        assert outputs(manifest)["places"]["equal"] == 1.0


def test_what_decodes_and_chooses_stays_in_floating_point(tmp_path) -> None:
    names = floating_operators(detector(tmp_path / "d.onnx"))
    assert set(names) == {
        "flatten_boxes", "turn", "decode", "flatten_scores", "confidence", "suppress",
        "third_column", "pick",
    }  # fmt: skip
    assert floating_operators(two_inputs(tmp_path / "t.onnx")) == ("choose", "mean")


def test_what_stands_between_two_products_stays_where_it_leads_to_a_choice(tmp_path) -> None:
    model = onnx.load(two_inputs(tmp_path / "t.onnx"))
    relu = next(node for node in model.graph.node if node.name == "relu")
    relu.op_type = "NonZero"
    onnx.save(model, tmp_path / "t.onnx")
    assert "relu" in floating_operators(tmp_path / "t.onnx")


@pytest.mark.parametrize(
    ("shapes", "error", "message"),
    [
        ({}, ExportError, r"with sizes that are free.*--input-shape image=1,3,320,320"),
        ({"imgae": [1]}, UnknownNameError, "did you mean 'image'"),
        ({"image": [1, 4, 8, 8]}, ExportError, "which 1,4,8,8 does not fit"),
        ({"image": [1, 3, 8]}, ExportError, "does not fit"),
    ],
)
def test_a_shape_that_is_not_said_or_does_not_fit_is_told(tmp_path, shapes, error, message) -> None:
    with pytest.raises(error, match=message):
        inputs_of(two_inputs(tmp_path / "t.onnx"), shapes)


def test_samples_come_one_by_one_in_the_order_of_their_ids(source) -> None:
    samples = drawn(list(source.inputs), 4, 0)
    part = samples.part([2, 0])
    assert part.ids == ["s2", "s0"]
    assert np.array_equal(part.feed(0)["tokens"], samples.feed(2)["tokens"])


def test_recurrent_layers_in_branches_that_go_by_shapes(tmp_path) -> None:
    """ONNX Runtime cannot load them with the sizes fixed that decide which branch is taken."""
    source = adopted(recurrent_in_branches(tmp_path / "r.onnx"), {"x": [1, 3, 4]}, tmp_path)
    manifest, _ = made(source, tmp_path / "bundles", "onnx", "fp32")
    assert manifest.inputs[0].shape == [1, 3, 4]
    assert outputs(manifest)["y"]["relative_error"] < 1e-5


def test_a_scorer_that_gives_other_scores_is_told_of_in_a_line(source) -> None:
    scoring = Scoring("mine:score", lambda _outputs, _ids: {}, source.probe)
    with pytest.raises(ExportError, match="b: scorer mine:score gave the original iou, but this"):
        accuracy_facts(scoring, {"dice": 1.0}, {"iou": 1.0}, 1.0, "b")
