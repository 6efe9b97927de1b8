"""Each runtime with real models: its logits, its precision, its refusals."""

import sys
from dataclasses import replace

import numpy as np
import openvino
import pytest

from deploy_targets.device import trying
from deploy_targets.device.checks import load_probe, parity
from deploy_targets.device.runtimes import (
    RUNTIMES,
    Model,
    check_version,
    load_session,
    one_line,
    open_runtime,
    runtime_for,
    summarise_precision,
)
from deploy_targets.device.runtimes.ort import _compute_formats
from foundation.bundle import RuntimeRange, open_bundle
from foundation.errors import HostError, ModelMismatchError, UnknownNameError


def session_of(folder, hint="f32"):
    bundle = open_bundle(folder)
    runtime = open_runtime(runtime_for(bundle.manifest.format))
    image = bundle.manifest.input.name
    return load_session(runtime, Model(bundle.model_path, image, "logits", 1, hint))


def precision_of(folder, hint="f32"):
    return session_of(folder, hint).executed_precision()


@pytest.mark.parametrize(
    "fixture",
    ["onnx_bundle", "openvino_bundle", "embedded_bundle", "openvino_embedded_bundle"],
)
def test_logits_agree_with_the_reference_for_one_image_and_for_many(fixture, request):
    folder = request.getfixturevalue(fixture)
    session = session_of(folder)
    images, reference = load_probe(open_bundle(folder))
    assert parity(session.run(images), reference).max_abs_error < 1e-4
    assert parity(session.run(images[:1]), reference[:1]).max_abs_error < 1e-4


@pytest.mark.parametrize("fixture", ["onnx_bundle", "openvino_bundle"])
def test_a_result_is_not_overwritten_by_the_next(fixture, request):
    folder = request.getfixturevalue(fixture)
    session = session_of(folder)
    images, _ = load_probe(open_bundle(folder))
    first = session.run(images[:1])
    kept = first.copy()
    session.run(images[1:2])
    assert np.array_equal(first, kept)


@pytest.mark.parametrize(
    "fixture",
    ["onnx_bundle", "openvino_bundle", "embedded_bundle", "openvino_embedded_bundle"],
)
def test_an_fp32_model_runs_its_convolution_and_its_product_in_f32(fixture, request):
    precision = precision_of(request.getfixturevalue(fixture))
    assert precision.summary == "f32"
    assert precision.operators == {"f32": 2}


@pytest.mark.parametrize("fixture", ["int8_bundle", "openvino_int8_bundle"])
def test_a_quantised_model_runs_its_compute_operators_in_8_bits(fixture, request):
    precision = precision_of(request.getfixturevalue(fixture))
    assert precision.summary == "int8"
    assert sum(precision.operators.values()) == 2
    assert set(precision.operators) <= {"u8", "i8"}


def test_weights_stored_in_halves_are_not_taken_for_what_is_computed_in(openvino_fp16_bundle):
    assert precision_of(openvino_fp16_bundle).operators == {"f32": 2}


def test_openvino_left_to_itself_reports_the_precision_it_chose(openvino_bundle):
    compiled = openvino.Core().compile_model(openvino_bundle / "model.xml", "CPU")
    chosen = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    assert precision_of(openvino_bundle, "auto").summary == chosen


def test_events_of_older_onnx_runtimes_that_carry_no_shapes_are_passed_over():
    arguments = {"op_name": "Conv", "input_type_shape": [{"float": [1, 3, 8, 8]}]}
    fence = {"cat": "Node", "name": "conv_fence_before", "args": {"op_name": "Conv"}}
    kernel = {"cat": "Node", "name": "conv_kernel_time", "args": arguments}
    session = {"cat": "Session", "name": "model_run"}
    assert list(_compute_formats([session, fence, kernel, fence])) == ["f32"]


def test_openvino_is_told_bf16_and_what_it_made_of_it_is_reported(openvino_bundle):
    settings = {"INFERENCE_PRECISION_HINT": "bf16"}
    compiled = openvino.Core().compile_model(openvino_bundle / "model.xml", "CPU", settings)
    # "f32" where the CPU has no bf16.
    taken = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    assert precision_of(openvino_bundle, "bf16").summary == taken


def test_a_release_outside_the_bundles_range_is_refused_with_both_versions(onnx_bundle):
    bundle = open_bundle(onnx_bundle)
    ranged = RuntimeRange("onnxruntime", "1.20", "1")
    bundle = replace(bundle, manifest=replace(bundle.manifest, runtime=ranged))
    for version in ("1.20.0", "1.32.1"):
        check_version(bundle, "onnxruntime", version)
    for version in ("1.19.2", "2.0.0"):
        with pytest.raises(
            HostError, match=rf"onnxruntime 1\.20 to 1\.x, but this host has {version}"
        ):
            check_version(bundle, "onnxruntime", version)


def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"\x00 no model")
    model = Model(tmp_path / "model.onnx", "image", "logits", 1, "f32")
    with pytest.raises(ModelMismatchError, match=r"model\.onnx.*onnxruntime") as caught:
        load_session(open_runtime("onnxruntime"), model)
    assert "\n" not in str(caught.value)


def test_a_model_without_the_named_input_is_refused(openvino_bundle):
    model = Model(openvino_bundle / "model.xml", "picture", "logits", 1, "f32")
    with pytest.raises(ModelMismatchError, match="picture"):
        load_session(open_runtime("openvino"), model)


def test_each_format_has_its_runtime():
    assert runtime_for("onnx") == "onnxruntime"
    assert runtime_for("openvino") == "openvino"
    with pytest.raises(UnknownNameError, match="unknown export format 'onx', did you mean 'onnx'"):
        runtime_for("onx")


def test_a_runtime_whose_library_is_not_there_says_how_to_get_it():
    class Absent:
        format = "absent"
        package = "absent-package"

        def __init__(self):
            import absent_library  # noqa: F401, PLC0415

    RUNTIMES.register("absent")(Absent)
    try:
        with pytest.raises(HostError, match=r"absent_library.*pip install absent-package"):
            open_runtime("absent")
    finally:
        del RUNTIMES._entries["absent"]


def test_the_summary_takes_the_most_frequent_format_and_adds_up_both_8_bit_ones():
    assert summarise_precision(["bf16", "bf16", "f32"]).summary == "bf16"
    mixed = summarise_precision(["u8", "f32", "f32", "i8", "u8"])
    assert mixed.summary == "int8"
    assert mixed.operators == {"u8": 2, "f32": 2, "i8": 1}
    assert summarise_precision([]).summary == "unknown"


def test_a_long_message_becomes_one_short_line():
    line = one_line(RuntimeError("a\n  b\n" + "c" * 1000))
    assert line.startswith("a b ccc")
    assert len(line) < 400
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_one_inference_tells_whether_a_runtime_computes(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["trying", name])
    assert trying.main() == 0
    assert capsys.readouterr().out.strip() == open_runtime(name).version


def test_one_that_computes_something_else_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(trying, "_ANSWER", 9.0)
    monkeypatch.setattr(sys, "argv", ["trying", "onnxruntime"])
    assert trying.main() == HostError.exit_code
    assert "it computed [10.0, 10.0, 10.0, 10.0] where 9.0 is right" in capsys.readouterr().err
